"""Cache of pair statistics by content hash, so that no dataset is decoded twice."""

import hashlib
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from harness.config.data import StudyDataConfig
from harness.core import files
from harness.data.files.headers import ImageFileInfo
from harness.data.files.image_io import PairHashes
from harness.data.files.mask_values import MaskValues
from harness.data.scan.image_artifacts import Box, Sides
from harness.data.scan.near_duplicates import Thumbnail

SCAN_CACHE_FOLDER = "looks"  # folder below the cache; the name is on users' disks
CODE_VERSION = 4  # increase it when any statistic changes
_ROWS_PER_PART = 4096


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
    data_settings = data.model_dump(mode="json", exclude={"root", "metrics_at"})
    key_parts = [CODE_VERSION, cv2.__version__, name, data_settings]
    return folder / f"{hashlib.sha256(json.dumps(key_parts).encode()).hexdigest()[:32]}.npz"


def read_scan_cache(path: Path) -> dict[PairHashes, PairStats]:
    """Read the cache, by the hashes of image and mask; {} if it is absent or damaged."""
    try:
        # allow_pickle=False: a cache folder may be shared, and a pickle in it would run code.
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            thumbnails = archive["thumbnails"]
            if thumbnails.dtype != np.float16 or thumbnails.ndim != 2:
                return {}
            return dict(_iter_stats(archive, thumbnails))
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


def _iter_stats(
    archive: Mapping[str, NDArray[Any]], thumbnails: NDArray[np.float16]
) -> Iterator[tuple[PairHashes, PairStats]]:
    for start in range(0, len(thumbnails), _ROWS_PER_PART):
        part = thumbnails[start : start + _ROWS_PER_PART]
        rows = _ROWS_ADAPTER.validate_json(archive[f"rows-{start}"].tobytes())
        for row, thumbnail in zip(rows, part, strict=True):
            stats = PairStats(**_stored_fields(row), thumbnail=thumbnail)
            yield stats.hashes, stats


def write_scan_cache(path: Path, pair_stats: Iterable[PairStats]) -> None:
    """Write the cache atomically, part by part: of many images the text alone is 100 MB."""
    stats_list = list(pair_stats)
    with files.atomic_replace(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        with archive.open("thumbnails.npy", "w", force_zip64=True) as member:
            shape = (len(stats_list), stats_list[0].thumbnail.size)
            header = {"descr": "<f2", "fortran_order": False, "shape": shape}
            npy.write_array_header_1_0(member, header)
            for stats in stats_list:
                member.write(stats.thumbnail.astype("<f2").tobytes())
        for start in range(0, len(stats_list), _ROWS_PER_PART):
            part = stats_list[start : start + _ROWS_PER_PART]
            rows = [{**_stored_fields(stats), "seen": asdict(stats.seen)} for stats in part]
            # NaN is no JSON: better to fail here than to write a file that a strict reader refuses.
            text = json.dumps(rows, allow_nan=False).encode()
            with archive.open(f"rows-{start}.npy", "w") as member:
                npy.write_array(member, np.frombuffer(text, np.uint8), allow_pickle=False)


def _stored_fields(source: PairStats | _ScanRow) -> dict[str, Any]:
    names = ("image_sha256", "mask_sha256", "pixels", "size", "shares", "seen")
    return {name: getattr(source, name) for name in names}
