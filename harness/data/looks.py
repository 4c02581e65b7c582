"""What was seen of each pair, kept by content, so that nobody decodes a dataset twice."""

import hashlib
import json
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydantic import TypeAdapter, ValidationError

from harness import files
from harness.data.copies import Thumbnail
from harness.data.mask_values import MaskValues
from harness.data.stored import Stored
from harness.data.suspects import Box, Sides
from harness.data_config import StudyDataConfig

CODE_VERSION = 3  # raise it when anything is seen differently


@dataclass(frozen=True)
class Seen:
    """What there is to know of a pair beyond its split.

    Attributes:
        stored: how the image is stored.
        mask: the values in the files of the mask.
        n_objects: connected objects of each scored class.
        n_vanishing: objects that no pixel shows at eval_size.
        border: near-black border of the image, px: top, right, bottom, left.
        text: boxes of suspected burnt-in text: top, left, height, width, px.
        panels: boxes of suspected panels laid over the image, likewise.
        greatest: the greatest value stored in the image.
        mask_pixels: SHA-256 of the decoded mask: of equal masks in other files the same.
    """

    stored: Stored = field(default_factory=Stored)
    mask: MaskValues = field(default_factory=MaskValues)
    n_objects: tuple[int, ...] = ()
    n_vanishing: int = 0
    border: Sides = (0, 0, 0, 0)
    text: tuple[Box, ...] = ()
    panels: tuple[Box, ...] = ()
    greatest: int = 255
    mask_pixels: str = ""


@dataclass(frozen=True, eq=False)
class Look:
    """What is remembered of a pair.

    Attributes:
        pixels: SHA-256 of the decoded image and its shape.
        size: height and width in pixels.
        shares: for each class, its share of the pixels that count, 0 to 1.
    """

    image_sha256: str
    mask_sha256: str
    pixels: str
    thumbnail: Thumbnail
    size: tuple[int, int]
    shares: tuple[float, ...]
    seen: Seen = field(default_factory=Seen)


@dataclass(frozen=True)
class _Row:
    image_sha256: str
    mask_sha256: str
    pixels: str
    size: tuple[int, int]
    shares: tuple[float, ...]
    seen: Seen


_ROWS = TypeAdapter(list[_Row])
Key = tuple[str, str]


def looks_path(folder: Path, name: str, data: StudyDataConfig) -> Path:
    """The file that keeps the looks at a dataset of that name under that meaning."""
    meaning = data.model_dump(mode="json", exclude={"root"})
    what = [CODE_VERSION, cv2.__version__, name, meaning]
    return folder / f"{hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]}.npz"


def read_looks(path: Path) -> dict[Key, Look]:
    """What is kept, by the hashes of image and mask; {} where it is absent or damaged."""
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as kept:
            rows = _ROWS.validate_json(kept["rows"].tobytes())
            thumbnails = kept["thumbnails"]
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        zipfile.BadZipFile,
        ValidationError,
    ):
        return {}
    if thumbnails.dtype != np.float32 or thumbnails.shape[:1] != (len(rows),):
        return {}
    return {
        (row.image_sha256, row.mask_sha256): Look(**_fields(row), thumbnail=thumbnail)
        for row, thumbnail in zip(rows, thumbnails, strict=True)
    }


def write_looks(path: Path, looks: Iterable[Look]) -> None:
    """Keep looks, whole or not at all."""
    kept = list(looks)
    rows = [{**_fields(look), "seen": asdict(look.seen)} for look in kept]
    text = json.dumps(rows, allow_nan=False).encode()
    with files.replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez(
            handle,
            rows=np.frombuffer(text, np.uint8),
            thumbnails=np.stack([look.thumbnail for look in kept]),
        )


def _fields(of: Look | _Row) -> dict[str, Any]:
    names = ("image_sha256", "mask_sha256", "pixels", "size", "shares", "seen")
    return {name: getattr(of, name) for name in names}
