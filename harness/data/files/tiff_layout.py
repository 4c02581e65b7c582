"""Parse the directory of a TIFF with a check of every number (TIFF 6.0, BigTIFF).

A hostile directory can state anything: tiles of 2^32 pixels, or strips that each span the file.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.files.byte_reader import ByteReader, MemoryBytes
from harness.data.files.tiff_directory import (
    TRUNCATED,
    TiffDirectory,
    TiffTag,
    is_big_tiff,
    read_directory,
    read_first_directory,
)

# Lossless ones whose decoders receive a limit of output bytes: none, LZW, deflate, PackBits, Zstd.
_COMPRESSIONS = frozenset({1, 5, 8, 32946, 32773, 50000})
# Each strip or tile is a JPEG, whose own size is compared with its place before it is decoded.
JPEG = 7
WHITE_IS_ZERO, GREY, _RGB, _PALETTE = range(4)
_YCBCR = 6
_JPEG_COLOURS = {GREY: 1, _RGB: 3, _YCBCR: 3}  # samples of each kind
_MAX_TABLE_BYTES = 1 << 16
_MAX_SEGMENTS = 1 << 20
_TILE_MARGIN, _MAX_TILE_PIXELS = 1024, 1 << 24
_ALPHA = (1, 2)  # ExtraSamples: associated and unassociated alpha; 0 is a channel like the others


@dataclass(frozen=True, eq=False)
class TiffLayout:
    """Storage layout of the single image of a TIFF.

    Sizes are in pixels; `segment_size` is the height and width of a strip or tile.
    `jpeg_tables` belong to all strips or tiles; None if each has its own.
    """

    order: str
    height: int
    width: int
    samples: int
    bits: int
    photometric: int
    alpha: bool
    compression: int
    predictor: int
    planar: bool
    tiled: bool
    segment_size: tuple[int, int]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    colours: NDArray[np.uint8] | None
    jpeg_tables: bytes | None = None


def read_tiff_layout(data: bytes | ByteReader) -> TiffLayout:
    """Read the layout of a complete TIFF or BigTIFF file that holds one image.

    Smaller copies of the image (a thumbnail, the levels of a pyramid) may follow it.

    Raises:
        ValueError, struct.error: damaged or not supported; the message is meant to follow the
            file's name.
    """
    reader = MemoryBytes(data) if isinstance(data, bytes) else data
    tags = read_first_directory(reader)
    order, big = tags.order, is_big_tiff(reader)
    height, width = tags.first_value(TiffTag.HEIGHT, 0), tags.first_value(TiffTag.WIDTH, 0)
    if min(height, width) < 1:
        raise ValueError(f"has the size {width}x{height}")
    bits, samples = _read_sample_format(tags)
    _check_supported(tags)
    if tags.next_offset:
        second = read_directory(reader, tags.next_offset, big=big, order=order)
        # 1: a smaller copy, 4: a mask of transparency, as cloud-optimised GeoTIFFs have them.
        if not second.first_value(TiffTag.SUBFILE, 0) & 5:
            raise ValueError("has several pages; save each page as a file of its own")
    planar = tags.first_value(TiffTag.PLANAR, 1) == 2 and samples > 1
    tiled = TiffTag.TILE_WIDTH in tags.entries
    segment_size = _read_segment_size(tags, height, width, tiled=tiled)
    n_segments = (
        math.ceil(height / segment_size[0])
        * math.ceil(width / segment_size[1])
        * (samples if planar else 1)
    )
    offsets, sizes = _read_segments(tags, n_segments, tiled=tiled)
    compression = tags.first_value(TiffTag.COMPRESSION, 1)
    if compression == 1 and sizes.sum() < height * math.ceil(width * samples * bits / 8):
        raise ValueError(TRUNCATED)
    photometric = tags.first_value(TiffTag.PHOTOMETRIC, GREY)
    return TiffLayout(
        order, height, width, samples, bits, photometric, _has_alpha(tags, samples), compression,
        tags.first_value(TiffTag.PREDICTOR, 1), planar, tiled, segment_size, offsets, sizes,
        _palette(tags, bits) if photometric == _PALETTE else None,
        _jpeg_tables(tags) if compression == JPEG else None,
    )  # fmt: skip


def _read_sample_format(tags: TiffDirectory) -> tuple[int, int]:
    samples = tags.first_value(TiffTag.SAMPLES, 1)
    if not 1 <= samples <= 64:
        raise ValueError(f"has {samples} samples a pixel; 1 to 64 are supported")
    formats = tags.read_values(TiffTag.FORMAT, 1)
    if formats is not None and int(formats[0]) != 1:
        sort = {2: "signed", 3: "floating-point"}.get(int(formats[0]), "unusual")
        raise ValueError(f"has {sort} samples; save them as whole numbers of 8 or 16 bits")
    # One number of bits for all samples, instead of one for each, is accepted too.
    stored = tags.entries.get(TiffTag.BITS, ("u2", 1, 0))[1]
    sample_bits = tags.read_values(TiffTag.BITS, samples if stored >= samples else 1)
    bits = 1 if sample_bits is None else int(sample_bits[0])
    if sample_bits is not None and (sample_bits != bits).any():
        raise ValueError("has samples of different numbers of bits; save all with 8 or 16")
    if bits not in (8, 16) and (bits, samples) != (1, 1):
        raise ValueError(f"has {bits} bits a sample; save it with 8 or 16")
    return bits, samples


def _check_supported(tags: TiffDirectory) -> None:
    photometric = tags.first_value(TiffTag.PHOTOMETRIC, GREY)
    compression = tags.first_value(TiffTag.COMPRESSION, 1)
    predictor = tags.first_value(TiffTag.PREDICTOR, 1)
    if compression == JPEG:
        _check_jpeg(tags, photometric, predictor)
    elif photometric not in (WHITE_IS_ZERO, GREY, _RGB, _PALETTE):
        name = {5: "CMYK", _YCBCR: "YCbCr", 8: "CIELab"}.get(photometric, f"kind {photometric}")
        raise ValueError(f"has the colours of {name}; save it as grey, RGB or plain channels")
    elif compression not in _COMPRESSIONS or predictor not in (1, 2):
        raise ValueError(
            f"is a TIFF of compression {compression} with predictor {predictor}; save it with LZW, "
            "deflate or no compression"
        )
    if tags.first_value(TiffTag.ORIENTATION, 1) != 1:
        raise ValueError("is a TIFF that is not stored upright; save it upright")
    if tags.first_value(TiffTag.FILL_ORDER, 1) != 1:
        raise ValueError("is a TIFF with its bits reversed; save it again with normal bit order")


def _check_jpeg(tags: TiffDirectory, photometric: int, predictor: int) -> None:
    samples = tags.first_value(TiffTag.SAMPLES, 1)
    is_plain = predictor == 1 and tags.first_value(TiffTag.BITS, 1) == 8
    is_joined = samples == 1 or tags.first_value(TiffTag.PLANAR, 1) == 1
    if not (is_plain and is_joined and _JPEG_COLOURS.get(photometric) == samples):
        raise ValueError(
            "is a TIFF of JPEG compression that is neither grey nor of three joined colours of 8 "
            "bits; save it with LZW or deflate"
        )


def _jpeg_tables(tags: TiffDirectory) -> bytes | None:
    if TiffTag.JPEG_TABLES not in tags.entries:
        return None
    n_bytes = tags.entries[TiffTag.JPEG_TABLES][1]
    tables = tags.read_values(TiffTag.JPEG_TABLES, min(n_bytes, _MAX_TABLE_BYTES))
    return None if tables is None else tables.astype(np.uint8).tobytes()


def _read_segment_size(
    tags: TiffDirectory, height: int, width: int, *, tiled: bool
) -> tuple[int, int]:
    """Height and width of a strip or tile."""
    if not tiled:
        return min(max(tags.first_value(TiffTag.ROWS, height), 1), height), width
    tile_size = tags.first_value(TiffTag.TILE_HEIGHT, 0), tags.first_value(TiffTag.TILE_WIDTH, 0)
    for side, image_side in zip(tile_size, (height, width), strict=True):
        if not 16 <= side < image_side + _TILE_MARGIN or side % 16:
            raise ValueError(f"a damaged TIFF image: tiles of {tile_size[1]}x{tile_size[0]}")
    if tile_size[0] * tile_size[1] > _MAX_TILE_PIXELS:
        raise ValueError(f"has tiles of {tile_size[1]}x{tile_size[0]}; save it with smaller ones")
    return tile_size


def _read_segments(
    tags: TiffDirectory, n: int, *, tiled: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Offset and length in bytes of each strip or tile."""
    if n > _MAX_SEGMENTS:
        raise ValueError(f"has {n:,} strips or tiles; save it with larger ones")
    starts = tags.read_values(TiffTag.TILES if tiled else TiffTag.STRIPS, n)
    lengths = tags.read_values(TiffTag.TILE_SIZES if tiled else TiffTag.STRIP_SIZES, n)
    if starts is None or lengths is None:
        raise ValueError("a damaged TIFF image: has no offsets of its samples")
    size = tags.reader.size
    # The sum is limited so that segments cannot overlap: a small file could otherwise decode the
    # same bytes a million times.
    if (starts > size).any() or (lengths > size).any():
        raise ValueError(TRUNCATED)
    offsets, sizes = starts.astype(np.int64), lengths.astype(np.int64)
    if (offsets + sizes > size).any() or sizes.sum() > size or (sizes < 1).any():
        raise ValueError(TRUNCATED)
    return offsets, sizes


def _has_alpha(tags: TiffDirectory, samples: int) -> bool:
    photometric = tags.first_value(TiffTag.PHOTOMETRIC, GREY)
    colours = 3 if photometric == _RGB else 1
    if samples != colours + 1:
        return False
    return (
        photometric == _RGB
        if TiffTag.EXTRA not in tags.entries
        else tags.first_value(TiffTag.EXTRA, 0) in _ALPHA
    )


def _palette(tags: TiffDirectory, bits: int) -> NDArray[np.uint8]:
    """Colours (2^bits, 3). The file stores 16 bits for each, all reds first."""
    if bits > 8 or tags.first_value(TiffTag.SAMPLES, 1) != 1:
        raise ValueError(f"has a palette of {bits} bits; save it with 8")
    stored = tags.read_values(TiffTag.COLOURS, 3 << bits)
    if stored is None:
        raise ValueError("a damaged TIFF image: has no palette")
    return (stored >> 8).astype(np.uint8).reshape(3, -1).T
