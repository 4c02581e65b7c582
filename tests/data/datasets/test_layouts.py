import os
import re
from pathlib import Path

import pytest

from harness.config.data import StudyDataConfig
from harness.core.errors import DataError
from harness.data.datasets.sources import Dataset, open_dataset
from harness.data.scan.scan import scan_dataset
from tests.data.make import DATA, MAX_PIXELS, encode, folder, picture, save, square

LABELS = StudyDataConfig(task="multilabel", classes=("polyp", "tool tip"))
ADVICE = (
    "add each missing file (the mask of an image without objects is black), or move its partner "
    "out of the folder"
)


def opened(root: Path, data: StudyDataConfig = DATA) -> Dataset:
    return open_dataset(root, data, max_pixels=MAX_PIXELS)


def problems(root: Path, data: StudyDataConfig = DATA) -> list[str]:
    with pytest.raises(DataError) as caught:
        opened(root, data)
    lines = str(caught.value).replace(f"{root}: ", "").splitlines()
    # The advice follows every file without its partner, and nothing else.
    assert (lines[-1] == ADVICE) == any(re.search("has no (mask|image) of", x) for x in lines)
    return [line for line in lines if line != ADVICE]


def touch(root: Path, *names: str) -> None:
    for name in names:
        save(root / name, b"")


