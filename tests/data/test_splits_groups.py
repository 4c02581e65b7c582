from pathlib import Path

import cv2
import numpy as np
import pytest

from harness.config.data import SplitConfig
from harness.core.errors import DataError
from harness.data.datasets.sources import open_dataset
from harness.data.files.source import FolderSource
from harness.data.scan.scan import scan_dataset_strict
from harness.data.splits.splits import SplitRow, make_split, read_split, verify_split, write_split
from tests.data.make import DATA, MAX_PIXELS, folder, picture, save, square


def divided(source: Path, **config: object) -> list[SplitRow]:
    dataset = open_dataset(source, DATA, max_pixels=MAX_PIXELS)
    return make_split(dataset, scan_dataset_strict(dataset), SplitConfig.model_validate(config))


def refused(source: Path, **config: object) -> list[str]:
    with pytest.raises(DataError) as caught:
        divided(source, **config)
    return str(caught.value).splitlines()


def listed(root: Path, *columns: str, n: int = 6) -> Path:
    """A CSV file of n pairs; a further column is `name:cell cell ...`, its cells in turn."""
    folder(root, n)
    cells = [column.partition(":")[2].split() for column in columns]
    lines = [",".join(["image", "mask", *(column.partition(":")[0] for column in columns)])]
    for i in range(n):
        files = [f"images/{i:03d}.png", f"masks/{i:03d}.png"]
        lines.append(",".join([*files, *(cell[i % len(cell)] for cell in cells)]))
    (root / "pairs.csv").write_text("\n".join(lines))
    return root / "pairs.csv"


def sides(rows: list[SplitRow]) -> dict[str, str]:
    return {Path(row.image).stem: row.role for row in rows}


def mirror(root: Path, one: int, other: int) -> None:
    """Make a picture the mirror image of another, larger."""
    turned = np.ascontiguousarray(picture(one)[:, ::-1])
    save(root / "images" / f"{other:03d}.png", cv2.resize(turned, None, fx=2, fy=2))
    save(root / "masks" / f"{other:03d}.png", 255 * square(48, 64))


@pytest.mark.parametrize("seed", range(8))
def test_groups_of_the_data_stay_together(tmp_path: Path, seed: int) -> None:
    rows = divided(listed(tmp_path, "group:a b c", n=9), fractions=[0.4, 0.3, 0.3], seed=seed)
    assert {row.group for row in rows} == {f"images/00{i}.png" for i in range(3)}
    assert len({(row.group, row.role) for row in rows}) == 3
    assert sorted(row.role for row in rows[:3]) == ["test", "train", "val"]


def test_a_named_column_groups(tmp_path: Path) -> None:
    source = listed(tmp_path, "patient:p q p", "age:40")
    rows = divided(source, group="column:patient")
    assert [row.group[-5] for row in rows] == ["0", "1", "0", "0", "1", "0"]
    assert refused(source, group="column:patent") == [
        "split.group: column 'patent': pairs has none of that name; did you mean patient?"
    ]
    assert "only a CSV file has columns" in refused(tmp_path, group="column:patient")[0]


def test_folders_group(tmp_path: Path) -> None:
    lines = ["image,mask"]
    for index in range(6):
        place = f"video{index % 2}"
        save(tmp_path / place / f"{index}.png", picture(index))
        save(tmp_path / place / f"{index}m.png", square())
        lines.append(f"{place}/{index}.png,{place}/{index}m.png")
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    rows = divided(tmp_path / "pairs.csv", group="folder")
    assert [row.group for row in rows] == ["video0/0.png", "video1/1.png"] * 3
    alone = refused(folder(tmp_path / "flat", 3), group="folder")
    assert "all images lie in one folder" in alone[0]


def test_a_pattern_of_the_stem_groups(tmp_path: Path) -> None:
    rows = divided(folder(tmp_path, 20), group="^0([01])")
    assert len({row.group for row in rows}) == 2 and len({row.role for row in rows[:10]}) == 1
    assert refused(tmp_path, group="^(01)")[:2] == [
        "split.group: ^(01): images/000.png: has no group",
        "split.group: ^(01): images/001.png: has no group",
    ]
    assert "has no (group)" in refused(tmp_path, group="^01")[0]
    assert "not a usable pattern: " in refused(tmp_path, group="([")[0]
    assert "longer than 200" in refused(tmp_path, group="(" + "a" * 200 + ")")[0]


