"""Images of a study are no unseen test images, however they were saved again."""

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from harness.config.data import StudyDataConfig
from harness.core import files
from harness.core.errors import DataError
from harness.core.paths import Workspace
from harness.data.datasets.sources import open_dataset
from harness.data.scan.scan import scan_dataset
from harness.data.splits.split_file import SplitRow, write_split
from harness.evaluation.held_out.images import EvaluationImages, load_external_images
from tests.report.studies import Builder

Array = np.ndarray[Any, Any]


def scene(seed: int, channels: int = 3, high: int = 255) -> Array:
    """A smooth picture of 56 x 64 pixels, unlike that of any other seed."""
    random = np.random.default_rng(seed)
    coarse = random.random((7, 8, channels)).astype(np.float32)
    fine = cv2.resize(coarse, (64, 56), interpolation=cv2.INTER_CUBIC).reshape(56, 64, channels)
    return np.clip(fine * high, 0, high).astype(np.uint8 if high <= 255 else np.uint16)


def write(path: Path, picture: Array, *parameters: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, picture)
    else:
        flipped = picture[..., ::-1] if picture.shape[-1] == 3 else picture
        assert cv2.imwrite(str(path), flipped, list(parameters))


def write_mask(path: Path, size: tuple[int, int] = (56, 64)) -> None:
    mask = np.zeros((*size, 1), np.uint8)
    mask[5:20, 5:30] = 255
    write(path, mask)


class Study:
    """Six images in `data/mine`: 0 to 2 train, 3 and 4 validate, 5 is test."""

    def __init__(self, root: Path, data: StudyDataConfig, high: int = 255, end: str = "png"):
        self.root, self.data, self.place = root, data, root / "data" / "mine"
        self.rows = []
        for k, role in enumerate(("train", "train", "train", "val", "val", "test")):
            image, mask = f"images/p{k}.{end}", f"masks/p{k}.png"
            write(self.place / image, scene(k, data.channels, high))
            write_mask(self.place / mask)
            hashes = [files.file_sha256(self.place / name) for name in (image, mask)]
            self.rows.append(SplitRow(k, image, mask, role, image, *hashes))  # type: ignore[arg-type]
        write_split(root / "split.csv", self.rows)

    def open(self, folder: Path, said: Callable[[str], None] | None = None) -> EvaluationImages:
        place = Workspace(self.root)
        return load_external_images(
            "colon", str(folder), place, self.rows, self.data, 1e6, on_warning=said
        )


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path, StudyDataConfig(root="mine"))


def as_jpeg(path: Path, picture: Array) -> Path:
    write(path.with_suffix(".jpg"), picture, cv2.IMWRITE_JPEG_QUALITY, 85)
    return path.with_suffix(".jpg")


def turned_by_exif(path: Path, picture: Array) -> Path:
    """Stored on its side, with the orientation that turns it upright (6: a quarter turn right)."""
    path = path.with_suffix(".jpg")
    write(path, np.ascontiguousarray(np.rot90(picture)), cv2.IMWRITE_JPEG_QUALITY, 100)
    tiff = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 274, 3, 1, 6, 0) + b"\0\0\0\0"
    body = b"Exif\0\0" + tiff
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:])
    return path


def saved(path: Path, picture: Array, *parameters: int) -> Path:
    write(path, picture, *parameters)
    return path


FORMS: dict[str, Callable[[Path, Array], Path]] = {
    "other compression": lambda path, x: saved(path, x, cv2.IMWRITE_PNG_COMPRESSION, 9),
    "tiff": lambda path, x: saved(path.with_suffix(".tif"), x),
    "jpeg": as_jpeg,
    "smaller": lambda path, x: saved(path, cv2.resize(x, (48, 42), interpolation=cv2.INTER_AREA)),
    "larger": lambda path, x: saved(path, cv2.resize(x, (128, 112))),
    "mirrored": lambda path, x: saved(path, np.ascontiguousarray(x[:, ::-1])),
    "turned": lambda path, x: saved(path, np.ascontiguousarray(np.rot90(x))),
    "EXIF": turned_by_exif,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("number", "role"), [(1, "train"), (4, "val"), (5, "test")])
def test_an_image_saved_again_is_known(study: Study, form: str, number: int, role: str) -> None:
    folder = study.root / "hospital2"
    path = FORMS[form](folder / "images" / "new.png", scene(number))
    assert files.file_sha256(path) != study.rows[number].image_sha256
    width, height = (64, 56) if form not in {"smaller", "larger", "turned"} else (0, 0)
    if not width:
        read = cv2.imread(str(path))
        assert read is not None
        height, width = read.shape[:2]
    if form == "EXIF":
        height, width = width, height
    write_mask(folder / "masks" / "new.png", (height, width))
    write(folder / "images" / "other.png", scene(99))
    write_mask(folder / "masks" / "other.png")
    how = "equal pixels" if form in {"other compression", "tiff"} else "the same picture in another"
    with pytest.raises(DataError) as caught:
        study.open(folder)
    text = str(caught.value)
    assert f"1 of its 2 images are in the study's split.csv: 'images/{path.name}' as {role}" in text
    assert f"('images/p{number}.png', {how}" in text and "leave them out" in text


