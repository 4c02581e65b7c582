from pathlib import Path

import pytest

from harness.data.sources import Dataset, open_folder
from harness.data_config import StudyDataConfig
from harness.errors import DataError
from tests.data.make import DATA, MAX_PIXELS, folder, save

LABELS = StudyDataConfig(task="multilabel", classes=("polyp", "tool tip"))


def opened(root: Path, data: StudyDataConfig = DATA) -> Dataset:
    return open_folder(root, data, max_pixels=MAX_PIXELS)


def problems(root: Path, data: StudyDataConfig = DATA) -> list[str]:
    with pytest.raises(DataError) as caught:
        opened(root, data)
    return str(caught.value).replace(f"{root}: ", "").splitlines()


def touch(root: Path, *names: str) -> None:
    for name in names:
        save(root / name, b"")


def test_no_layout_shows_those_that_are_understood(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg", "train/a.png", "notes.txt")
    first, *others = problems(tmp_path)
    assert first == "no layout of images and masks; these are understood:"
    for word in ("images/ and masks/<class>/", "valid/", "x_mask.png", "CSV"):
        assert any(word in line for line in others)


def test_two_layouts_at_once_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "masks/a.png", "val/images/b.png", "c.jpg", "c_gt.png")
    assert problems(tmp_path)[0].startswith(
        "two layouts at once (images/ and masks/ and train/ val/ test/ and x.jpg with x_mask.png)"
    )


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_folders_of_roles_declare_them(tmp_path: Path, val: str) -> None:
    folder(tmp_path / "train", 2)
    folder(tmp_path / val, 1, first=2)
    folder(tmp_path / "test", 1)  # has the stem of a training image
    found = opened(tmp_path)
    assert [
        (pair.image.as_posix(), pair.masks[0].as_posix(), pair.role) for pair in found.pairs
    ] == [
        ("test/images/000.png", "test/masks/000.png", "test"),
        ("train/images/000.png", "train/masks/000.png", "train"),
        ("train/images/001.png", "train/masks/001.png", "train"),
        (f"{val}/images/002.png", f"{val}/masks/002.png", "val"),
    ]


def test_every_problem_of_the_roles_is_named(tmp_path: Path) -> None:
    folder(tmp_path / "val", 2)
    (tmp_path / "val" / "masks" / "001.png").unlink()
    touch(tmp_path, "valid/images/x.png", "test/images/a.gif")
    assert problems(tmp_path) == [
        "val/images/001.png: has no mask of that stem",
        "val/ and valid/ both mean val; keep one",
        "'test/images/a.gif': of a kind that cannot be read; convert it to one of "
        ".bmp .jpeg .jpg .png .tif .tiff .webp",
        "no folder test/masks/ in it",
        "no folder train/ in it",
    ]


@pytest.mark.parametrize(
    "mark", ["_mask", "-mask", "_label", "_gt", "_seg", "-SEG", "_Segmentation"]
)
def test_pairs_of_one_folder_are_told_by_their_suffix(tmp_path: Path, mark: str) -> None:
    touch(tmp_path, "b.jpg", f"b{mark}.png", "a_1.png", f"a_1{mark}.png", "notes.txt", ".DS_Store")
    touch(tmp_path, "splits/train.txt")
    assert [(p.stem, p.image.name, p.masks[0].name) for p in opened(tmp_path).pairs] == [
        ("a_1", "a_1.png", f"a_1{mark}.png"),
        ("b", "b.jpg", f"b{mark}.png"),
    ]


def test_every_problem_of_one_folder_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a_mask.png", "a-gt.png", "b.jpg", "c_mask.png", "=d.png", "e.gif")
    touch(tmp_path, "more/f.jpg")
    secret = tmp_path.parent / f"{tmp_path.name}.png"
    save(secret, b"")
    (tmp_path / "g.png").symlink_to(secret)
    assert problems(tmp_path) == [
        r"'=d.png': its name holds \ : or |, or begins with = + - @; rename it",
        "a_mask.png: has the same image as a-gt.png; keep one",
        "'e.gif': of a kind that cannot be read; convert it to one of "
        ".bmp .jpeg .jpg .png .tif .tiff .webp",
        "'g.png': a link that leaves the folder; put the file itself here",
        "'more': a folder; images lie directly in images/, masks in masks/",
        "b.jpg: has no mask of that stem",
        "c_mask.png: has no image of that stem",
    ]


def test_multilabel_masks_are_in_order_of_class(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.jpg", "masks/tool tip/a.png", "masks/polyp/a.bmp", "masks/notes.txt")
    (pair,) = opened(tmp_path, LABELS).pairs
    assert [mask.as_posix() for mask in pair.masks] == ["masks/polyp/a.bmp", "masks/tool tip/a.png"]
    (tmp_path / "train").mkdir()
    for part in ("images", "masks"):
        (tmp_path / part).rename(tmp_path / "train" / part)
    (pair,) = opened(tmp_path, LABELS).pairs
    assert pair.role == "train" and pair.masks[0].as_posix() == "train/masks/polyp/a.bmp"


def test_multilabel_without_folders_of_classes_names_them(tmp_path: Path) -> None:
    folder(tmp_path, 1)
    assert problems(tmp_path, LABELS) == [
        "a multilabel task has one folder of masks for each class: masks/polyp/, masks/tool tip/"
    ]


def test_every_problem_of_the_classes_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.jpg", "images/b.jpg", "masks/a.png", "masks/polyps/a.png")
    touch(tmp_path, "masks/polyp/a.png")
    assert problems(tmp_path, LABELS) == [
        "'masks/a.png': put it into the folder of its class",
        "'masks/polyps': no class of that name; did you mean polyp?",
        "no folder masks/tool tip/ in it",
        "images/b.jpg: has no mask of that stem in masks/polyp/",
    ]
