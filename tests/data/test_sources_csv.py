from pathlib import Path

import pytest

from harness.config.data import StudyDataConfig
from harness.core.errors import DataError
from harness.data.datasets.sources import ImageMaskPair, open_dataset
from tests.data.make import DATA, MAX_PIXELS, folder, picture, save

LABELS = StudyDataConfig(task="multilabel", classes=("polyp", "tool tip"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three pairs, to be named by a CSV file beside them."""
    return folder(tmp_path / "data", 3)


def pairs(root: Path, text: str, data: StudyDataConfig = DATA) -> list[ImageMaskPair]:
    (root / "pairs.csv").write_bytes(text.encode())
    return list(open_dataset(root / "pairs.csv", data, max_pixels=MAX_PIXELS).pairs)


def problems(root: Path, text: str, data: StudyDataConfig = DATA) -> list[str]:
    with pytest.raises(DataError) as caught:
        pairs(root, text, data)
    return str(caught.value).replace(f"{root / 'pairs.csv'}", "").splitlines()


def test_roles_groups_and_further_columns_are_read(root: Path) -> None:
    """As a spreadsheet saves it: with a mark of its encoding, other line ends, empty lines."""
    text = (
        "\ufefffrom,image,mask,role,group\r\n"
        "Bonn,images/001.png,masks/001.png,validation,p 1\r\n\r\n"
        '"Oslo, N",images/000.png,masks/002.png,train,p 2\r\n'
    )
    first, second = pairs(root, text)
    assert (first.stem, first.image, first.masks) == (
        "000",
        Path("images/000.png"),
        (Path("masks/002.png"),),
    )
    assert (first.role, first.group, first.columns["from"]) == ("train", "p 2", "Oslo, N")
    assert (second.role, second.group) == ("val", "p 1")


def test_image_and_mask_are_enough(root: Path) -> None:
    (only,) = pairs(root, "mask,image\nmasks/002.png,images/001.png")
    assert (only.role, only.group) == (None, None)


def test_multilabel_has_a_column_for_each_class(root: Path) -> None:
    (only,) = pairs(
        root, "image,mask_tool tip,mask_polyp\nimages/000.png,masks/001.png,masks/000.png", LABELS
    )
    assert [mask.name for mask in only.masks] == ["000.png", "001.png"]
    assert problems(root, "image,mask,mask_polyps\n", LABELS) == [
        ":1: no column mask_polyp, mask_tool tip; the columns are image,mask_polyp,mask_tool tip "
        "and, if wanted, role, group, separated by commas",
        ":1: 'mask': unknown column; choose from group, image, mask_polyp, mask_tool tip, role",
        ":1: 'mask_polyps': unknown column; did you mean mask_polyp?",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ":1: is empty; the first line names the columns"),
        ("image,mask\n", ": names no image"),
        ("image;mask\n", ":1: its columns are separated by ';'; save it with commas"),
        ("image\tmask\n", ":1: its columns are separated by tabs; save it with commas"),
        ("images,masks\n", ":1: no column image, mask; the columns are image,mask and"),
        ("image,mask,roles\n", ":1: 'roles': unknown column; did you mean role?"),
        ("image,mask,a,a\n", ":1: 'a': two columns have this name"),
        ("image,mask,\na,b,c\n", ":1: '': a column's name is 1 to 80 characters of text"),
        (",image,mask\na,b,c\n", ":1: '': a column's name is 1 to 80 characters of text"),
        ("image,mask\na.png\n", ":2: has 1 cell; 2 are needed"),
        ('image,"mask\n', ": not a CSV file in UTF-8"),
    ],
)
def test_what_is_no_list_is_refused(root: Path, text: str, expected: str) -> None:
    assert any(line.startswith(expected) for line in problems(root, text))


def test_bytes_that_are_no_text_are_refused(root: Path) -> None:
    (root / "pairs.csv").write_bytes(b"image,mask\n\xff\xfe")
    with pytest.raises(DataError, match="not a CSV file in UTF-8"):
        open_dataset(root / "pairs.csv", DATA, max_pixels=MAX_PIXELS)


def test_every_row_is_checked(root: Path) -> None:
    secret = save(root.parent / "secret.png", picture(0))
    (root / "images" / "link.png").symlink_to(secret)
    save(root / "notes.txt", b"")
    rows = [
        "image,mask,role,group",
        "images/000.png,masks/000.png,train,a",
        "images/000.png,masks/001.png,trian,a",
        "images/009.png,masks,val,",
        "../secret.png,/etc/passwd,val,b",
        "images/link.png,notes.txt,val,b",
        "images\\001.png,=masks/001.png,val,b",
        "images/002.png,masks/000.png,val,b",
    ]
    assert problems(root, "\n".join(rows)) == [
        ":3: role: 'trian' is no role; did you mean train?",
        ":4: image: 'images/009.png': no such file",
        ":4: mask: 'masks': a folder, not a file",
        ":4: group: is empty; name one for every image, or leave the column out",
        ":5: image: '../secret.png' holds ..; put the file below the folder of the list",
        ":5: mask: '/etc/passwd' is absolute; write it relative to the folder of the list",
        ":6: image: 'images/link.png': a link that leaves the folder; put the file itself here",
        ":6: mask: 'notes.txt': of a kind that cannot be read; convert it to one of "
        ".bmp .jfif .jpe .jpeg .jpg .png .tif .tiff .webp",
        ":7: image: 'images\\\\001.png' holds \\; write / between folders",
        ":7: mask: '=masks/001.png' begins with =, which a spreadsheet takes for a formula; rename "
        "the file, or put it into a folder",
        ":8: mask: masks/000.png is named in line 2 already",
    ]


def test_row_numbers_of_pandas_and_empty_columns_are_left_out(root: Path) -> None:
    rows = [f"{k},images/00{k}.png,masks/00{k}.png,," for k in range(3)]
    found = pairs(root, "\n".join([",image,mask,,", *rows]))
    assert [pair.image.name for pair in found] == ["000.png", "001.png", "002.png"]
    assert all(dict(pair.columns) == {} for pair in found)


def test_empty_cells_say_what_to_do(root: Path) -> None:
    assert problems(root, "image,mask\n,masks/000.png\nimages/001.png,\n") == [
        ":2: image: is empty; name a file, or remove the line",
        ":3: mask: is empty; name a file (all 0 where there is nothing to find), or remove the "
        "line",
    ]
    assert len(pairs(root, "image,mask\nimages/001.png,masks/001.png\n")) == 1


def test_a_name_that_begins_with_minus_may_lie_in_a_folder(root: Path) -> None:
    save(root / "-1.png", picture(1))
    assert problems(root, "image,mask\n-1.png,masks/000.png\n") == [
        ":2: image: '-1.png' begins with -, which a spreadsheet takes for a formula; rename the "
        "file, or put it into a folder"
    ]
    (root / "-1.png").rename(root / "images" / "-1.png")
    (pair,) = pairs(root, "image,mask\nimages/-1.png,masks/000.png\n")
    assert pair.image.as_posix() == "images/-1.png"
