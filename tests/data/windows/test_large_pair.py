from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.core.errors import DataError
from harness.data.files import large_image
from harness.data.files.image_io import read_pair
from harness.data.files.source import FolderSource
from harness.data.windows.large_pair import PairBand, open_large_pair
from tests.data.make import MAX_PIXELS, save

HEIGHT, WIDTH = 600, 70
MULTICLASS = {"task": "multiclass", "classes": ("a", "b", "c")}


@pytest.fixture(autouse=True)
def _small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_image, "WHOLE_PIXELS", 1000)


def image_of(channels: int = 3, dtype: Any = np.uint8) -> NDArray[Any]:
    rng = np.random.default_rng(0)
    return rng.integers(0, np.iinfo(dtype).max + 1, (HEIGHT, WIDTH, channels), dtype=dtype)


def areas(*values: int, dtype: Any = np.uint8) -> NDArray[Any]:
    """Squares of 20 px in turn, which cross the borders of bands."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] // 20
    return np.array(values, dtype)[(y + x) % len(values)]


def write(root: Path, image: NDArray[Any], mask: NDArray[Any], **storage: Any) -> None:
    root.mkdir(exist_ok=True)
    kind: dict[str, Any] = {"photometric": "rgb" if image.shape[2] == 3 else "minisblack"}
    if image.shape[2] > 1:
        kind["planarconfig"] = "contig"
    tifffile.imwrite(root / "image.tif", image.squeeze(), tile=(64, 64), **kind)
    storage = {"photometric": "minisblack" if mask.ndim == 2 else "rgb"} | storage
    tifffile.imwrite(root / "mask.tif", mask, compression="lzw", rowsperstrip=10, **storage)


def banded(root: Path, data: StudyDataConfig, mask: str = "mask.tif") -> list[PairBand]:
    with open_large_pair(FolderSource(root), "image.tif", [mask], data, MAX_PIXELS) as pair:
        assert pair is not None
        return list(pair.bands())


def check_equal_to_whole(root: Path, data: StudyDataConfig, mask: str = "mask.tif") -> None:
    bands = banded(root, data, mask)
    pair = read_pair(FolderSource(root), "image.tif", [mask], data, MAX_PIXELS)
    assert [(band.rows.start, band.rows.stop) for band in bands] == [
        (0, 256),
        (256, 512),
        (512, 600),
    ]
    np.testing.assert_array_equal(np.concatenate([band.image for band in bands]), pair.image)
    np.testing.assert_array_equal(np.concatenate([band.mask for band in bands]), pair.mask)
    assert bands[0].image.dtype == pair.image.dtype and bands[0].mask.dtype == pair.mask.dtype


@pytest.mark.parametrize(
    ("mask", "settings"),
    [
        (areas(0, 255), {}),
        (areas(0, 1), {}),
        (areas(0, 255, 7), {"values": {"0": "background", "255": "foreground", "7": "ignore"}}),
        (areas(0, 1, 2), MULTICLASS),
        (areas(0, 1, 2, 9), MULTICLASS | {"ignore_index": 9}),
        (areas(0, 300, 65535, dtype=np.uint16), {"values": "nonzero"}),
        (np.dstack([areas(0, 255)] * 3), {}),
        (
            np.dstack([areas(0, 255), areas(0, 0), areas(0, 9)]),
            {"values": {"#000000": "background", "#ff0009": "foreground"}},
        ),
    ],
)
def test_bands_are_the_rows_of_the_whole_mask(
    tmp_path: Path, mask: NDArray[Any], settings: dict[str, Any]
) -> None:
    write(tmp_path, image_of(), mask)
    check_equal_to_whole(tmp_path, StudyDataConfig(**settings))


def test_meaning_of_1_follows_from_the_values_of_all_bands(tmp_path: Path) -> None:
    """1 is foreground if nothing is above it, else the soft edge of an area of 255."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:40, 10:40] = 1
    write(tmp_path, image_of(), mask)
    check_equal_to_whole(tmp_path, StudyDataConfig())
    assert banded(tmp_path, StudyDataConfig())[0].mask.any()
    mask[10:40, 10:40] = 0
    mask[10, 10] = 1
    mask[580:] = 255
    write(tmp_path, image_of(), mask)
    check_equal_to_whole(tmp_path, StudyDataConfig())
    assert not banded(tmp_path, StudyDataConfig())[0].mask.any()


