import os
import unicodedata
from pathlib import Path

import pytest

from harness.core.errors import DataError
from harness.core.paths import Workspace
from harness.data.datasets.sources import (
    KVASIR,
    NeedsDownloadError,
    find_data,
    open_dataset,
    source_folder,
)
from tests.data.make import DATA, MAX_PIXELS, folder, picture, save, square


def problems(root: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        open_dataset(root, DATA, max_pixels=MAX_PIXELS)
    return str(caught.value).replace(f"{root}: ", "").splitlines()


def test_pairs_are_matched_by_stem_in_order(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "c.x.jpeg"):
        save(tmp_path / "images" / name, b"")
    for name in ("c.x.png", "b.tif", "a.bmp"):
        save(tmp_path / "masks" / name, b"")
    dataset = open_dataset(tmp_path, DATA, max_pixels=MAX_PIXELS)
    assert [pair.stem for pair in dataset.pairs] == ["a", "b", "c.x"]
    assert [pair.masks[0].as_posix() for pair in dataset.pairs] == [
        "masks/a.bmp",
        "masks/b.tif",
        "masks/c.x.png",
    ]
    assert dataset.name == tmp_path.name


def test_notes_and_hidden_files_are_left_out(tmp_path: Path) -> None:
    folder(tmp_path, 2)
    for name in (".DS_Store", "._000.png", "Thumbs.db", "README.txt", "boxes.json"):
        save(tmp_path / "images" / name, b"")
    assert len(open_dataset(tmp_path, DATA, max_pixels=MAX_PIXELS).pairs) == 2


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    folder(tmp_path, 2)
    save(tmp_path / "images" / "lone.png", picture(1))
    save(tmp_path / "masks" / "other.png", square())
    save(tmp_path / "images" / "000.jpg", picture(1))
    save(tmp_path / "images" / "moving.gif", b"")
    (tmp_path / "images" / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "images" / "pipe.jpg")
    assert problems(tmp_path) == [
        "images/000.png: has the same stem as images/000.jpg; keep one",
        "'images/folder.jpg': a folder; images must be directly in images/, masks in masks/",
        "'images/moving.gif': of a kind that cannot be read; convert it to one of "
        ".bmp .jfif .jpe .jpeg .jpg .png .tif .tiff .webp",
        "'images/pipe.jpg': not a regular file",
        "images/lone.png: has no mask of that stem",
        "masks/other.png: has no image of that stem",
        "add each missing file (the mask of an image without objects is black), or move its "
        "partner out of the folder",
    ]


def test_masks_with_another_ending_are_explained_once(tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / "images" / f"{index}.jpg", b"")
        save(tmp_path / "masks" / f"{index}_mask.png", b"")
    expected = "no mask has the stem of an image (see images/0.jpg and masks/0_mask.png)"
    assert problems(tmp_path) == [f"{expected}; name both alike"]


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    assert problems(tmp_path / "none") == ["no such folder; it should hold images/ and masks/"]
    (tmp_path / "images").mkdir()
    assert problems(tmp_path) == [
        "images/ holds no image (.bmp .jfif .jpe .jpeg .jpg .png .tif .tiff .webp)",
        "no folder masks/ in it",
    ]
    save(tmp_path / "masks" / "notes.txt", b"")
    kinds = "(.bmp .jfif .jpe .jpeg .jpg .png .tif .tiff .webp)"
    expected = [f"{part}/ holds no image {kinds}" for part in ("images", "masks")]
    assert problems(tmp_path) == expected


def test_links_may_not_leave_the_folder(tmp_path: Path) -> None:
    secret = save(tmp_path / "secret.png", picture(0))
    root = folder(tmp_path / "data", 1)
    (root / "images" / "001.png").symlink_to(secret)
    (root / "masks" / "001.png").symlink_to(root / "masks" / "000.png")
    (root / "images" / "gone.png").symlink_to(root / "nowhere.png")
    assert problems(root) == [
        "'images/001.png': a link that leaves the folder; put the file itself here",
        "'images/gone.png': a link that leads nowhere; put the file itself here",
    ]


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    folder(tmp_path, 1)
    (tmp_path / "images" / "a\nb.png").write_bytes(b"")
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/images/\xff.png"))).write_bytes(b"")
    found = problems(tmp_path)
    assert "'images/a\\nb.png': its name holds control characters; rename it" in found
    assert "'images/\\udcff.png': its name is not valid text; rename it" in found


@pytest.mark.parametrize("name", ["a:b.png", "a|b.png", "a\\b.png"])
def test_names_that_split_csv_cannot_hold_are_refused(tmp_path: Path, name: str) -> None:
    folder(tmp_path, 1)
    save(tmp_path / "images" / name, picture(1))
    assert problems(tmp_path) == [
        f"{f'images/{name}'!a}: its name holds \\ : or |, or begins with = + - @; rename it"
    ]


def test_stems_are_compared_as_people_see_them(tmp_path: Path) -> None:
    """One file system stores é as one character, another as e and an accent."""
    save(tmp_path / "images" / (unicodedata.normalize("NFC", "é") + ".png"), b"")
    save(tmp_path / "masks" / (unicodedata.normalize("NFD", "é") + ".png"), b"")
    assert len(open_dataset(tmp_path, DATA, max_pixels=MAX_PIXELS).pairs) == 1


def test_many_problems_are_cut_and_counted(tmp_path: Path) -> None:
    folder(tmp_path, 1)
    for index in range(30):
        save(tmp_path / "images" / f"x{index:02d}.png", b"")
    found = problems(tmp_path)
    assert len(found) == 22 and found[-2] == "... and 10 more"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.delenv("HARNESS_DATA_DIR", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return Workspace(tmp_path / "work")


def test_data_is_a_path_first(workspace: Workspace) -> None:
    (workspace.root / "polyps").mkdir()
    (workspace.data / "polyps").mkdir(parents=True)
    assert find_data("polyps", workspace) == Path("polyps")
    assert find_data(str(workspace.data / "polyps"), workspace) == workspace.data / "polyps"


def test_data_is_looked_for_in_the_named_folder_then_in_the_workspace(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace.data / "polyps").mkdir(parents=True)
    (workspace.data / "here").mkdir()
    (tmp_path / "shelf" / "polyps").mkdir(parents=True)
    monkeypatch.setenv("HARNESS_DATA_DIR", str(tmp_path / "shelf"))
    assert find_data("polyps", workspace) == tmp_path / "shelf" / "polyps"
    assert find_data("here", workspace) == workspace.data / "here"


def test_data_may_be_a_csv_file(workspace: Workspace) -> None:
    folder(workspace.data / "polyps", 2)
    lines = [f"polyps/images/{n}.png,polyps/masks/{n}.png" for n in ("000", "001")]
    (workspace.data / "pairs.csv").write_text("\n".join(["image,mask", *lines]))
    source = find_data("pairs.csv", workspace)
    assert source == workspace.data / "pairs.csv" == find_data(str(source), workspace)
    dataset = open_dataset(source, DATA, max_pixels=MAX_PIXELS)
    assert (dataset.name, dataset.root) == ("pairs", workspace.data)
    assert source_folder(source) == dataset.root
    assert source_folder(workspace.data / "polyps") == workspace.data / "polyps"
    with pytest.raises(DataError, match=r"did you mean pairs\.csv"):
        find_data("pair.csv", workspace)


def test_synthetic_is_generated_once(workspace: Workspace) -> None:
    root = find_data("synthetic", workspace)
    assert root == workspace.data / "synthetic"
    assert len(open_dataset(root, DATA, max_pixels=MAX_PIXELS).pairs) == 200
    (root / "mine.txt").write_text("kept")
    assert (find_data("synthetic", workspace) / "mine.txt").read_text() == "kept"


def test_kvasir_that_is_not_here_says_what_fetching_it_means(workspace: Workspace) -> None:
    with pytest.raises(NeedsDownloadError, match=r"46\.2 MB; research and education") as caught:
        find_data("kvasir-seg", workspace)
    assert caught.value.archive is KVASIR
    (workspace.data / "kvasir-seg").mkdir(parents=True)
    assert find_data("kvasir-seg", workspace) == workspace.data / "kvasir-seg"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("kvasirseg", "did you mean kvasir-seg"),
        ("nuclay", "did you mean nuclei"),
        ("a/b/c", "neither a folder nor a dataset in"),
        ("", "is empty"),
        ("file.zip", "a file; name the folder"),
        ("\0", "neither a folder nor"),
        ("x" * 5000, "not a usable path"),
        ("~nobody-of-this-name/data", "not a usable path"),
    ],
)
def test_unknown_data_is_one_clear_error(workspace: Workspace, spec: str, message: str) -> None:
    folder(workspace.data / "nuclei", 1)
    (workspace.root / "file.zip").write_bytes(b"")
    with pytest.raises(DataError, match=message) as caught:
        find_data(spec, workspace)
    assert "\n" not in str(caught.value)


def test_the_nearest_folder_beside_the_one_that_was_named_is_suggested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HARNESS_DATA_DIR", raising=False)
    (tmp_path / "far" / "stones" / "images").mkdir(parents=True)
    (tmp_path / "polyps" / "images").mkdir(parents=True)
    for asked, suggested in (("far/stone", "far/stones"), ("polyp", "polyps")):
        with pytest.raises(DataError, match=rf"; did you mean {suggested}\?$"):
            find_data(asked, Workspace(tmp_path))
        assert find_data(suggested, Workspace(tmp_path)).is_dir()
