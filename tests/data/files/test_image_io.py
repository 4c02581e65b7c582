import hashlib
import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from harness.config.data import StudyDataConfig
from harness.core.errors import DataError
from harness.data.files.image_io import read_image, read_mask, read_pair
from harness.data.files.source import FolderSource
from tests.data.make import DATA, MAX_PIXELS, Array8, encode, exif, picture, save, square


def with_orientation(data: bytes, orientation: int) -> bytes:
    return data[:2] + exif(orientation) + data[2:]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_image_is_rgb_and_exact_in_lossless_formats(tmp_path: Path, suffix: str) -> None:
    read = read_image(save(tmp_path / f"a{suffix}", picture(3)), MAX_PIXELS)
    np.testing.assert_array_equal(read, picture(3))
    assert read.dtype == np.uint8


def test_grey_is_repeated_and_alpha_dropped(tmp_path: Path) -> None:
    grey = picture(0)[:, :, 0]
    rgba = np.dstack([picture(1)[:, :, ::-1], grey])  # as OpenCV stores: BGRA
    read = read_image(save(tmp_path / "grey.png", grey), MAX_PIXELS)
    np.testing.assert_array_equal(read, np.dstack([grey] * 3))
    read = read_image(save(tmp_path / "rgba.png", rgba), MAX_PIXELS)
    np.testing.assert_array_equal(read, picture(1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_image_is_turned_as_opencv_turns_it(tmp_path: Path, orientation: int) -> None:
    path = save(tmp_path / "a.jpg", with_orientation(encode(".jpg", picture(2)), orientation))
    expected = cv2.imread(str(path), cv2.IMREAD_COLOR)[:, :, ::-1]
    np.testing.assert_array_equal(read_image(path, MAX_PIXELS), expected)


def test_pair_turns_the_mask_with_its_image(tmp_path: Path) -> None:
    """Orientation 6 means: turn a quarter clockwise to see it upright."""
    image = save(tmp_path / "a.jpg", with_orientation(encode(".jpg", picture(2)), 6))
    mask = save(tmp_path / "a.png", 255 * square())
    pair = read_pair(FolderSource(tmp_path), image, [mask], DATA, MAX_PIXELS)
    assert pair.image.shape == (32, 24, 3)
    np.testing.assert_array_equal(pair.mask, np.rot90(square(), -1))


def test_pair_of_different_sizes_is_refused_with_both(tmp_path: Path) -> None:
    image, mask = save(tmp_path / "a.jpg", picture(0)), save(tmp_path / "m.png", square(25, 32))
    with pytest.raises(DataError, match=r"a\.jpg: 32x24, but its mask m\.png is 32x25"):
        read_pair(FolderSource(tmp_path), image, [mask], DATA, MAX_PIXELS)


def test_mask_of_another_orientation_than_its_image_is_refused(tmp_path: Path) -> None:
    image = save(tmp_path / "a.jpg", picture(0))
    mask = save(tmp_path / "m.jpg", with_orientation(encode(".jpg", 255 * square()), 3))
    with pytest.raises(DataError, match=r"EXIF orientation 3, but its image a\.jpg has 1"):
        read_pair(FolderSource(tmp_path), image, [mask], DATA, MAX_PIXELS)


def test_pair_has_the_hashes_that_sha256sum_gives(tmp_path: Path) -> None:
    empty_hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    image, mask = save(tmp_path / "a.png", picture(0)), save(tmp_path / "m.png", square())
    pair = read_pair(FolderSource(tmp_path), image, [mask], DATA, MAX_PIXELS)
    from harness.core.files import file_sha256

    assert (pair.image_sha256, pair.mask_sha256) == (file_sha256(image), file_sha256(mask))
    assert file_sha256(save(tmp_path / "empty", b"")) == empty_hash


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_jpeg_mask_is_cut_in_the_middle(tmp_path: Path, quality: int) -> None:
    """On whole 8x8 blocks JPEG keeps two-valued masks; on others it smears an edge a little."""
    blocks = np.kron(np.random.default_rng(1).integers(0, 2, (6, 8)), np.ones((8, 8))).astype(
        np.uint8
    )
    data = encode(".jpg", 255 * blocks, cv2.IMWRITE_JPEG_QUALITY, quality)
    read = read_mask(FolderSource(tmp_path), [save(tmp_path / "m.jpg", data)], DATA, MAX_PIXELS)
    np.testing.assert_array_equal(read, blocks)
    disc = cv2.circle(np.zeros((64, 64), np.uint8), (30, 33), 20, 1, -1)
    data = encode(".jpg", 255 * disc, cv2.IMWRITE_JPEG_QUALITY, quality)
    read = read_mask(FolderSource(tmp_path), [save(tmp_path / "d.jpg", data)], DATA, MAX_PIXELS)
    assert (read != disc).sum() <= 0.01 * disc.sum()


@pytest.mark.parametrize("top", [1, 255])
def test_lossless_mask_may_be_0_and_1_or_0_and_255(tmp_path: Path, top: int) -> None:
    path = save(tmp_path / "m.png", (top * square()).astype(np.uint8))
    read = read_mask(FolderSource(tmp_path), [path], DATA, MAX_PIXELS)
    np.testing.assert_array_equal(read, square())


def test_mask_in_a_tiff_of_jpeg_compression_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, 255 * square(), compression="jpeg")
    with pytest.raises(DataError, match=r"m\.tif: a mask in a TIFF of JPEG compression, .* LZW"):
        read_mask(FolderSource(tmp_path), [path], DATA, MAX_PIXELS)


def test_noise_in_an_empty_jpeg_mask_is_no_foreground(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 2, (32, 32)).astype(np.uint8)
    data = encode(".jpg", noise, cv2.IMWRITE_JPEG_QUALITY, 100)
    assert 1 <= cv2.imdecode(np.frombuffer(data, np.uint8), 0).max() <= 8
    assert (
        read_mask(FolderSource(tmp_path), [save(tmp_path / "m.jpg", data)], DATA, MAX_PIXELS).sum()
        == 0
    )


def test_full_and_empty_masks_are_allowed(tmp_path: Path) -> None:
    for value in (0, 255):
        mask = np.full((20, 20), value, np.uint8)
        assert set(
            np.unique(
                read_mask(
                    FolderSource(tmp_path), [save(tmp_path / "m.png", mask)], DATA, MAX_PIXELS
                )
            )
        ) == {value // 255}


def _classes() -> Array8:
    return np.arange(24 * 32, dtype=np.uint8).reshape(24, 32) % 5


def _colours() -> Array8:
    """The first colour of the VOC palette."""
    return np.dstack([128 * square(), 0 * square(), 0 * square()])


def _grey() -> Array8:
    return np.where(np.kron(square(), np.ones((8, 8))) > 0, 150, 0).astype(np.uint8)


@pytest.mark.parametrize(
    ("mask", "values"),
    [(_classes(), "0, 1, 2, 3, 4"), (_colours(), "#000000, #800000"), (_grey(), "0, 150")],
)
def test_mask_of_other_values_is_refused(tmp_path: Path, mask: Array8, values: str) -> None:
    path = save(tmp_path / "m.png", mask)
    with pytest.raises(DataError, match=rf"m\.png: values {values} are not two-valued"):
        read_mask(FolderSource(tmp_path), [path], DATA, MAX_PIXELS)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_refused_not_cast(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", picture(0).astype(np.uint16) * 16)
    with pytest.raises(DataError, match=r"16 bits a sample, but data\.range ends at 255"):
        read_image(path, MAX_PIXELS)


def test_size_is_refused_before_decoding(tmp_path: Path) -> None:
    """A PNG of a few bytes that claims 50000x40000."""
    data = bytearray(encode(".png", picture(0)))
    data[16:24] = struct.pack(">II", 50_000, 40_000)
    path = save(tmp_path / "bomb.png", bytes(data))
    with pytest.raises(DataError, match=r"bomb\.png: 50000x40000 is more than 1,000,000 pixels"):
        read_image(path, MAX_PIXELS)


def test_limit_is_included(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", picture(0, 10, 20))
    assert read_image(path, 200).shape == (10, 20, 3)
    with pytest.raises(DataError, match="20x10 is more than 199 pixels"):
        read_image(path, 199)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif", ".webp"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
def test_truncated_image_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    data = encode(suffix, picture(0, 64, 64))
    path = save(tmp_path / f"a{suffix}", data[: int(share * len(data))])
    with pytest.raises(DataError, match=rf"a\{suffix}: .*(too early|damaged|empty|not a JPEG)"):
        read_image(path, MAX_PIXELS)


def test_damaged_png_is_refused(tmp_path: Path) -> None:
    data = bytearray(encode(".png", picture(0)))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(DataError, match="a damaged PNG image"):
        read_image(save(tmp_path / "a.png", bytes(data)), MAX_PIXELS)


def test_missing_file_folder_and_pipe_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    for name in ("none.jpg", "folder.jpg", "pipe.jpg"):
        with pytest.raises(DataError, match=rf"{name}: no such file"):
            read_image(tmp_path / name, MAX_PIXELS)


def test_enormous_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with path.open("wb") as handle:
        handle.truncate(10**12)  # a hole: takes no room
    with pytest.raises(DataError, match="1,000,000,000,000 bytes; too large for an image"):
        read_image(path, MAX_PIXELS)


def rgba() -> Array8:
    return np.dstack([picture(0), picture(1)[..., 0]])


@pytest.mark.parametrize(
    "options", [{}, {"tile": (16, 16)}, {"compression": "lzw"}, {"bigtiff": 1}]
)
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_tiff_of_five_channels_is_exact(
    tmp_path: Path, kind: type, planar: bool, options: dict[str, object]
) -> None:
    stored = np.dstack([picture(0), picture(1)])[..., :5].astype(kind) * (
        257 if kind != np.uint8 else 1
    )
    samples = np.moveaxis(stored, 2, 0) if planar else stored
    config = "separate" if planar else "contig"
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, samples, photometric="minisblack", planarconfig=config, **options)
    read = read_image(path, MAX_PIXELS, 5, (0.0, 65535.0 if kind == np.uint16 else 255.0))
    assert read.dtype == kind
    np.testing.assert_array_equal(read, stored)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "zstd"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_tiff_of_16_bits_is_exact(tmp_path: Path, byteorder: str, compression: str | None) -> None:
    stored = np.random.default_rng(0).integers(0, 65536, (37, 29, 3)).astype(np.uint16)
    path = tmp_path / "a.tif"
    predictor = compression in ("lzw", "zlib", "zstd")
    tifffile.imwrite(
        path, stored, photometric="rgb", byteorder=byteorder, compression=compression,
        predictor=predictor, rowsperstrip=7,
    )  # fmt: skip
    read = read_image(path, MAX_PIXELS, value_range=(0.0, 65535.0))
    np.testing.assert_array_equal(read, stored)


def test_16_bits_are_never_rescaled_and_8_are_cast(tmp_path: Path) -> None:
    """Twelve bits in sixteen: the largest value stays 4095."""
    stored = (picture(0).astype(np.uint16) << 4) | 15
    read = read_image(save(tmp_path / "a.png", stored), MAX_PIXELS, value_range=(0.0, 65535.0))
    np.testing.assert_array_equal(read, stored)
    read = read_image(save(tmp_path / "b.png", picture(0)), MAX_PIXELS, value_range=(0.0, 4095.0))
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, picture(0))


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_alpha_is_kept_where_channels_count_it(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(rgba()).save(path, lossless=True, exact=True)
    np.testing.assert_array_equal(read_image(path, MAX_PIXELS, 4), rgba())
    np.testing.assert_array_equal(read_image(path, MAX_PIXELS), rgba()[..., :3])


def test_grey_with_alpha_is_one_channel_or_two(tmp_path: Path) -> None:
    Image.fromarray(rgba()[..., 2:], "LA").save(tmp_path / "a.png")
    for channels in (1, 2):
        read = read_image(tmp_path / "a.png", MAX_PIXELS, channels)
        np.testing.assert_array_equal(read, rgba()[..., 2 : 2 + channels])


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_palette_images_become_their_colours(tmp_path: Path, suffix: str) -> None:
    image = Image.fromarray(picture(0)).quantize(16)
    image.save(tmp_path / f"a{suffix}")
    read = read_image(tmp_path / f"a{suffix}", MAX_PIXELS)
    np.testing.assert_array_equal(read, np.asarray(image.convert("RGB")))


def test_multilabel_masks_are_stacked_and_hashed_together(tmp_path: Path) -> None:
    data = StudyDataConfig(task="multilabel", classes=("a", "b"))
    image = save(tmp_path / "a.png", picture(0))
    first, second = save(tmp_path / "0.png", 255 * square()), save(tmp_path / "1.png", 1 - square())
    pair = read_pair(FolderSource(tmp_path), image, [first, second], data, MAX_PIXELS)
    np.testing.assert_array_equal(pair.mask, np.dstack([square(), 1 - square()]))
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, second)]
    assert pair.mask_sha256 == hashlib.sha256("".join(digests).encode()).hexdigest()
    with pytest.raises(
        DataError, match="1 mask of one image; a multilabel task of 2 classes has 2"
    ):
        read_pair(FolderSource(tmp_path), image, [first], data, MAX_PIXELS)
    small = save(tmp_path / "2.png", square(10, 10))
    with pytest.raises(DataError, match=r"2\.png: of another size than 0\.png"):
        read_mask(FolderSource(tmp_path), [first, small], data, MAX_PIXELS)


def test_multilabel_masks_are_turned_with_their_image(tmp_path: Path) -> None:
    data = StudyDataConfig(task="multilabel", classes=("a", "b"))
    image = save(tmp_path / "a.jpg", with_orientation(encode(".jpg", picture(2)), 6))
    mask = save(tmp_path / "m.png", 255 * square())
    pair = read_pair(FolderSource(tmp_path), image, [mask, mask], data, MAX_PIXELS)
    np.testing.assert_array_equal(pair.mask, np.rot90(np.dstack([square()] * 2), -1))
