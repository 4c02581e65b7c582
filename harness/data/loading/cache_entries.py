"""Decode image and mask of a split's row at the size of a cache, and compress the mask.

The image stays plain: decompressing it would more than halve the images per second of a batch.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Final, NamedTuple

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.core.errors import DataError
from harness.core.files import TRANSIENT_ERRNOS, find_disk_error
from harness.core.processors import available_processors
from harness.data.datasets.sources import problems_error
from harness.data.files.chunks import Codec, encode_chunk, plain_chunk
from harness.data.files.image_io import read_pair
from harness.data.files.resize import (
    Box,
    Fit,
    Size,
    content_box,
    fit_image,
    fit_mask,
    pad_to,
    resize_truth,
)
from harness.data.files.source import DataSource
from harness.data.splits.splits import SplitRow
from harness.data.windows.large_pair import LargePair, open_large_pair
from harness.data.windows.overview import reduce_pair

MASK_CODEC: Final[Codec] = "lz4"
_CHUNK_SIZE: Final = 32


class CacheEntry(NamedTuple):
    """Chunks and box of one image; the truth of a training image is empty.

    With fit `shrink` all chunks of a training image are empty, see `is_decoded`.
    """

    image: bytes
    mask: bytes
    truth: bytes
    box: Box


def is_decoded(row: SplitRow, fit: Fit) -> bool:
    """False for training images of trials on tiles, which read them from the native store."""
    return row.role == "val" or fit != "shrink"


def decode_entries(
    source: DataSource,
    rows: Sequence[SplitRow],
    data: StudyDataConfig,
    size: Size,
    fit: Fit,
    max_pixels: float,
) -> Iterator[CacheEntry]:
    """Yield the entries in order, decoded by threads in chunks to bound memory."""

    def try_decode(row: SplitRow) -> CacheEntry | DataError:
        try:
            return decode_entry(source, row, data, size, fit, max_pixels)
        except DataError as error:
            return error

    problems: list[DataError] = []
    remaining = iter(rows)
    with ThreadPoolExecutor(min(8, available_processors())) as pool:
        while chunk := list(islice(remaining, _CHUNK_SIZE)):
            # map keeps the order; index i must mean the same image in every array.
            for result in pool.map(try_decode, chunk):
                if isinstance(result, DataError):
                    problems.append(result)
                elif not problems:
                    yield result
    if problems:
        transient = (
            error for error in problems if find_disk_error(error, TRANSIENT_ERRNOS) is not None
        )
        raise problems_error([str(error) for error in problems]) from next(transient, problems[0])


def decode_entry(
    source: DataSource,
    row: SplitRow,
    data: StudyDataConfig,
    size: Size,
    fit: Fit,
    max_pixels: float,
) -> CacheEntry:
    """Decode one entry; an entry that is not decoded is empty, and its files are not opened.

    Raises:
        DataError: as `read_pair`; also for other content than the split recorded.
    """
    if not is_decoded(row, fit):
        return CacheEntry(b"", b"", b"", (0, 0, *size))
    # The hashes are compared while reading: a file that changed after the split must not be trained
    # on under its old identity.
    with open_large_pair(source, row.image, row.masks, data, max_pixels) as large:
        if large is not None:
            return _reduce_entry(large, row, size, fit)
    pair = read_pair(source, row.image, row.masks, data, max_pixels, row.hashes)
    nearest = data.uses_nearest_resize
    padding = _mask_padding(data)
    truth_chunk = b""
    if row.role == "val":
        truth = resize_truth(pair.mask, data.eval_size, nearest=nearest)
        truth_chunk = encode_chunk(truth, MASK_CODEC)
    return CacheEntry(
        image=plain_chunk(fit_image(pair.image, size, fit)),
        mask=encode_chunk(
            fit_mask(pair.mask, size, fit, nearest=nearest, padding=padding), MASK_CODEC
        ),
        truth=truth_chunk,
        box=content_box((pair.image.shape[0], pair.image.shape[1]), size, fit),
    )


def _reduce_entry(pair: LargePair, row: SplitRow, size: Size, fit: Fit) -> CacheEntry:
    """Decode an entry in bands."""
    data = pair.data
    box = content_box((pair.header.height, pair.header.width), size, fit)
    is_val, content_size = row.role == "val", (box[2], box[3])
    mask_sizes = [content_size] + [(data.eval_size, data.eval_size)] * is_val
    image, masks = reduce_pair(
        pair, content_size, mask_sizes, nearest=data.uses_nearest_resize, hashes=row.hashes
    )
    return CacheEntry(
        image=plain_chunk(pad_to(image, size, 0)),
        mask=encode_chunk(pad_to(masks[0], size, _mask_padding(data)), MASK_CODEC),
        truth=encode_chunk(masks[1], MASK_CODEC) if is_val else b"",
        box=box,
    )


def _mask_padding(data: StudyDataConfig) -> int:
    return IGNORE_INDEX if data.task == "multiclass" else 0
