"""Cache of pair statistics by content hash, so that no dataset is decoded twice."""

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

from harness.config.data import StudyDataConfig
from harness.core import files
from harness.data.files.headers import ImageFileInfo
from harness.data.files.image_io import PairHashes
from harness.data.files.mask_values import MaskValues
from harness.data.scan.image_artifacts import Box, Sides
from harness.data.scan.near_duplicates import Thumbnail

CODE_VERSION = 3  # increase it when any statistic changes


@dataclass(frozen=True)
class ImageFacts:
    """Facts about a pair that the inspection reports and a split does not need.

    Attributes:
        stored: storage format of the image.
        mask: values in the files of the mask.
        n_objects: number of connected objects of each scored class.
        n_vanishing: number of objects without a pixel at eval_size.
        border: near-black border of the image, px: top, right, bottom, left.
        text: boxes of suspected burnt-in text: top, left, height, width, px.
        panels: boxes of suspected panels that cover part of the image, likewise.
        greatest: largest value stored in the image.
        mask_pixels: SHA-256 of the decoded mask, equal for equal masks in different files.
    """

    stored: ImageFileInfo = field(default_factory=ImageFileInfo)
    mask: MaskValues = field(default_factory=MaskValues)
    n_objects: tuple[int, ...] = ()
    n_vanishing: int = 0
    border: Sides = (0, 0, 0, 0)
    text: tuple[Box, ...] = ()
    panels: tuple[Box, ...] = ()
    greatest: int = 255
    mask_pixels: str = ""


@dataclass(frozen=True, eq=False)
class PairStats:
    """Statistics of a pair that are kept instead of its pixels.

    Attributes:
        pixels: SHA-256 of the decoded image and its shape.
        size: height and width in pixels.
        shares: share of each class among the pixels that count, 0 to 1.
    """

    image_sha256: str
    mask_sha256: str
    pixels: str
    thumbnail: Thumbnail
    size: tuple[int, int]
    shares: tuple[float, ...]
    seen: ImageFacts = field(default_factory=ImageFacts)

    @property
    def hashes(self) -> PairHashes:
        """SHA-256 of the image and of its mask: the key of the cache."""
        return self.image_sha256, self.mask_sha256


@dataclass(frozen=True)
class _ScanRow:
    image_sha256: str
    mask_sha256: str
    pixels: str
    size: tuple[int, int]
    shares: tuple[float, ...]
    seen: ImageFacts


_ROWS_ADAPTER = TypeAdapter(list[_ScanRow])


def scan_cache_path(folder: Path, name: str, data: StudyDataConfig) -> Path:
    """Cache file of a dataset of that name, read with these data settings."""
    data_settings = data.model_dump(mode="json", exclude={"root"})
    key_parts = [CODE_VERSION, cv2.__version__, name, data_settings]
    return folder / f"{hashlib.sha256(json.dumps(key_parts).encode()).hexdigest()[:32]}.npz"


def read_scan_cache(path: Path) -> dict[PairHashes, PairStats]:
    """Read the cache, by the hashes of image and mask; {} if it is absent or damaged."""
    try:
        # allow_pickle=False: a cache folder may be shared, and a pickle in it would run code.
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            rows = _ROWS_ADAPTER.validate_json(archive["rows"].tobytes())
            thumbnails = archive["thumbnails"]
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
        (row.image_sha256, row.mask_sha256): PairStats(**_stored_fields(row), thumbnail=thumbnail)
        for row, thumbnail in zip(rows, thumbnails, strict=True)
    }


def write_scan_cache(path: Path, pair_stats: Iterable[PairStats]) -> None:
    """Write the cache atomically."""
    stats_list = list(pair_stats)
    rows = [{**_stored_fields(stats), "seen": asdict(stats.seen)} for stats in stats_list]
    # NaN is no JSON: better to fail here than to write a file that a strict reader refuses.
    text = json.dumps(rows, allow_nan=False).encode()
    with files.atomic_replace(path) as temporary, temporary.open("wb") as handle:
        np.savez(
            handle,
            rows=np.frombuffer(text, np.uint8),
            thumbnails=np.stack([stats.thumbnail for stats in stats_list]),
        )


def _stored_fields(source: PairStats | _ScanRow) -> dict[str, Any]:
    names = ("image_sha256", "mask_sha256", "pixels", "size", "shares", "seen")
    return {name: getattr(source, name) for name in names}
