import io
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from harness.data.files import tiff_segments
from harness.data.files.byte_reader import FileBytes, MemoryBytes
from harness.data.files.tiff import TiffReader, decode_tiff
from harness.data.files.tiff_layout import read_tiff_layout

HEIGHT, WIDTH = 77, 101
STORAGE: list[dict[str, Any]] = [
    {},
    {"tile": (16, 32)},
    {"tile": (48, 16), "compression": "lzw", "predictor": True},
    {"compression": "lzw", "rowsperstrip": 7},
    {"compression": "zlib", "rowsperstrip": 1000},
    {"rowsperstrip": 12},
    {"rowsperstrip": 13},
    {"bigtiff": True, "byteorder": ">"},
]


def samples_of(channels: int, dtype: type[np.integer]) -> NDArray[Any]:
    rng = np.random.default_rng(channels)
    shape = (HEIGHT, WIDTH, channels)
    return rng.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def tiff_bytes(image: NDArray[Any], *, planar: bool = False, **storage: Any) -> bytes:
    file = io.BytesIO()
    stored = np.moveaxis(image, -1, 0) if planar else image
    config = {"planarconfig": "separate" if planar else "contig"} if image.shape[2] > 1 else {}
    storage = {"photometric": "minisblack", "rowsperstrip": HEIGHT, **storage, **config}
    if "tile" in storage:
        del storage["rowsperstrip"]
    tifffile.imwrite(file, stored[..., 0] if image.shape[2] == 1 else stored, **storage)
    return file.getvalue()


def opened(data: bytes) -> TiffReader:
    reader = FileBytes(io.BytesIO(data), len(data))
    return TiffReader(reader, read_tiff_layout(reader))


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (3, np.uint8), (5, np.uint16)])
@pytest.mark.parametrize("storage", STORAGE)
def test_any_window_is_that_of_the_image(
    storage: dict[str, Any],
    channels: int,
    dtype: type[np.integer],
    planar: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tiff_segments, "_PART_PIXELS", 300)
    image = samples_of(channels, dtype)
    data = tiff_bytes(image, planar=planar and channels > 1, **storage)
    np.testing.assert_array_equal(decode_tiff(data), image)
    reader, rng = opened(data), np.random.default_rng(1)
    for _ in range(20):
        top, left = int(rng.integers(HEIGHT)), int(rng.integers(WIDTH))
        height = int(rng.integers(1, HEIGHT - top + 1))
        width = int(rng.integers(1, WIDTH - left + 1))
        window = reader.read(top, left, height, width)
        np.testing.assert_array_equal(window, image[top : top + height, left : left + width])


def test_white_is_zero_is_inverted_in_windows() -> None:
    image = samples_of(1, np.uint8)
    window = opened(tiff_bytes(image, photometric="miniswhite")).read(3, 5, 2, 4)
    np.testing.assert_array_equal(window, 255 - image[3:5, 5:9])


def test_window_decodes_the_tiles_that_it_touches_and_keeps_no_other() -> None:
    reader = opened(tiff_bytes(samples_of(3, np.uint8), tile=(16, 16)))
    for left in range(0, 80, 16):
        reader.read(8, left, 16, 16)
        assert reader.n_held_samples == 2 * 16 * 16 * 3
    reader.read(8, 8, 16, 16)
    assert reader.n_held_samples == 4 * 16 * 16 * 3


def test_row_of_a_single_uncompressed_strip_is_read_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_segments, "_PART_PIXELS", 4 * WIDTH)
    reader = opened(tiff_bytes(samples_of(3, np.uint8)))
    assert reader.segment_size == (4, WIDTH)
    reader.read(5, 0, 1, 1)
    assert reader.n_held_samples == 4 * WIDTH * 3


