"""Listing of images: folders, kinds, names, links."""

import os
from pathlib import Path

import pytest

from harness.core.errors import UserError
from harness.deploy.predict.inputs import list_inputs
from tests.data.make import encode, picture, save


def names(*targets: Path, out: Path = Path("absent")) -> list[str]:
    return [file.name for file in list_inputs(targets, out).files]


def image(path: Path) -> Path:
    return save(path, encode(".png", picture(1)))


def test_folders_are_searched_with_their_subfolders_and_files_keep_their_name(
    tmp_path: Path,
) -> None:
    image(tmp_path / "in" / "b.png")
    image(tmp_path / "in" / "deep" / "er" / "a.JPG")
    single = image(tmp_path / "elsewhere" / "single.tif")
    assert names(tmp_path / "in", single) == ["b.png", "deep/er/a.JPG", "single.tif"]


def test_images_are_known_by_suffix_or_first_bytes_and_others_are_ignored(tmp_path: Path) -> None:
    image(tmp_path / "scan.001")
    image(tmp_path / "scan.002")
    save(tmp_path / "moving.gif", b"GIF89a")
    save(tmp_path / "notes.txt", b"text")
    save(tmp_path / ".hidden.png", b"")
    save(tmp_path / "Thumbs.db", b"")
    listing = list_inputs([tmp_path], tmp_path / "out")
    assert [file.name for file in listing.files] == ["moving.gif", "scan.001", "scan.002"]
    assert [file.stem for file in listing.files] == ["moving.gif", "scan.001", "scan.002"]
    assert listing.ignored == (str(tmp_path / "notes.txt"),)


def test_out_inside_the_folder_and_masks_beside_images_are_left_out(tmp_path: Path) -> None:
    image(tmp_path / "out" / "masks" / "a.png")
    image(tmp_path / "images" / "a.png")
    image(tmp_path / "masks" / "a.png")
    image(tmp_path / "other" / "masks" / "b.png")
    listing = list_inputs([tmp_path], tmp_path / "out")
    assert [file.name for file in listing.files] == ["images/a.png", "other/masks/b.png"]
    assert listing.ignored == (str(tmp_path / "masks"),)


def test_link_out_of_the_folder_is_a_problem_unless_it_is_named(tmp_path: Path) -> None:
    secret = image(tmp_path / "secret.png")
    (tmp_path / "in").mkdir()
    link = tmp_path / "in" / "link.png"
    link.symlink_to(secret)
    (file,) = list_inputs([tmp_path / "in"], tmp_path / "out").files
    assert file.problem is not None and file.problem.startswith("a link that leaves the folder")
    (named,) = list_inputs([link], tmp_path / "out").files
    assert named.problem is None


def test_links_that_form_a_loop_end_and_one_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    image(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in", target_is_directory=True)
    (tmp_path / "in" / "loop.png").symlink_to(tmp_path / "in" / "loop.png")
    files = list_inputs([tmp_path / "in"], tmp_path / "out").files
    assert [file.name for file in files] == ["a.png", "loop.png"]
    assert files[1].problem == "a link that leads nowhere; name the file itself"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("line\nbreak.png", "its name holds control characters; rename it"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}gnp.png", "its name holds control characters; rename it"),
        (os.fsdecode(b"\xff.png"), "its name is not valid text; rename it"),
        ("=cmd|' /C calc'!A0.png", None),
        ("-rf.png", None),
        ("a\\..\\b.png", None),
        ("[red]x.png", None),
        ("Ärzte \N{MICROSCOPE}.png", None),
    ],
)
def test_odd_names(tmp_path: Path, name: str, problem: str | None) -> None:
    image(tmp_path / "in" / name)
    (file,) = list_inputs([tmp_path / "in"], tmp_path / "out").files
    assert file.problem == problem
    assert file.shown_name.isprintable()


@pytest.mark.parametrize(
    ("first", "second"),
    [("a.png", "a.jpg"), ("a.png", "A.png"), ("e\u0301.png", "\u00e9.jpg")],
)
def test_only_images_with_one_result_are_refused(tmp_path: Path, first: str, second: str) -> None:
    for name in (first, second, "c.png"):
        image(tmp_path / "in" / name)
    files = {file.name: file for file in list_inputs([tmp_path / "in"], tmp_path / "out").files}
    text = "would have a result of the same name; rename one of them"
    assert files[first].problem == f"{files[second].shown_name} {text}"
    assert files[second].problem == f"{files[first].shown_name} {text}"
    assert files["c.png"].problem is None


def test_masks_beside_their_images_are_left_out(tmp_path: Path) -> None:
    masks = ("a_mask.png", "A-Label.png", "b_gt.tif", "b_seg.png")
    for name in (*masks, "a.jpg", "b.png", "face_mask.jpg", "mask.png"):
        image(tmp_path / "in" / name)
    image(tmp_path / "in" / "deep" / "a_mask.png")
    listing = list_inputs([tmp_path / "in"], tmp_path / "out")
    images = ["a.jpg", "b.png", "face_mask.jpg", "mask.png", "deep/a_mask.png"]
    assert [file.name for file in listing.files] == images
    assert sorted(Path(name).name for name in listing.ignored) == sorted(masks)
    # A file that is named is always predicted.
    assert names(tmp_path / "in" / "a_mask.png") == ["a_mask.png"]


def test_same_names_in_two_folders_are_refused(tmp_path: Path) -> None:
    image(tmp_path / "x" / "a.png")
    image(tmp_path / "y" / "a.png")
    with pytest.raises(UserError, match="name the folder above both"):
        list_inputs([tmp_path / "x", tmp_path / "y"], tmp_path / "out")
    assert names(tmp_path, out=tmp_path / "out") == ["x/a.png", "y/a.png"]


def test_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (file,) = list_inputs([tmp_path / "pipe.png"], tmp_path / "out").files
    assert file.problem == "not a regular file"


def test_folder_without_images_and_absent_target_are_errors(tmp_path: Path) -> None:
    save(tmp_path / "in" / "notes.txt", b"text")
    with pytest.raises(UserError, match="in: no image to predict"):
        list_inputs([tmp_path / "in"], tmp_path / "out")
    with pytest.raises(UserError, match="gone: no such file or folder"):
        list_inputs([tmp_path / "in", tmp_path / "gone"], tmp_path / "out")
