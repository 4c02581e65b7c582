from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.config.data import SplitConfig
from harness.core import files
from harness.core.errors import DataError
from harness.data.datasets.sources import Dataset, open_dataset
from harness.data.files.source import FolderSource
from harness.data.scan.scan import scan_dataset_strict
from harness.data.splits.splits import (
    SplitRow,
    make_split,
    read_split,
    verify_split,
    write_split,
)
from tests.data.make import DATA, MAX_PIXELS, folder, picture, save, square


def divided(
    dataset: Dataset, config: SplitConfig, progress: Callable[[int, int], None] | None = None
) -> list[SplitRow]:
    return make_split(dataset, scan_dataset_strict(dataset, progress), config)


def dataset(root: Path, n: int, *, first: int = 0) -> Dataset:
    return open_dataset(folder(root, n, first=first), DATA, max_pixels=MAX_PIXELS)


def roles(rows: list[SplitRow]) -> Counter[str]:
    return Counter(row.role for row in rows)


def row(index: int, role: str, **other: str) -> SplitRow:
    """A row that stands for no file."""
    image, mask, digest = f"images/{index}.png", f"masks/{index}.png", f"{index:064x}"
    made = SplitRow(index, image, mask, "val", f"g{index}", digest, digest)
    return replace(made, **{"role": role, **other})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("n", "fractions", "expected"),
    [
        (20, (0.8, 0.1, 0.1), {"train": 16, "val": 2, "test": 2}),
        (20, (0.5, 0.3, 0.2), {"train": 10, "val": 6, "test": 4}),
        (4, (0.8, 0.1, 0.1), {"train": 3, "val": 1}),
        (2, (0.8, 0.1, 0.1), {"train": 1, "val": 1}),
        (3, (0.02, 0.49, 0.49), {"train": 1, "val": 1, "test": 1}),
        (5, (0.8, 0.2, 0.0), {"train": 4, "val": 1}),
    ],
)
def test_shares_are_met(
    tmp_path: Path, n: int, fractions: tuple[float, float, float], expected: dict[str, int]
) -> None:
    assert roles(divided(dataset(tmp_path, n), SplitConfig(fractions=fractions))) == expected


def test_rows_are_numbered_in_order_of_stem_with_hashes_of_both_files(tmp_path: Path) -> None:
    rows = divided(dataset(tmp_path, 3), SplitConfig())
    assert [(one.row, one.image, one.mask, one.group) for one in rows] == [
        (i, f"images/00{i}.png", f"masks/00{i}.png", f"images/00{i}.png") for i in range(3)
    ]
    for one in rows:
        assert one.image_sha256 == files.file_sha256(tmp_path / one.image)
        assert one.mask_sha256 == files.file_sha256(tmp_path / one.mask)


def test_split_depends_on_seed_alone(tmp_path: Path) -> None:
    """The same names elsewhere are divided alike; other seeds divide otherwise."""
    here, there = dataset(tmp_path / "a", 20), dataset(tmp_path / "b", 20)
    first = [one.role for one in divided(here, SplitConfig())]
    assert [one.role for one in divided(there, SplitConfig())] == first
    others = {tuple(r.role for r in divided(here, SplitConfig(seed=s))) for s in range(1, 6)}
    assert len(others) == 5 and tuple(first) not in others


def test_copies_share_a_group_and_a_role(tmp_path: Path) -> None:
    """Ten pictures, each stored as PNG and as BMP: other bytes, equal pixels."""
    folder(tmp_path, 10)
    for index in range(10):
        save(tmp_path / "images" / f"copy{index}.bmp", picture(index))
        save(tmp_path / "masks" / f"copy{index}.png", 255 * square())
    data = open_dataset(tmp_path, DATA, max_pixels=MAX_PIXELS)
    for seed in range(5):
        rows = divided(data, SplitConfig(fractions=(0.6, 0.2, 0.2), seed=seed))
        by_name = {one.image: one for one in rows}
        assert roles(rows) == {"train": 12, "val": 4, "test": 4}
        for index in range(10):
            one, copy = by_name[f"images/{index:03d}.png"], by_name[f"images/copy{index}.bmp"]
            assert one.role == copy.role and one.image_sha256 != copy.image_sha256
            assert one.group == copy.group == one.image


