"""The cleaned copy: what is in it, what is said about it, and what stays as it was."""

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from harness.config.data import StudyDataConfig
from harness.core import files
from harness.core.errors import DataError
from harness.data.files.image_io import read_image, read_pair
from harness.data.files.source import FolderSource
from harness.data.scan.scan import DatasetScan, duplicates_among
from harness.inspection.clean import clean_dataset, cleaned_data_config
from tests.data.make import DATA, encode, folder, picture, save, square
from tests.inspection.datasets import mixed, overview


@pytest.fixture
def source(tmp_path: Path) -> DatasetScan:
    return overview(mixed(tmp_path / "source"))


def cleaned(source: DatasetScan, target: Path, **options: bool) -> dict[str, dict[str, str]]:
    clean_dataset(source, duplicates_among(source.pair_stats), target, **options)
    with (target / "cleaned.csv").open(encoding="utf-8", newline="") as handle:
        return {row["image"]: row for row in csv.DictReader(handle)}


def everything(root: Path) -> dict[str, str]:
    return {str(path): files.file_sha256(path) for path in root.rglob("*") if path.is_file()}


def test_original_is_not_touched(source: DatasetScan, tmp_path: Path) -> None:
    before = everything(tmp_path / "source")
    cleaned(source, tmp_path / "target", cover_text=True)
    assert everything(tmp_path / "source") == before


def test_every_file_is_accounted_for(source: DatasetScan, tmp_path: Path) -> None:
    log = cleaned(source, tmp_path / "target")
    assert len(log) == 10
    left_out = {name for name, row in log.items() if not row["written_image"]}
    assert left_out == {"images/bad.png", "images/copied.png"}
    assert log["images/copied.png"]["done"] == "left out: equal pixels and mask as images/000.png"
    assert log["images/000.png"]["done"] == "nothing"
    assert log["images/noisy.png"]["done"] == "mask cut at 127"
    written = {path.name for path in (tmp_path / "target/images").iterdir()}
    assert written == {Path(row["written_image"]).name for row in log.values()} - {""}


def test_copies_stay_when_asked(source: DatasetScan, tmp_path: Path) -> None:
    log = cleaned(source, tmp_path / "target", keep_copies=True)
    assert log["images/copied.png"]["written_image"] == "images/copied.png"


def test_border_is_cropped_from_image_and_mask_alike(source: DatasetScan, tmp_path: Path) -> None:
    log = cleaned(source, tmp_path / "target")
    done = "black border cropped: 6 top, 18 right, 4 bottom, 10 left, and 0 mask pixels with it"
    assert log["images/bordered.png"]["done"] == done
    before = cv2.imread(str(tmp_path / "source/images/bordered.png"))
    after = cv2.imread(str(tmp_path / "target/images/bordered.png"))
    assert np.array_equal(after, before[6:-4, 10:-18])
    mask = cv2.imread(str(tmp_path / "source/masks/bordered.png"), 0)
    assert np.array_equal(
        cv2.imread(str(tmp_path / "target/masks/bordered.png"), 0), mask[6:-4, 10:-18]
    )


