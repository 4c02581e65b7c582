import io
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.core.errors import DataError
from harness.data.files.decode import ImageFile, mask_samples
from harness.data.files.headers import read_header
from harness.data.files.image_io import read_mask
from harness.data.files.mask_values import (
    MaskValues,
    ValueKind,
    describe_values,
    example_values,
    merge_values,
)
from harness.data.files.source import FolderSource
from tests.data.make import DATA, MAX_PIXELS, Array8, encode, save, square

THREE = ("background", "road", "tree")


def blobs(seed: int, side: int = 160) -> Array8:
    """A few random round areas in {0, 1}."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((side, side), np.uint8)
    for _ in range(3):
        x, y, radius = (int(n) for n in rng.integers((20, 20, 14), (side - 20, side - 20, 40)))
        cv2.ellipse(
            mask, (x, y), (radius, radius * 2 // 3), int(rng.integers(0, 180)), 0, 360, 1, -1
        )
    return mask


def iou(a: Array8, b: Array8) -> float:
    return float((a & b).sum() / (a | b).sum())


def classes(task: str = "multiclass", **more: Any) -> StudyDataConfig:
    names = ("background", "foreground") if task == "binary" else THREE
    return StudyDataConfig(task=task, classes=names, **more)


def read(path: Path, mask: Array8 | bytes, data: StudyDataConfig) -> Array8:
    return read_mask(FolderSource(path.parent), [save(path, mask)], data, MAX_PIXELS)


@pytest.mark.parametrize("quality", range(50, 100, 5))
def test_jpeg_masks_of_blobs_come_back(tmp_path: Path, quality: int) -> None:
    for seed in range(6):
        mask = blobs(seed)
        stored = encode(".jpg", 255 * mask, cv2.IMWRITE_JPEG_QUALITY, quality)
        assert iou(read(tmp_path / "m.jpg", stored, DATA), mask) >= 0.99


def test_ignored_value_is_void_exactly_in_lossless_and_nearly_in_lossy_masks(
    tmp_path: Path,
) -> None:
    data = classes("binary", ignore_index=128)
    mask = np.zeros((64, 96), np.uint8)
    mask[:, 32:64], mask[:, 64:] = 255, 128
    expected = np.where(mask == 128, IGNORE_INDEX, mask // 255)
    np.testing.assert_array_equal(read(tmp_path / "m.png", mask, data), expected)
    lossy = read(tmp_path / "m.jpg", encode(".jpg", mask, cv2.IMWRITE_JPEG_QUALITY, 60), data)
    assert (lossy != expected).mean() < 0.01
    mask[0:30, 80:] = 120
    with pytest.raises(DataError, match="values 0, 120, 128, 255 are not two-valued"):
        read(tmp_path / "m.png", mask, data)


def test_grey_values_get_their_classes_exactly(tmp_path: Path) -> None:
    data = classes(values={"10": "background", "20": "tree", "300": "road", "255": "ignore"})
    mask = np.array([[10, 20], [300, 255]], np.uint16)
    np.testing.assert_array_equal(read(tmp_path / "m.png", mask, data), [[0, 2], [1, IGNORE_INDEX]])
    mask[0, 0] = 11
    with pytest.raises(
        DataError, match=r"values 11 are not in data\.values; add them, e\.g\. '11': ignore"
    ):
        read(tmp_path / "m.png", mask, data)


def test_grey_values_of_lossy_masks_are_the_nearest_declared(tmp_path: Path) -> None:
    data = classes(values={"0": "background", "128": "road", "255": "tree"})
    labels = np.zeros((64, 96), np.uint8)
    labels[:, 32:64], labels[:, 64:] = 1, 2
    grey = np.array([0, 128, 255], np.uint8)[labels]
    stored = encode(".jpg", grey, cv2.IMWRITE_JPEG_QUALITY, 70)
    np.testing.assert_array_equal(read(tmp_path / "m.jpg", stored, data), labels)
    grey[:, :32] = 60
    stored = encode(".jpg", grey, cv2.IMWRITE_JPEG_QUALITY, 70)
    with pytest.raises(DataError, match=r"values 6[01].* are not in data\.values"):
        read(tmp_path / "m.jpg", stored, data)


def test_colours_get_their_classes(tmp_path: Path) -> None:
    data = classes(values={"#000000": "background", "#804080": "road", "#6b8e23": "tree"})
    labels = np.zeros((64, 96), np.uint8)
    labels[:, 32:64], labels[:, 64:] = 1, 2
    mask = np.array([[0, 0, 0], [128, 64, 128], [107, 142, 35]], np.uint8)[labels]
    np.testing.assert_array_equal(read(tmp_path / "m.png", encode(".png", mask), data), labels)
    lossy = read(tmp_path / "m.jpg", encode(".jpg", mask, cv2.IMWRITE_JPEG_QUALITY, 90), data)
    assert (lossy != labels).mean() < 0.02
    mask[0, 0] = 255
    with pytest.raises(DataError, match=r"values #ffffff are not in data\.values"):
        read(tmp_path / "m.png", encode(".png", mask), data)


def test_colours_are_found_in_grey_and_palette_masks(tmp_path: Path) -> None:
    data = classes("binary", values={"#000000": "background", "#ff0000": "foreground"})
    image = Image.fromarray(square())
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.save(tmp_path / "p.png")
    np.testing.assert_array_equal(
        read_mask(FolderSource(tmp_path), [tmp_path / "p.png"], data, MAX_PIXELS), square()
    )
    assert read(tmp_path / "m.png", 0 * square(), data).sum() == 0


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_indices_of_a_palette_are_the_classes(tmp_path: Path, suffix: str) -> None:
    """The colours are those of PASCAL VOC, of which no grey tells the class."""
    indices = np.arange(32 * 32, dtype=np.uint8).reshape(32, 32) % 3
    image = Image.fromarray(indices)
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    image.save(tmp_path / f"m{suffix}")
    read = read_mask(FolderSource(tmp_path), [tmp_path / f"m{suffix}"], classes(), MAX_PIXELS)
    np.testing.assert_array_equal(read, indices)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_indices_of_few_bits_are_not_stretched(tmp_path: Path, bits: int) -> None:
    indices = (np.arange(32 * 31) % min(1 << bits, 3)).reshape(32, 31).astype(np.uint8)
    image = Image.fromarray(indices)
    image.putpalette([7 * i % 256 for i in range(3 << bits)])
    image.save(tmp_path / "m.png", bits=bits)
    assert (tmp_path / "m.png").read_bytes()[24] == bits
    np.testing.assert_array_equal(
        read_mask(FolderSource(tmp_path), [tmp_path / "m.png"], classes(), MAX_PIXELS), indices
    )


def test_index_masks_know_their_void_and_no_other_values(tmp_path: Path) -> None:
    data = classes(ignore_index=11)
    mask = np.array([[0, 1], [2, 11]], np.uint8)
    np.testing.assert_array_equal(read(tmp_path / "m.png", mask, data), [[0, 1], [2, IGNORE_INDEX]])
    with pytest.raises(
        DataError, match=r"values 11 are no class \(0 to 2\).*or set data\.ignore_index: 11$"
    ):
        read(tmp_path / "m.png", mask, classes())


def test_grey_values_for_a_coloured_mask_are_refused(tmp_path: Path) -> None:
    data = classes(values={"0": "background", "1": "road"})
    mask = np.dstack([255 * square(), 0 * square(), 0 * square()])
    with pytest.raises(
        DataError, match=r"has the colours #000000, #ff0000, but data\.values declares grey"
    ):
        read(tmp_path / "m.png", encode(".png", mask), data)


def _noisy() -> bytes:
    return encode(".jpg", 255 * blobs(0), cv2.IMWRITE_JPEG_QUALITY, 60)


def _voc() -> bytes:
    image, out = Image.fromarray(2 * square()), io.BytesIO()
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    image.save(out, "PNG")
    return out.getvalue()


def described(data: bytes) -> MaskValues:
    return describe_values(mask_samples(ImageFile(Path("m"), data, read_header(data))))


def _coloured(n: int) -> bytes:
    mask = np.zeros((10, 100, 3), np.uint8)
    mask[:, :n, 0] = np.arange(n)
    return encode(".png", mask)


def _trimap() -> Array8:
    """A foreground of 64 px whose edge, 4 px wide, is grey."""
    mask = np.zeros((128, 128), np.uint8)
    mask[28:100, 28:100] = 128
    mask[32:96, 32:96] = 255
    return mask


@pytest.mark.parametrize(
    ("data", "kind", "values"),
    [
        (encode(".png", 0 * square()), "two-valued", ("0",)),
        (encode(".png", 255 * square()), "two-valued", ("0", "255")),
        (encode(".png", np.dstack([255 * square()] * 3)), "two-valued", ("0", "255")),
        (encode(".png", square()), "two-valued", ("0", "1")),
        (encode(".png", 3 * square()), "two-valued", ("0", "3")),
        (encode(".png", 150 * square()), "two-valued", ("0", "150")),
        (_voc(), "two-valued", ("0", "2")),
        (encode(".png", np.arange(12, dtype=np.uint8).reshape(3, 4)), "indexed",
         tuple(str(n) for n in range(12))),
        (encode(".png", _trimap()), "indexed", ("0", "128", "255")),
        (encode(".png", np.arange(64, dtype=np.uint8).reshape(8, 8)), "indexed",
         tuple(str(n) for n in range(64))),
        (encode(".png", np.arange(65, dtype=np.uint8).reshape(5, 13)), "grey", ()),
        (_coloured(64), "colours", tuple(f"#{n:02x}0000" for n in range(64))),
        (_coloured(65), "grey", ()),
    ],
)  # fmt: skip
def test_values_of_a_mask(data: bytes, kind: ValueKind, values: tuple[str, ...]) -> None:
    assert described(data) == MaskValues(kind, values)


def _many_edges() -> Array8:
    """Stripes 4 px wide: JPEG leaves a fifth of their pixels between dark and bright."""
    mask = np.zeros((64, 64), np.uint8)
    mask[:, np.arange(64) % 8 < 4] = 255
    return cv2.GaussianBlur(mask, (3, 3), 0)


def test_noise_of_jpeg_is_near_an_edge_however_much_there_is() -> None:
    """A third class is an area, however small: its share of the picture tells nothing."""
    striped = encode(".jpg", _many_edges(), cv2.IMWRITE_JPEG_QUALITY, 90)
    grey = cv2.imdecode(np.frombuffer(striped, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert ((grey > 8) & (grey < 246)).mean() > 0.2
    assert described(striped) == MaskValues("noisy", ())
    third = np.zeros((256, 256), np.uint8)
    third[:128] = 255
    third[180:210, 100:130] = 128  # 900 of 65,536 pixels
    assert described(encode(".jpg", third)) == MaskValues("grey", ())


def test_noise_that_was_saved_without_loss_is_noise() -> None:
    jpeg = encode(".jpg", 255 * square(), cv2.IMWRITE_JPEG_QUALITY, 60)
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert len(np.unique(decoded)) > 2
    assert described(encode(".png", np.asarray(decoded, np.uint8))) == MaskValues("noisy", ())


def test_values_of_several_masks_are_in_order_of_number() -> None:
    two = [MaskValues("two-valued", ("0", "10")), MaskValues("two-valued", ("0", "9"))]
    assert merge_values(two) == MaskValues("indexed", ("0", "9", "10"))
    assert merge_values([*two, MaskValues("grey", ())]) == MaskValues("grey", ())


def test_example_of_values_is_what_the_settings_take() -> None:
    import yaml

    for values, data in [
        (("0", "128", "255"), DATA),
        (("#000000", "#ff0000"), DATA),
        (("1", "2", "3", "9"), classes()),
    ]:
        example = yaml.safe_load(example_values(values, data))
        config = StudyDataConfig(task=data.task, classes=data.classes, values=example)
        assert config.values is not None and tuple(config.values) == values
    assert (
        example_values(("0", "128", "255"), DATA)
        == "{'0': background, '128': ignore, '255': foreground}"
    )


@pytest.mark.real
def test_every_tenth_kvasir_mask_equals_thresholding() -> None:
    root = Path(os.environ.get("HARNESS_DATA_DIR", "none")) / "kvasir-seg" / "masks"
    if not root.is_dir():
        pytest.skip("$HARNESS_DATA_DIR holds no kvasir-seg")
    for path in sorted(root.iterdir())[::10]:
        expected = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 127
        np.testing.assert_array_equal(
            read_mask(FolderSource(root), [path.name], DATA, 100e6), expected
        )
        assert described(path.read_bytes()).kind in ("two-valued", "noisy"), path.name
