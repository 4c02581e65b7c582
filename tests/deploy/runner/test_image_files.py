"""Files that the runner reads have the values of the study; it refuses what it cannot read so."""

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from harness.core.errors import DataError
from harness.data.files.image_io import read_image as read_study_image
from harness.data.files.resize import content_box, fit_image
from harness.deploy.runner import image_files
from harness.deploy.runner.image_files import read_image
from tests.data.make import encode, picture
from tests.data.odd_files import DEEP, MAX_PIXELS, bombs, images, tiff
from tests.deploy.hostile_files import hostile_files

ODD = [(case.name, case.data, case.options) for case in [*images(), *bombs()]]
HOSTILE = [(file.name, file.data, {}) for file in hostile_files()]
CASES = [*ODD, *(case for case in HOSTILE if case[0] not in {name for name, _, _ in ODD})]
# Kinds that the study reads and the runner refuses: everything else must be read.
REFUSED = {
    *("good.bmp", "good.webp", "good.bmp.png", "good.webp.png", "palette.bmp", "grey-as-one.bmp"),
    *("rgba.webp", "good.tif", "good.tif.png", "lzw.tif", "packbits.tif", "zstd.tif", "tiled.tif"),
    *("rgba.tif", "rgba-as-four.tif", "palette.tif", "bilevel.tif", "five.tif", "big.tif"),
    *("eight-planar.tif", "plain-big.tif", "jpeg-inside.tif"),
}
BIG = picture(3, 90, 120)


def spec(
    channels: int = 3, value_range: tuple[float, float] = (0.0, 255.0), max_pixels: float = 1e8
) -> dict[str, Any]:
    bits = 16 if value_range[1] > 255 else 8
    return {"input": {"channels": channels, "bits": bits, "max_pixels": max_pixels}}


def write(path: Path, data: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if callable(data):
        data(path)
    else:
        path.write_bytes(data)
    return path


@pytest.mark.parametrize(("name", "data", "options"), CASES, ids=[case[0] for case in CASES])
def test_runner_reads_as_the_study_or_refuses(
    name: str, data: Any, options: dict[str, Any], tmp_path: Path
) -> None:
    path = write(tmp_path / name, data)
    try:
        expected = read_study_image(path, MAX_PIXELS, **options)
    except DataError:
        with pytest.raises(ValueError, match=r"\w") as refusal:
            read_image(path, spec(**options))
        assert "\n" not in str(refusal.value)
        return
    if name in REFUSED:
        with pytest.raises(ValueError, match="save it as PNG"):
            read_image(path, spec(**options))
        return
    array = read_image(path, spec(**options))
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)
    assert array.flags.c_contiguous
    np.testing.assert_array_equal(read_image(path.read_bytes(), spec(**options)), expected)


DAMAGED = {
    "none.tif": tiff(BIG, photometric="rgb"),
    "deflate.tif": tiff(BIG, photometric="rgb", compression="zlib", rowsperstrip=16),
    "deep-deflate.tif": tiff(
        BIG.astype(np.uint16) * 257, photometric="rgb", compression="zlib", predictor=True
    ),
    "deep-lzw.tif": tiff(BIG.astype(np.uint16) * 257, photometric="rgb", compression="lzw"),
    "plain.png": encode(".png", BIG),
    "plain.jpg": encode(".jpg", BIG),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_never_read_differently(name: str, tmp_path: Path) -> None:
    """A hundred damaged copies: the study reads the same values, or both refuse the file."""
    rng, n_refused = np.random.default_rng(0), 0
    value_range = DEEP if "deep" in name else (0.0, 255.0)
    for index in range(100):
        data = bytearray(DAMAGED[name])
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(8 if index % 3 else 300, len(data))] = rng.integers(256)
        path = write(tmp_path / name, bytes(data))
        try:
            array = read_image(path, spec(value_range=value_range, max_pixels=1e6))
        except ValueError:
            n_refused += 1
            continue
        expected = read_study_image(path, 1e6, value_range=value_range)
        np.testing.assert_array_equal(array, expected)
    assert n_refused < 100 or name in ("deflate.tif", "deep-deflate.tif", "plain.png")


