from pathlib import Path

import pytest

from harness.core.errors import DataError
from harness.data.datasets.sources import open_dataset
from harness.data.splits.published_splits import read_published_roles
from tests.data.make import DATA, MAX_PIXELS, folder


def roles(root: Path, where: str = "official") -> list[str]:
    return list(read_published_roles(open_dataset(root, DATA, max_pixels=MAX_PIXELS), where))


def write(root: Path, **lists: str) -> None:
    root.mkdir(exist_ok=True)
    for name, text in lists.items():
        (root / f"{name}.txt").write_text(text, encoding="utf-8")


def test_official_lists_lie_beside_the_images(tmp_path: Path) -> None:
    """Stems, file names and paths; blank lines and another system's line ends do not matter."""
    root = folder(tmp_path, 4)
    write(
        root / "splits",
        official_train="\ufeff000\r\n\r\n001.png \n",
        official_test="images/002.png\n003",
    )
    write(root / "splits", train="nothing")
    assert roles(root) == ["train", "train", "test", "test"]


def test_lists_lie_in_a_named_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "data", 3)
    lists = {"train": "000", "valid": "002", "test": "001"}
    write(root / "ours", **lists)
    write(tmp_path / "theirs", **lists)
    monkeypatch.chdir(tmp_path)
    for where in ("ours", "theirs", str(tmp_path / "theirs")):
        assert roles(root, where) == ["train", "test", "val"]


def test_absent_lists_are_explained(tmp_path: Path) -> None:
    root = folder(tmp_path, 2)
    with pytest.raises(
        DataError, match=r"holds neither train\.txt nor official_train\.txt; put the"
    ):
        roles(root)
    write(root / "splits", test="000")
    with pytest.raises(DataError, match=r"splits: holds no train\.txt"):
        roles(root)
    write(root / "splits", train="000", val="", valid="")
    with pytest.raises(DataError, match="holds two lists of one role"):
        roles(root)
    (root / "splits" / "official_train.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"official_train\.txt: not a text in UTF-8"):
        roles(root)


def test_every_problem_of_the_lists_is_named(tmp_path: Path) -> None:
    root = folder(tmp_path, 5)
    write(root / "splits", train="000\n001\n000", test="001\n0003\n")
    with pytest.raises(DataError) as caught:
        roles(root)
    assert str(caught.value).replace(f"{root / 'splits'}: ", "").splitlines() == [
        "train.txt:3: '000' is in train.txt:1 already",
        "test.txt:1: '001' is in train.txt:2 already",
        "test.txt:2: '0003' is no image here; did you mean 003?",
        "images/002.png: is in no list",
        "images/003.png: is in no list",
        "images/004.png: is in no list",
    ]


def test_a_stem_of_two_images_must_be_told_by_its_path(tmp_path: Path) -> None:
    for part in ("a", "b"):
        folder(tmp_path / part, 1)
    (tmp_path / "pairs.csv").write_text(
        "image,mask\na/images/000.png,a/masks/000.png\nb/images/000.png,b/masks/000.png"
    )
    write(tmp_path / "splits", train="a/images/000.png", test="000")
    with pytest.raises(DataError, match=r"test.txt:1: '000' names 2 images; write their paths"):
        roles(tmp_path / "pairs.csv")
    write(tmp_path / "splits", test="b/images/000.png")
    assert roles(tmp_path / "pairs.csv") == ["train", "test"]