def test_strangers_are_taken(study: Study) -> None:
    for k in range(3):
        write(study.root / "other" / "images" / f"{k}.png", scene(50 + k))
        write_mask(study.root / "other" / "masks" / f"{k}.png")
    said: list[str] = []
    assert len(study.open(study.root / "other", said.append).rows) == 3
    assert said == []


def test_every_image_is_counted_and_five_are_named(study: Study) -> None:
    folder = study.root / "again"
    for k in range(6):
        write(folder / "images" / f"a{k}.png", scene(k), cv2.IMWRITE_PNG_COMPRESSION, 9)
        write_mask(folder / "masks" / f"a{k}.png")
    shutil.copy(study.place / "images" / "p0.png", folder / "images" / "a0.png")
    with pytest.raises(DataError, match="6 of its 6 images") as caught:
        study.open(folder)
    text = str(caught.value)
    assert "'images/a0.png' as train ('images/p0.png', the same file)" in text
    assert "'images/a4.png' as val ('images/p4.png', equal pixels), and 1 more" in text


def test_grey_stored_as_colours_is_known(tmp_path: Path) -> None:
    """A study on three channels whose images are grey: 3 equal channels show the same."""
    study = Study(tmp_path, StudyDataConfig(root="mine"))
    for row in study.rows:
        write(study.place / row.image, scene(row.row, 1))
    rows = [
        SplitRow(**{**vars(r), "image_sha256": files.file_sha256(study.place / r.image)})
        for r in study.rows
    ]
    study.rows = rows
    write(tmp_path / "x" / "images" / "rgb.png", np.repeat(scene(2, 1), 3, axis=2))
    write_mask(tmp_path / "x" / "masks" / "rgb.png")
    with pytest.raises(DataError, match=r"'images/rgb\.png' as train \('images/p2\.png', equal"):
        study.open(tmp_path / "x")


def test_eight_bits_of_an_image_of_twelve_are_known(tmp_path: Path) -> None:
    data = StudyDataConfig(root="mine", range=(0.0, 4095.0), channels=1)
    study = Study(tmp_path, data, high=4095, end="tif")
    write(tmp_path / "x" / "images" / "a.png", (scene(0, 1, 4095) >> 4).astype(np.uint8))
    write_mask(tmp_path / "x" / "masks" / "a.png")
    with pytest.raises(DataError, match=r"'images/a\.png' as train \('images/p0\.tif', the same"):
        study.open(tmp_path / "x")


def test_copies_within_the_set_are_said(study: Study) -> None:
    folder = study.root / "twice"
    write(folder / "images" / "a.png", scene(50))
    as_jpeg(folder / "images" / "b.png", scene(50))
    write(folder / "images" / "c.png", scene(51))
    for name in "abc":
        write_mask(folder / "masks" / f"{name}.png")
    said: list[str] = []
    assert len(study.open(folder, said.append).rows) == 3
    assert said == [
        "warning: --on colon: contains copies (1 of 3 images), each of which counts: "
        "'images/a.png' = 'images/b.jpg' (the same picture in another form)"
    ]


def stranger(study: Study) -> Path:
    folder = study.root / "stranger"
    write(folder / "images" / "a.png", scene(70))
    write_mask(folder / "masks" / "a.png")
    return folder


def test_training_images_that_are_gone_leave_the_question_open(study: Study) -> None:
    folder = stranger(study)
    (study.place / "images" / "p1.png").unlink()
    write(study.place / "images" / "p3.png", scene(80))
    with pytest.raises(
        DataError, match=r"with 2 of the 6 images .* 'images/p1\.png': missing from"
    ):
        study.open(folder)
    shutil.rmtree(study.place)
    with pytest.raises(DataError, match=r"with 5 of the 6 .*: missing from the data folders or"):
        study.open(folder)


def test_test_images_that_are_gone_are_said(study: Study) -> None:
    said: list[str] = []
    (study.place / "images" / "p5.png").unlink()
    study.open(stranger(study), said.append)
    assert said == [
        "warning: --on colon: compared by file hash only with 1 of the 6 images of "
        "the study (test images that are missing or changed)"
    ]


def test_what_run_remembers_is_enough(study: Study) -> None:
    """The cache of `run` holds what is compared: no file of the study is opened."""
    dataset = open_dataset(study.place, study.data, max_pixels=1e6)
    scan_dataset(dataset, cache=Workspace(study.root).cache / "looks")
    for path in (study.place / "images").iterdir():
        path.unlink()
    as_jpeg(study.root / "x" / "images" / "a.png", scene(5))
    write_mask(study.root / "x" / "masks" / "a.png")
    with pytest.raises(DataError, match=r"'images/a\.jpg' as test \('images/p5\.png', the same"):
        study.open(study.root / "x")


def test_an_image_that_cannot_be_read_is_named_before_a_look(tmp_path: Path) -> None:
    study = Builder(tmp_path, n_images=3)
    folder = Builder(tmp_path / "elsewhere", n_images=3).data_root
    (folder / "images" / "p01.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"images/p01\.png: not a JPEG, PNG"):
        load_external_images(
            "x", str(folder), Workspace(tmp_path), study.rows, StudyDataConfig(root="tiny"), 1e6
        )