def with_exif(block: bytes) -> bytes:
    data = encode(".jpg", BIG)
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 8) + b"Exif\0\0" + block
    return data[:2] + segment + data[2:]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("is_whole", [True, False])
@pytest.mark.parametrize("kind", ["H", "I", "B"])
def test_every_orientation_is_that_of_the_study(
    order: str, kind: str, tmp_path: Path, *, is_whole: bool
) -> None:
    for orientation in range(10):
        code = {"B": 1, "H": 3, "I": 4}[kind]
        value = struct.pack(order + kind, orientation).ljust(4, b"\0")
        block = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 1)
        block += struct.pack(order + "HHI", 274, code, 1) + value + (bytes(4) if is_whole else b"")
        path = write(tmp_path / f"{orientation}.jpg", with_exif(block))
        expected = read_study_image(path, 1e6)
        assert expected.shape[0] == (120 if is_whole and 5 <= orientation <= 8 else 90)
        np.testing.assert_array_equal(read_image(path, spec()), expected)


def npy(array: Any, path: Path) -> Path:
    np.save(path, array)
    return path


def test_arrays_of_any_number_of_channels(tmp_path: Path) -> None:
    array = np.arange(2 * 3 * 7, dtype=np.uint16).reshape(2, 3, 7)
    path = npy(array, tmp_path / "a.npy")
    np.testing.assert_array_equal(read_image(path, spec(7, DEEP)), array)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 7), np.float32), "uint8 or uint16"),
        (np.zeros((2, 3), np.uint8), "height, width, channels"),
        (np.array([{"a": 1}], dtype=object), "uint8 or uint16"),
        (np.zeros((0, 3, 7), np.uint8), "height, width, channels"),
        (np.zeros((2, 3, 6), np.uint8), "6 channels of 8 bits; the network takes 7 of 8"),
        (np.zeros((2, 3, 7), np.uint16), "7 channels of 16 bits; the network takes 7 of 8"),
        (np.asfortranarray(np.zeros((2, 3, 7), np.uint8)), "height, width, channels"),
        (np.zeros((40, 50, 7), np.uint8), "50x40 is more than 1,000 pixels"),
    ],
)
def test_other_arrays_are_refused(array: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read_image(npy(array, tmp_path / "a.npy"), spec(7, max_pixels=1000))


def test_array_that_ends_too_early_is_refused(tmp_path: Path) -> None:
    data = npy(np.zeros((20, 30, 3), np.uint8), tmp_path / "a.npy").read_bytes()
    for end in (6, 40, 128, len(data) - 1):
        with pytest.raises(ValueError, match=r"\w"):
            read_image(data[:end], spec())


@pytest.mark.parametrize("fit", ["stretch", "pad"])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_images_are_fitted_as_in_training(fit: Any, channels: int, dtype: Any) -> None:
    rng = np.random.default_rng(1)
    for size in [(17, 31), (64, 48), (64, 64), (300, 20), (5, 4100), (33, 200), (1, 1)]:
        image = rng.integers(0, np.iinfo(dtype).max, (*size, channels), dtype, endpoint=True)
        for target in [(64, 64), (32, 96)]:
            fitted, *content = image_files.fit_image(image, target, fit)
            np.testing.assert_array_equal(fitted, fit_image(image, target, fit))
            assert tuple(content) == content_box(size, target, fit)[2:]


def test_masks_are_written_by_task(tmp_path: Path) -> None:
    mask = np.array([[0, 1], [2, 1]], np.uint8)
    image_files.write_mask(tmp_path / "a.b.jpg", mask, {"task": "multiclass", "classes": []})
    image_files.write_mask(tmp_path / "two.jpg", mask % 2, {"task": "binary", "classes": []})
    labels = {"task": "multilabel", "classes": [{"name": "x"}, {"name": "y z"}]}
    image_files.write_mask(tmp_path / "n" / "l.tif", np.dstack([mask % 2, mask // 2]), labels)
    expected = {
        "a.b.png": mask, "two.png": 255 * (mask % 2),
        "n/l-x.png": 255 * (mask % 2), "n/l-y z.png": 255 * (mask // 2),
    }  # fmt: skip
    for name, values in expected.items():
        written = cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(written, values)