def test_no_layout_shows_those_that_are_understood(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg", "train/a.png", "notes.txt")
    first, *others, last = problems(tmp_path)
    assert first == "no layout of images and masks; these are understood:"
    for word in ("images/ and masks/<class>/", "valid/", "x_mask.png", "CSV"):
        assert any(word in line for line in others)
    assert last == "there are images such as 'a.jpg', but no mask"


def test_a_layout_one_folder_below_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt", "my data/raw/a.png", "my data/raw/a_mask.png", "my data/doc/x.txt")
    root = tmp_path / "my data"
    assert problems(root)[-1] == f"'raw' in it has such a layout; name '{root / 'raw'}'"


def test_two_layouts_at_once_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "masks/a.png", "val/images/b.png", "c.jpg", "c_gt.png")
    assert problems(tmp_path)[0].startswith(
        "two layouts together (images/ and masks/ and train/ val/ test/ and x.jpg with x_mask.png)"
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
        ".bmp .jfif .jpe .jpeg .jpg .png .tif .tiff .webp",
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
        ".bmp .jfif .jpe .jpeg .jpg .png .tif .tiff .webp",
        "'g.png': a link that leaves the folder; put the file itself here",
        "'more': a folder; images must be directly in images/, masks in masks/",
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


def test_jpegs_of_any_name_are_read(tmp_path: Path) -> None:
    for stem, name in (("a", "a.jfif"), ("b", "b.JPE"), ("c", "c.JPG"), ("d", "d.Jpeg")):
        save(tmp_path / "images" / name, encode(".jpg", picture(1)))
        save(tmp_path / "masks" / f"{stem}.PNG", encode(".png", 255 * square()))
    found = scan_dataset(opened(tmp_path))
    assert [pair.stem for pair in found.dataset.pairs] == ["a", "b", "c", "d"]
    assert found.bad_pairs == () and found.dataset.unread == ()


def test_images_whose_names_say_otherwise_are_remembered(tmp_path: Path) -> None:
    folder(tmp_path, 1)
    data = {".png": encode(".png", picture(1)), ".jpg": encode(".jpg", picture(1))}
    data[".bmp"] = encode(".bmp", picture(1))
    save(tmp_path / "images" / "x.jif", data[".jpg"])
    save(tmp_path / "images" / "y", data[".png"])
    save(tmp_path / "masks" / "x.bak", data[".bmp"])
    touch(tmp_path, "images/notes.txt", "images/boxes.json", "masks/._000.png", "masks/BMW.txt")
    (tmp_path / "masks" / "BMW.txt").write_text("BMW and others", encoding="utf-8")
    names = [path.as_posix() for path in opened(tmp_path).unread]
    assert names == ["images/x.jif", "images/y", "masks/x.bak"]
    save(tmp_path / "one" / "a.png", data[".png"])
    save(tmp_path / "one" / "a_mask.png", data[".png"])
    save(tmp_path / "one" / "b.pjp", data[".jpg"])
    assert [path.as_posix() for path in opened(tmp_path / "one").unread] == ["b.pjp"]


def test_a_folder_of_such_names_alone_says_what_to_rename(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.jif", encode(".jpg", picture(1)))
    save(tmp_path / "masks" / "a.png", encode(".png", square()))
    assert problems(tmp_path) == [
        "images/ holds no image (.bmp .jfif .jpe .jpeg .jpg .png .tif .tiff .webp); rename files "
        "such as 'a.jif' to one of these"
    ]


def test_a_lone_mask_names_its_image_under_another_name(tmp_path: Path) -> None:
    folder(tmp_path, 2)
    (tmp_path / "images" / "001.png").rename(tmp_path / "images" / "001.jpg_large")
    assert problems(tmp_path) == [
        "masks/001.png: has no image of that stem; 'images/001.jpg_large' is an image: give it one "
        "of the endings .bmp .jfif .jpe .jpeg .jpg .png .tif .tiff .webp"
    ]


def test_a_named_pipe_beside_the_images_is_not_opened(tmp_path: Path) -> None:
    folder(tmp_path, 1)
    os.mkfifo(tmp_path / "images" / "pipe")
    assert opened(tmp_path).unread == ()


def test_links_that_form_a_loop_are_named(tmp_path: Path) -> None:
    folder(tmp_path, 1)
    (tmp_path / "images" / "x.png").symlink_to("y.png")
    (tmp_path / "images" / "y.png").symlink_to("x.png")
    assert [line.partition(": ")[2] for line in problems(tmp_path)] == [
        "a link that leads nowhere; put the file itself here"
    ] * 2


def test_folders_are_found_in_any_case(tmp_path: Path) -> None:
    folder(tmp_path / "d", 1)
    for part in ("images", "masks"):
        (tmp_path / "d" / part).rename(tmp_path / "d" / part.title())
    (pair,) = opened(tmp_path / "d").pairs
    assert (pair.image.as_posix(), pair.role) == ("Images/000.png", None)
    (tmp_path / "r").mkdir()
    (tmp_path / "d").rename(tmp_path / "r" / "Train")
    (pair,) = opened(tmp_path / "r").pairs
    assert (pair.masks[0].as_posix(), pair.role) == ("Train/Masks/000.png", "train")


def test_folders_that_differ_in_case_only_are_refused(tmp_path: Path) -> None:
    folder(tmp_path, 1)
    (tmp_path / "IMAGES").mkdir()
    if len(list(tmp_path.iterdir())) == 2:
        pytest.skip("this file system does not tell IMAGES from images")
    assert problems(tmp_path) == ["images and IMAGES differ in case only; keep one"]


@pytest.mark.parametrize(
    "name", ["@eaDir", "@EADIR", "__MACOSX", "Thumbs.db", "thumbs.db", ".DS_Store", "desktop.ini"]
)
def test_what_operating_systems_leave_is_passed_over(tmp_path: Path, name: str) -> None:
    folder(tmp_path, 1)
    for part in (".", "images", "masks"):
        if "." in name:
            save(tmp_path / part / name, b"")
        else:
            save(tmp_path / part / name / "000.png", b"")
    assert len(opened(tmp_path).pairs) == 1
    save(tmp_path / "one" / "a.png", b"")
    save(tmp_path / "one" / "a_mask.png", b"")
    save(tmp_path / "one" / name, b"") if "." in name else (tmp_path / "one" / name).mkdir()
    assert len(opened(tmp_path / "one").pairs) == 1


def test_twins_that_macos_leaves_on_other_disks_are_no_pairs(tmp_path: Path) -> None:
    touch(tmp_path, "._a.png", "._a_mask.png")
    assert problems(tmp_path) == ["is empty; it should hold images/ and masks/"]


@pytest.mark.parametrize(
    ("names", "last"),
    [
        (("image/a.png", "label/a.png"), "rename image/ to images/ and label/ to masks/"),
        (("JPEGImages/a.png",), "rename JPEGImages/ to images/"),
        (("a_mask.png", "b_mask.png"), "there are masks such as 'a_mask.png', but no image of"),
        (("a.png", "b.png"), "there are images such as 'a.png', but no mask"),
    ],
)
def test_what_is_there_instead_of_a_layout_is_named(
    tmp_path: Path, names: tuple[str, ...], last: str
) -> None:
    touch(tmp_path, *names)
    assert problems(tmp_path)[-1].startswith(last)


def refused(root: Path, name: str) -> str:
    """A name, or a link, that no pair may have; the line about it."""
    if name == "link":
        secret = save(root.parent / "secret.png", b"")
        (root / "link.png").symlink_to(secret)
        return "'link.png': a link that leaves the folder; put the file itself here"
    touch(root, f"{name}.png")
    return f"'{name}.png': its name holds \\ : or |, or begins with = + - @; rename it"


@pytest.mark.parametrize("name", ["-73.1_40", "10:01", "link"])
def test_one_folder_in_which_every_image_is_refused(tmp_path: Path, name: str) -> None:
    root = tmp_path / "d"
    root.mkdir()
    line = refused(root, name)
    touch(root, f"{name}_mask.png")
    found = problems(root)
    assert line in found and len(found) == (1 if name == "link" else 2)


def test_the_partner_of_a_refused_file_is_no_second_problem(tmp_path: Path) -> None:
    """a is whole; the image of b is refused, so that its mask is not named as lone."""
    touch(tmp_path, "a.png", "a_mask.png", "b:1.png", "b:1_mask.png", "c.png")
    found = [line.partition(":")[0] for line in problems(tmp_path)[:2]]
    assert found == ["'b", "'b"] and problems(tmp_path)[2:] == ["c.png: has no mask of that stem"]