def test_soft_edge_at_the_border_of_bands_is_no_area(tmp_path: Path) -> None:
    """The 200 above row 256 belongs to the edge of the area below."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[256:] = 255
    mask[255, ::2] = 200
    mask[254, ::2] = 100
    write(tmp_path, image_of(), mask)
    check_equal_to_whole(tmp_path, StudyDataConfig())


@pytest.mark.parametrize(
    ("mask", "settings", "message"),
    [
        (areas(0, 128, 255), {}, "values 0, 128, 255 are not two-valued"),
        (areas(0, 1, 2, 3), MULTICLASS, "values 3 are no class"),
        (np.dstack([areas(0, 255), areas(0, 9), areas(0, 0)]), {}, "values .* are not two-valued"),
    ],
)
def test_mask_without_meaning_is_the_same_error(
    tmp_path: Path, mask: NDArray[Any], settings: dict[str, Any], message: str
) -> None:
    write(tmp_path, image_of(), mask)
    data = StudyDataConfig(**settings)
    with pytest.raises(DataError, match=message):
        read_pair(FolderSource(tmp_path), "image.tif", ["mask.tif"], data, MAX_PIXELS)
    with pytest.raises(DataError, match=message):
        banded(tmp_path, data)


def test_mask_of_another_format_is_decoded_entirely(tmp_path: Path) -> None:
    write(tmp_path, image_of(), areas(0, 255))
    save(tmp_path / "mask.png", areas(0, 255))
    check_equal_to_whole(tmp_path, StudyDataConfig(), "mask.png")


def test_16_bits_of_five_channels(tmp_path: Path) -> None:
    write(tmp_path, image_of(5, np.uint16), areas(0, 255))
    check_equal_to_whole(tmp_path, StudyDataConfig(channels=5, range=(0, 65535)))


def test_grey_image_is_repeated_for_three_channels(tmp_path: Path) -> None:
    write(tmp_path, image_of(1), areas(0, 255))
    check_equal_to_whole(tmp_path, StudyDataConfig())


def test_planes_of_a_multilabel_task(tmp_path: Path) -> None:
    write(tmp_path, image_of(), areas(0, 255))
    tifffile.imwrite(tmp_path / "other.tif", areas(255, 255, 0), photometric="minisblack")
    data = StudyDataConfig(task="multilabel", classes=("a", "b"))
    masks = ["mask.tif", "other.tif"]
    source = FolderSource(tmp_path)
    with open_large_pair(source, "image.tif", masks, data, MAX_PIXELS) as pair:
        assert pair is not None
        mask = np.concatenate([band.mask for band in pair.bands()])
    whole = read_pair(source, "image.tif", masks, data, MAX_PIXELS)
    np.testing.assert_array_equal(mask, whole.mask)


def test_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    write(tmp_path, image_of(), areas(0, 255))
    source, data = FolderSource(tmp_path), StudyDataConfig()
    with open_large_pair(source, "image.tif", ["mask.tif"], data, MAX_PIXELS) as pair:
        assert pair is not None
        bands = pair.bands(pair.hashes)
        next(bands)
        with (tmp_path / "image.tif").open("ab") as handle:
            handle.write(b"more")
        with pytest.raises(DataError, match=r"image\.tif: has changed while it was read"):
            list(bands)


def test_other_content_than_recorded_is_refused(tmp_path: Path) -> None:
    write(tmp_path, image_of(), areas(0, 255))
    with open_large_pair(
        FolderSource(tmp_path), "image.tif", ["mask.tif"], StudyDataConfig(), MAX_PIXELS
    ) as pair:
        assert pair is not None
        with pytest.raises(DataError, match="has changed since its hash was recorded"):
            list(pair.bands(("0" * 64, "0" * 64)))


def test_limit_refers_to_the_part_that_is_decoded_together(tmp_path: Path) -> None:
    """Tiles of 64 x 64 pixels are 4096; a compressed strip of all rows is 42,000."""
    write(tmp_path, image_of(), areas(0, 255))
    source, data = FolderSource(tmp_path), StudyDataConfig()
    with open_large_pair(source, "image.tif", ["mask.tif"], data, 4096) as pair:
        assert pair is not None and len(list(pair.bands())) == 3
    tifffile.imwrite(
        tmp_path / "image.tif", image_of(), photometric="rgb", compression="lzw", rowsperstrip=600
    )
    with (
        pytest.raises(DataError, match="70x600 in parts of 70x600 is more than 4,096 pixels"),
        open_large_pair(source, "image.tif", ["mask.tif"], data, 4096),
    ):
        pass