def test_near_copies_and_groups_join(tmp_path: Path) -> None:
    """4 mirrors 0, and 0 and 1 are of one group."""
    source = listed(tmp_path, "group:a a b c d e")
    mirror(tmp_path, 0, 4)
    assert [row.group[-5] for row in divided(source)] == ["0", "0", "2", "3", "0", "5"]


def test_declared_roles_are_kept(tmp_path: Path) -> None:
    rows = divided(listed(tmp_path, "role:test train val"), fractions=[0.4, 0.3, 0.3])
    assert [row.role for row in rows] == ["test", "train", "val"] * 2


def test_declared_roles_without_val_give_a_tenth_of_train(tmp_path: Path) -> None:
    rows = divided(listed(tmp_path, "role:test train train train", n=28))
    roles = [row.role for row in rows]
    assert roles[::4] == ["test"] * 7 and roles.count("val") == 2 and roles.count("train") == 19


def test_declared_roles_need_train(tmp_path: Path) -> None:
    assert "no image is of train" in refused(listed(tmp_path, "role:test val"))[0]


def test_copies_and_groups_on_two_declared_sides_are_listed(tmp_path: Path) -> None:
    source = listed(tmp_path, "role:train train val val val test", "group:a b c d e b")
    mirror(tmp_path, 0, 4)
    save(tmp_path / "images" / "003.png", picture(1))
    end = "; give both one role, or take one out"
    assert refused(source) == [
        "split: images/000.png (train) and images/004.png (val) are near copies: the same "
        f"image{end}",
        f"split: images/001.png (train) and images/003.png (val) are exact copies{end}",
        f"split: images/001.png (train) and images/005.png (test) are of one group, 'b'{end}",
    ]


def test_folds_divide_all_but_the_test(tmp_path: Path) -> None:
    source = folder(tmp_path, 25)
    first = divided(source, folds=4, fractions=[0.7, 0.1, 0.2])
    last = divided(source, folds=4, fold=3, fractions=[0.7, 0.1, 0.2])
    assert [row.fold for row in first] == [row.fold for row in last]
    folds = [row.fold for row in first]
    assert [folds.count(fold) for fold in (None, 0, 1, 2, 3)] == [5, 5, 5, 5, 5]
    for rows, fold in ((first, 0), (last, 3)):
        for row in rows:
            expected = "test" if row.fold is None else "val" if row.fold == fold else "train"
            assert row.role == expected
    write_split(tmp_path / "split.csv", first)
    assert read_split(tmp_path / "split.csv") == first


def test_declared_val_joins_the_folds(tmp_path: Path) -> None:
    rows = divided(listed(tmp_path, "role:test train val"), folds=2, fold=1)
    assert [row.fold is None for row in rows] == [True, False, False] * 2
    assert sorted(row.role for row in rows) == ["test", "test", "train", "train", "val", "val"]


def test_several_masks_of_a_row_are_verified(tmp_path: Path) -> None:
    import hashlib

    parts = [save(tmp_path / f"m{i}.png", square()) for i in range(2)]
    save(tmp_path / "m1.png", 255 * square())
    image = save(tmp_path / "a.png", picture(0))
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in parts]
    joined = hashlib.sha256("".join(digests).encode()).hexdigest()
    of_image = hashlib.sha256(image.read_bytes()).hexdigest()
    row = SplitRow(0, "a.png", "m0.png|m1.png", "train", "a.png", of_image, joined)
    verify_split([row], FolderSource(tmp_path))
    save(tmp_path / "m1.png", square(25, 32))
    with pytest.raises(DataError, match=r"m0\.png: has changed since the split was created"):
        verify_split([row], FolderSource(tmp_path))
    parts[1].unlink()
    with pytest.raises(DataError, match=r"m1\.png: missing"):
        verify_split([row], FolderSource(tmp_path))


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        (("0", "1", ""), "some rows of train and val have a fold, others none"),
        (("0", "0", "1"), "rows of val must be one fold, and no row of train of it"),
        (("0", "01", "1"), ":3: fold: '01' is no fold of train and val; they are 0 to 99"),
        (("0", "x", "1"), ":3: fold: 'x' is no fold"),
    ],
)
def test_folds_that_do_not_fit_are_refused(
    tmp_path: Path, folds: tuple[str, ...], message: str
) -> None:
    lines = ["image,mask,role,fold,group,image_sha256,mask_sha256"]
    for index, (fold, role) in enumerate(zip(folds, ("train", "val", "train"), strict=True)):
        digest = f"{index:064x}"
        lines.append(f"i{index}.png,m{index}.png,{role},{fold},g{index},{digest},{digest}")
    (tmp_path / "split.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=message):
        read_split(tmp_path / "split.csv")