def test_pictures_are_upright_and_masks_two_valued(source: DatasetScan, tmp_path: Path) -> None:
    cleaned(source, tmp_path / "target")
    turned = read_image(tmp_path / "target/images/turned.png", 1e6)
    assert np.array_equal(turned, read_image(tmp_path / "source/images/turned.jpg", 1e6))
    assert turned.shape == (32, 24, 3)
    noisy = cv2.imread(str(tmp_path / "target/masks/noisy.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(noisy, 255 * square())


def test_cleaned_copy_has_nothing_left_to_clean(source: DatasetScan, tmp_path: Path) -> None:
    cleaned(source, tmp_path / "once")
    again = overview(tmp_path / "once")
    log = cleaned(again, tmp_path / "twice")
    assert {row["done"] for row in log.values()} == {"nothing"}


def test_text_is_covered_only_where_it_is(tmp_path: Path) -> None:
    image = np.full((480, 640, 3), (180, 90, 80), np.uint8)
    cv2.putText(image, "11/10/2012", (12, 60), cv2.FONT_HERSHEY_PLAIN, 1, (255, 255, 255), 1)
    save(tmp_path / "source/images/a.png", image)
    save(tmp_path / "source/masks/a.png", 255 * square(480, 640))
    log = cleaned(overview(tmp_path / "source"), tmp_path / "target", cover_text=True)
    assert log["images/a.png"]["done"] == "suspected text covered in 1 place"
    after = read_image(tmp_path / "target/images/a.png", 1e6)
    assert (image[:, :, 2] > 150).sum() > 100
    assert (after[:, :, 2] > 150).sum() == 0
    assert np.array_equal(after[100:], image[100:])


@pytest.mark.parametrize("kind", ["inside", "full", "file"])
def test_targets_that_are_refused(source: DatasetScan, tmp_path: Path, kind: str) -> None:
    target = {"inside": tmp_path / "source/new", "full": tmp_path / "full", "file": tmp_path / "f"}
    (tmp_path / "full").mkdir()
    (tmp_path / "full/keep.txt").write_text("mine")
    (tmp_path / "f").write_text("mine")
    before = everything(tmp_path)
    with pytest.raises(DataError, match=r"is inside|is not empty|exists and is not a folder"):
        clean_dataset(source, [], target[kind])
    assert everything(tmp_path) == before


def test_nothing_is_left_of_a_copy_that_failed(tmp_path: Path) -> None:
    seen = overview(folder(tmp_path / "source", 3))
    save(tmp_path / "source/images/002.png", picture(50))
    with pytest.raises(DataError, match=r"002\.png: image or mask has changed since its hash was"):
        clean_dataset(seen, [], tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_folder_that_another_process_filled_meanwhile(source: DatasetScan, tmp_path: Path) -> None:
    def fill(done: int, total: int) -> None:
        if done == total:
            (tmp_path / "target").mkdir()
            (tmp_path / "target/theirs.txt").write_text("theirs")

    with pytest.raises(DataError, match="another process wrote to it"):
        clean_dataset(source, [], tmp_path / "target", progress=fill)
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["theirs.txt"]


def test_two_files_that_would_get_one_name(tmp_path: Path) -> None:
    seen = overview(folder(tmp_path / "source", 1))
    (pair,) = seen.dataset.pairs
    side_by_side = replace(pair, image=Path("a.jpg"), masks=(Path("a.png"),))
    seen = replace(seen, dataset=replace(seen.dataset, pairs=(side_by_side,)))
    with pytest.raises(DataError, match=r"a\.png and a\.jpg: would both become"):
        clean_dataset(seen, [], tmp_path / "target")


def test_formulas_in_names_are_quoted(tmp_path: Path) -> None:
    root = folder(tmp_path / "source", 1)
    seen = overview(root)
    (pair,) = seen.dataset.pairs
    (root / "=1").mkdir()
    (root / "images/000.png").rename(root / "=1/000.png")
    moved = replace(pair, image=Path("=1/000.png"))
    seen = replace(seen, dataset=replace(seen.dataset, pairs=(moved,)))
    assert list(cleaned(seen, tmp_path / "target")) == ["'=1/000.png"]


def test_meaning_of_the_copy_reads_it(source: DatasetScan, tmp_path: Path) -> None:
    cleaned(source, tmp_path / "target")
    meaning = cleaned_data_config(DATA, "target")
    assert meaning == StudyDataConfig(root="target")
    paths = (tmp_path / "target/images/000.png", [tmp_path / "target/masks/000.png"])
    assert np.array_equal(read_pair(FolderSource(tmp_path), *paths, meaning, 1e6).mask, square())
    void = StudyDataConfig(values={"0": "background", "1": "foreground", "9": "ignore"})
    assert cleaned_data_config(void, "t").ignore_index == 128


def test_two_annotations_of_one_picture_are_both_kept(tmp_path: Path) -> None:
    """0, 1 and 2 show the same; 1 has another mask, 2 the mask of 0 saved in another way."""
    folder(tmp_path / "d", 1)
    masks = (255 * square(), 255 * square()[::-1], 255 * square())
    for index, mask in enumerate(masks):
        save(tmp_path / f"d/images/00{index}.png", picture(0))
        data = encode(".png", np.ascontiguousarray(mask), cv2.IMWRITE_PNG_COMPRESSION, 3 * index)
        save(tmp_path / f"d/masks/00{index}.png", data)
    hashes = [files.file_sha256(tmp_path / f"d/masks/00{index}.png") for index in (0, 2)]
    assert hashes[0] != hashes[1]
    log = cleaned(overview(tmp_path / "d"), tmp_path / "c")
    assert [log[f"images/00{k}.png"]["done"] for k in range(3)] == [
        "nothing",
        "kept: equal pixels as images/000.png, but another mask; keep the right one",
        "left out: equal pixels and mask as images/000.png",
    ]
    assert sorted(path.name for path in (tmp_path / "c/masks").iterdir()) == ["000.png", "001.png"]
