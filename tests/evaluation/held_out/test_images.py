"""Further data sets: names and folders are hostile, and the study's own images are refused."""

import hashlib
import shutil
from pathlib import Path

import cv2
import pytest

from harness.config.data import StudyDataConfig
from harness.core.errors import ConfigError, DataError
from harness.core.paths import Workspace
from harness.data.splits.splits import read_split
from harness.evaluation.held_out import images as held_out_images
from harness.evaluation.held_out.images import (
    EvaluationImages,
    check_images_present,
    check_images_unchanged,
    load_external_images,
    parse_external_datasets,
)
from harness.report.tables.study_tables import load_study_tables
from tests.report.studies import Builder


def other(study: Builder, folder: str, name: str = "colon") -> EvaluationImages:
    split = read_split(study.paths.split_csv)
    return load_external_images(name, folder, Workspace(study.root), split, data_of(study), 1e6)


def data_of(study: Builder) -> StudyDataConfig:
    return load_study_tables(study.paths).config.data


@pytest.fixture
def study(tmp_path: Path) -> Builder:
    return Builder(tmp_path, n_images=6)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("folder", "write NAME=FOLDER"),
        ("a=", "write NAME=FOLDER"),
        ("=folder", "invalid name; use 1 to 64"),
        ("../../etc=folder", r"'\.\./\.\./etc': invalid name"),
        ("a b=folder", "invalid name"),
        ("<script>=folder", "invalid name"),
        ("a\n=folder", "invalid name"),
        (f"{'a' * 65}=folder", "invalid name"),
        ("test=folder", "the study's own test images"),
    ],
)
def test_hostile_names_are_refused(asked: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_external_datasets([asked])


def test_names_and_folders_are_parted_at_the_first_equals_sign() -> None:
    assert parse_external_datasets(["a=x=y", "b.2=../z"]) == {"a": "x=y", "b.2": "../z"}
    with pytest.raises(ConfigError, match="--on a: this name is given twice"):
        parse_external_datasets(["a=x", "a=y"])


def test_a_folder_of_other_images_is_hashed_and_its_masks_stay_closed(study: Builder) -> None:
    folder = Builder(study.root / "elsewhere", n_images=3).data_root
    for path in folder.glob("masks/*.png"):
        path.write_bytes(path.name.encode())  # no image
    for path in folder.glob("images/*.png"):  # nothing that the study has
        picture = cv2.imread(str(path))
        assert picture is not None
        cv2.imwrite(str(path), 255 - picture)
    images = other(study, str(folder))
    assert [row.image for row in images.rows] == [f"images/p0{k}.png" for k in range(3)]
    pairs = sorted(
        " ".join(
            hashlib.sha256((folder / part / f"p0{k}.png").read_bytes()).hexdigest()
            for part in ("images", "masks")
        )
        for k in range(3)
    )
    text = "".join(f"{pair}\n" for pair in pairs)
    assert images.content_hash == hashlib.sha256(text.encode()).hexdigest()


def test_images_of_the_study_are_refused_under_any_name(study: Builder) -> None:
    copy = study.root / "copy"
    shutil.copytree(study.data_root, copy)
    (copy / "images" / "p05.png").rename(copy / "images" / "new.png")
    (copy / "masks" / "p05.png").rename(copy / "masks" / "new.png")
    for k in range(5):
        for part in ("images", "masks"):
            path = copy / part / f"p0{k}.png"
            path.unlink()
    with pytest.raises(DataError, match=r"1 of its 1 images .* 'images/new\.png' as test"):
        other(study, str(copy))
    with pytest.raises(DataError, match="--on colon: 6 of its 6 images"):
        other(study, "tiny")


def test_what_is_no_folder_is_named(study: Builder) -> None:
    with pytest.raises(DataError, match=r"--on colon: .*nowhere: neither a folder"):
        other(study, "nowhere")


def test_files_are_looked_for_before_and_compared_after(study: Builder) -> None:
    rows = tuple(row for row in read_split(study.paths.split_csv) if row.role == "test")
    images = EvaluationImages("test", study.data_root, rows, data_of(study), 1e6)
    check_images_present(images)
    check_images_unchanged(images)
    (pair,) = images.read(rows)
    assert pair.image.shape == (40, 50, 3)
    mask = study.data_root / rows[0].mask
    mask.write_bytes((study.data_root / "masks" / "p00.png").read_bytes())
    check_images_present(images)
    with pytest.raises(DataError, match=r"p05\.png: has changed since the split was created"):
        check_images_unchanged(images)
    with pytest.raises(DataError, match=r"p05\.png: image or mask has changed"):
        images.read(rows)
    mask.unlink()
    with pytest.raises(DataError, match=r"masks/p05\.png: missing"):
        check_images_present(images)


def test_large_files_are_decoded_one_at_a_time(
    study: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tuple(read_split(study.paths.split_csv))
    images = EvaluationImages("test", study.data_root, rows, data_of(study), 1e6)
    together = [[row.row for row in of_batch] for of_batch, _ in images.batches(4)]
    assert [len(batch) for batch in together][:-1] == [4] * (len(together) - 1)
    largest = max((study.data_root / row.image).stat().st_size for row in rows)
    monkeypatch.setattr(held_out_images, "_MAX_BATCH_BYTES", largest)
    alone = [[row.row for row in of_batch] for of_batch, _ in images.batches(4)]
    assert alone == [[row.row] for row in rows]
