"""Build the store of images at native size: decode each image once, large ones in bands."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.core.errors import DataError
from harness.core.files import TRANSIENT_ERRNOS, find_disk_error
from harness.core.processors import available_processors
from harness.data.datasets.sources import problems_error
from harness.data.files.chunks import encode_chunk, open_npy, write_chunks
from harness.data.files.image_io import LoadedPair, read_pair
from harness.data.files.large_image import BAND_ROWS
from harness.data.files.source import DataSource
from harness.data.loading.size_estimate import estimate_bytes
from harness.data.splits.split_file import SplitRow
from harness.data.windows.large_pair import open_large_pair

Progress = Callable[[int, int], None]

# A window of 256 px reads four chunks on average; larger chunks would decode more beside it, and
# smaller ones compress worse.
CHUNK_SIDE: Final = BAND_ROWS
_BATCH: Final = 32  # images whose chunks are in memory together


class _EncodedPart(NamedTuple):
    """Chunks of an image or, if it is large, of a band of it.

    `size` is the height and width of the image; None if more bands of it follow.
    """

    images: list[bytes]
    masks: list[bytes]
    size: tuple[int, int] | None


def write_store(
    folder: Path,
    source: DataSource,
    rows: Sequence[SplitRow],
    data: StudyDataConfig,
    max_pixels: float,
    progress: Progress | None,
) -> None:
    """Write chunks and sizes of all images into a folder.

    Raises:
        DataError: every image that cannot be used or has changed since the split.
    """
    sizes: list[tuple[int, int]] = []
    with write_chunks(folder, "images") as images, write_chunks(folder, "masks") as masks:
        for part in _encode_parts(source, rows, data, max_pixels):
            images.extend(part.images)
            masks.extend(part.masks)
            if part.size is not None:
                sizes.append(part.size)
                if progress is not None:
                    progress(len(sizes), len(rows))
    with open_npy(folder / "sizes.npy", (len(rows), 2), "<i8") as handle:
        handle.write(np.array(sizes, "<i8").tobytes())


def _encode_parts(
    source: DataSource, rows: Sequence[SplitRow], data: StudyDataConfig, max_pixels: float
) -> Iterator[_EncodedPart]:
    """Yield the chunks of each image in order, encoded by threads, few images together."""

    def try_encode(row: SplitRow) -> _EncodedPart | DataError | None:
        try:
            with open_large_pair(source, row.image, row.masks, data, max_pixels) as large:
                if large is not None:
                    return None  # its bands are encoded below: all chunks may not fit into memory
            return _encode_pair(
                read_pair(source, row.image, row.masks, data, max_pixels, row.hashes)
            )
        except DataError as error:
            return error

    problems: list[DataError] = []
    remaining = iter(rows)
    with ThreadPoolExecutor(min(8, available_processors())) as pool:
        while batch := list(islice(remaining, _BATCH)):
            for row, result in zip(batch, pool.map(try_encode, batch), strict=True):
                if isinstance(result, DataError):
                    problems.append(result)
                elif problems:
                    continue
                elif result is not None:
                    yield result
                else:
                    try:
                        yield from _encode_bands(pool, source, row, data, max_pixels)
                    except DataError as error:
                        problems.append(error)
    if problems:
        transient = (
            error for error in problems if find_disk_error(error, TRANSIENT_ERRNOS) is not None
        )
        raise problems_error([str(error) for error in problems]) from next(transient, problems[0])


def estimate_store_bytes(
    source: DataSource, rows: Sequence[SplitRow], data: StudyDataConfig, max_pixels: float
) -> int:
    """Estimate the size of the store of these rows from some of them; 0 if none can be read."""

    def compress(row: SplitRow) -> int:
        with open_large_pair(source, row.image, row.masks, data, max_pixels) as large:
            if large is None:
                part = _encode_pair(read_pair(source, row.image, row.masks, data, max_pixels))
                return sum(len(chunk) for chunk in (*part.images, *part.masks))
            band = large.middle_band()
            chunks = (*_cut(band.image), *_cut(band.mask))
            n_bytes = sum(len(encode_chunk(chunk)) for chunk in chunks)
            return round(n_bytes * large.header.height / len(band.mask))

    return estimate_bytes(rows, compress) or 0


def _encode_pair(pair: LoadedPair) -> _EncodedPart:
    height, width = pair.mask.shape[:2]
    return _EncodedPart(
        [encode_chunk(chunk) for chunk in _cut(pair.image)],
        [encode_chunk(chunk) for chunk in _cut(pair.mask)],
        (height, width),
    )


def _encode_bands(
    pool: ThreadPoolExecutor,
    source: DataSource,
    row: SplitRow,
    data: StudyDataConfig,
    max_pixels: float,
) -> Iterator[_EncodedPart]:
    with open_large_pair(source, row.image, row.masks, data, max_pixels) as pair:
        if pair is None:
            raise DataError(f"{source.root / row.image}: has changed while it was read")
        size = pair.header.height, pair.header.width
        for band in pair.bands(row.hashes):
            images, masks = (
                list(pool.map(encode_chunk, _cut(part))) for part in (band.image, band.mask)
            )
            yield _EncodedPart(images, masks, size if band.rows.stop == size[0] else None)


def _cut(image: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield the chunks of an image row by row."""
    for top in range(0, image.shape[0], CHUNK_SIDE):
        for left in range(0, image.shape[1], CHUNK_SIDE):
            yield image[top : top + CHUNK_SIDE, left : left + CHUNK_SIDE]