def test_groups_larger_than_the_share_of_val_still_leave_one_to_validate(tmp_path: Path) -> None:
    for index in range(4):
        save(tmp_path / "images" / f"{index}.png", picture(index // 2))
        save(tmp_path / "masks" / f"{index}.png", square())
    rows = divided(open_dataset(tmp_path, DATA, max_pixels=MAX_PIXELS), SplitConfig())
    assert roles(rows) == {"train": 2, "val": 2}


def test_one_picture_cannot_be_divided(tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / "images" / f"{index}.png", picture(0))
        save(tmp_path / "masks" / f"{index}.png", square())
    with pytest.raises(DataError, match="only one different image"):
        divided(open_dataset(tmp_path, DATA, max_pixels=MAX_PIXELS), SplitConfig())


def test_every_bad_file_is_found_at_once(tmp_path: Path) -> None:
    data = dataset(tmp_path, 6)
    save(tmp_path / "images" / "001.png", b"no picture")
    save(tmp_path / "masks" / "003.png", square(25, 32))
    calls: list[tuple[int, int]] = []
    with pytest.raises(DataError) as caught:
        divided(data, SplitConfig(), progress=lambda *done: calls.append(done))
    lines = str(caught.value).splitlines()
    assert len(lines) == 3 and "001.png: not a JPEG" in lines[0]
    assert "003.png: 32x24, but its mask 003.png is 32x25" in lines[1]
    assert calls == [(done, 6) for done in range(1, 7)]


def test_written_split_reads_back_the_same(tmp_path: Path) -> None:
    odd = row(1, "val", image='images/a,"b" é.png', group="g 1")
    rows = [row(0, "train"), odd, row(2, "test")]
    write_split(tmp_path / "split.csv", rows)
    text = (tmp_path / "split.csv").read_bytes()
    assert text.startswith(b"image,mask,role,fold,group,image_sha256,mask_sha256\nimages/0.png,")
    assert read_split(tmp_path / "split.csv") == rows


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": "../../etc/passwd"}, r":3: image: '\.\./\.\./etc/passwd' must be a path below"),
        ({"mask": "/etc/passwd"}, ":3: mask: '/etc/passwd' must be a path below"),
        ({"image": "C:/a.png"}, "must be a path below"),
        ({"image": "images\\a.png"}, "must be a path below"),
        ({"image": "a\x07.png"}, "must be a path below"),
        ({"role": "trian"}, r":3: role: 'trian' is no role; did you mean train\?"),
        ({"group": ""}, ":3: group: is empty"),
        ({"mask_sha256": "ABC"}, ":3: mask_sha256: 'ABC' is no SHA-256"),
        ({"image": "images/0.png"}, "image: images/0.png is named twice"),
        ({"group": "g0"}, r"images/1\.png \(val\) and images/0\.png \(train\) have one group"),
        ({"image_sha256": f"{0:064x}"}, "have one image_sha256; one image must not have two"),
        ({"role": "train"}, "no row has the role val"),
    ],
)
def test_hostile_split_is_refused_with_its_line(
    tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    changed = replace(row(1, "val"), **changes)  # type: ignore[arg-type]
    write_split(tmp_path / "split.csv", [row(0, "train"), changed])
    with pytest.raises(DataError, match=message):
        read_split(tmp_path / "split.csv")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"split\.csv:1: the columns must be image,mask"),
        (b"image,mask\n", "the columns must be"),
        (b"\xff\xfe\x00", "not a CSV file in UTF-8"),
        (b'image,"mask\n', "not a CSV file"),
        (b"a" * 200_000, "not a CSV file"),
        (
            b"image,mask,role,fold,group,image_sha256,mask_sha256\na,b\n",
            ":2: has 2 cells; 7 are needed",
        ),
        (b"image,mask,role,fold,group,image_sha256,mask_sha256\n", "no row has the role train"),
    ],
)
def test_what_is_no_split_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_split(save(tmp_path / "split.csv", data))


def test_absent_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"split\.csv: no such file"):
        read_split(tmp_path / "split.csv")


def test_verify_names_every_file_that_changed_or_is_missing(tmp_path: Path) -> None:
    rows = divided(dataset(tmp_path, 10), SplitConfig(fractions=(0.5, 0.3, 0.2)))
    verify_split(rows, FolderSource(tmp_path))
    used = [one for one in rows if one.role != "test"]
    save(tmp_path / used[0].image, picture(77))
    (tmp_path / used[1].mask).unlink()
    with pytest.raises(DataError) as caught:
        verify_split(rows, FolderSource(tmp_path))
    assert str(caught.value).splitlines() == [
        f"{tmp_path}: {used[0].image}: has changed since the split was created",
        f"{tmp_path}: {used[1].mask}: missing, but the split contains it",
    ]


def test_verify_never_opens_test_files(tmp_path: Path) -> None:
    rows = divided(dataset(tmp_path, 10), SplitConfig(fractions=(0.5, 0.3, 0.2)))
    sealed = [one for one in rows if one.role == "test"]
    assert len(sealed) == 2
    for one in sealed:
        (tmp_path / one.image).unlink()
        (tmp_path / one.mask).unlink()
    verify_split(rows, FolderSource(tmp_path))


def test_masks_that_hold_nothing_cannot_be_divided(tmp_path: Path) -> None:
    """Nothing can be learnt of them, and no metric is defined; all masks full are a task."""
    for index in range(4):
        save(tmp_path / f"images/{index}.png", picture(index))
        save(tmp_path / f"masks/{index}.png", 0 * square())
    empty = open_dataset(tmp_path, DATA, max_pixels=MAX_PIXELS)
    with pytest.raises(DataError, match="none of its 4 masks holds 'foreground'; check that data"):
        divided(empty, SplitConfig())
    for index in range(4):
        save(tmp_path / f"masks/{index}.png", 0 * square() + 255)
    assert roles(divided(empty, SplitConfig()))["val"] == 1