def test_pyramid_is_read_at_its_full_size() -> None:
    """Levels as further pages, with a mask of transparency as in cloud-optimised GeoTIFFs."""
    image, file = samples_of(3, np.uint8), io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(image, tile=(16, 16), photometric="rgb")
        writer.write(image[..., 0] > 127, tile=(16, 16), photometric=0, subfiletype=4)
        writer.write(image[::2, ::2].copy(), tile=(16, 16), photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(opened(file.getvalue()).read(0, 0, 77, 101), image)


def test_pyramid_of_sub_images_is_read_at_its_full_size() -> None:
    image, file = samples_of(3, np.uint8), io.BytesIO()
    with tifffile.TiffWriter(file, bigtiff=True) as writer:
        writer.write(image, tile=(16, 16), photometric="rgb", subifds=1)
        writer.write(image[::2, ::2].copy(), tile=(16, 16), photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(opened(file.getvalue()).read(0, 0, 77, 101), image)


def test_damaged_tile_is_an_error_of_its_windows_alone() -> None:
    data = tiff_bytes(samples_of(1, np.uint8), tile=(16, 16), compression="zlib")
    layout = read_tiff_layout(MemoryBytes(data))
    start, size = int(layout.offsets[0]), int(layout.sizes[0])
    broken = opened(data[:start] + bytes(size) + data[start + size :])
    broken.read(16, 16, 10, 10)
    with pytest.raises(ValueError, match="a damaged TIFF image"):
        broken.read(0, 0, 1, 1)


def smooth(channels: int) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(channels).integers(0, 256, (9, 12, 3), np.uint8)
    image = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)[..., :channels]
    return np.ascontiguousarray(image)


def jpeg_tiles_with_common_tables(image: NDArray[np.uint8], side: int = 32) -> bytes:
    """A TIFF as slide scanners write it: tables once, tiles of YCbCr with reduced chroma."""
    padded = np.pad(image, ((0, -HEIGHT % side), (0, -WIDTH % side), (0, 0)), mode="edge")
    tables, tiles = b"", []
    for top in range(0, HEIGHT, side):
        for left in range(0, WIDTH, side):
            tile = np.ascontiguousarray(padded[top : top + side, left : left + side])
            encoded = imagecodecs.jpeg8_encode(
                tile, level=90, colorspace="RGB", outcolorspace="YCBCR", subsampling=(2, 2)
            )
            kept, tables, offset = b"\xff\xd8", b"\xff\xd8", 2
            while encoded[offset + 1] != 0xDA:
                end = offset + 2 + int.from_bytes(encoded[offset + 2 : offset + 4])
                if encoded[offset + 1] in (0xDB, 0xC4):
                    tables += encoded[offset:end]
                else:
                    kept += encoded[offset:end]
                offset = end
            tiles.append(kept + encoded[offset:])
    tables += b"\xff\xd9"
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        iter(tiles),
        shape=image.shape,
        dtype=np.uint8,
        tile=(side, side),
        photometric="ycbcr",
        compression="jpeg",
        subsampling=(2, 2),
        extratags=[(347, 7, len(tables), tables, True)],
    )
    return file.getvalue()


@pytest.mark.parametrize(
    "storage",
    [
        {"tile": (32, 32)},
        {"tile": (32, 48), "subsampling": (1, 1)},
        {"rowsperstrip": 16},
        {"rowsperstrip": HEIGHT},
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_windows_of_jpeg_compression_are_those_of_tifffile(
    channels: int, storage: dict[str, Any]
) -> None:
    photometric = "minisblack" if channels == 1 else "rgb"
    storage = {"photometric": photometric, "compression": "jpeg", **storage}
    if channels == 1:
        storage.pop("subsampling", None)
    data = tiff_bytes(smooth(channels), **storage)
    expected = tifffile.imread(io.BytesIO(data)).reshape(HEIGHT, WIDTH, channels)
    reader = opened(data)
    for top, left, height, width in ((0, 0, HEIGHT, WIDTH), (3, 40, 30, 20), (70, 90, 7, 11)):
        window = expected[top : top + height, left : left + width]
        np.testing.assert_array_equal(reader.read(top, left, height, width), window)
    assert np.abs(expected.astype(int) - smooth(channels)).mean() < 12


def test_tables_that_all_jpeg_tiles_share_are_used() -> None:
    data = jpeg_tiles_with_common_tables(smooth(3))
    expected = tifffile.imread(io.BytesIO(data))
    np.testing.assert_array_equal(opened(data).read(0, 0, HEIGHT, WIDTH), expected)
    np.testing.assert_array_equal(opened(data).read(20, 30, 40, 50), expected[20:60, 30:80])
    assert np.abs(expected.astype(int) - smooth(3)).mean() < 12


def test_jpeg_of_another_size_than_its_place_is_refused() -> None:
    """It could state 65,535 x 65,535 pixels, and decoding would ask for 13 GB."""
    data = bytearray(tiff_bytes(smooth(3), photometric="rgb", compression="jpeg", tile=(32, 32)))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(ValueError, match="a damaged TIFF image"):
        opened(bytes(data)).read(0, 0, 16, 16)


def test_jpeg_of_other_colours_is_refused() -> None:
    data = tiff_bytes(smooth(3), photometric="minisblack", compression="jpeg", planar=True)
    with pytest.raises(ValueError, match="JPEG compression that is neither grey nor"):
        read_tiff_layout(data)
