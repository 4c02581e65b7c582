"""Whatever an error or an inspection advises is legal, and enough when it is followed."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from harness.config.data import StudyDataConfig
from harness.config.study import StudyConfig
from harness.core import strict_yaml
from harness.core.errors import DataError
from harness.data.datasets.sources import open_dataset
from harness.data.files.image_io import read_mask
from harness.data.files.source import FolderSource
from harness.data.scan.scan import duplicates_among, scan_dataset
from harness.inspection.panels import build_galleries
from harness.inspection.report import InspectionReport, inspect_dataset
from tests.data.make import encode, picture, save

Array8 = np.ndarray[Any, Any]


def levels(*values: int, kind: type = np.uint8) -> Array8:
    """Bars of 32 x 8 pixels of each value."""
    return np.repeat(np.array(values, kind), 8)[None, :].repeat(32, axis=0)


def jpeg(*values: int) -> bytes:
    wide = cv2.resize(levels(*values), None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)
    return encode(".jpg", wide, cv2.IMWRITE_JPEG_QUALITY, 80)


def followed(problem: str, data: StudyDataConfig) -> StudyDataConfig:
    """The meaning after the advice of an error was pasted into study.yaml, under `data:`."""
    found = re.search(r"data\.(values: \{.*?\}|values: nonzero|ignore_index: \d+)", problem)
    assert found, problem
    block = {k: v for k, v in data.model_dump(mode="json").items() if v is not None}
    block = {k: v for k, v in block.items() if k != found[1].partition(":")[0]}
    text = strict_yaml.dump_yaml({"data": block}) + f"  {found[1]}\n"
    content = strict_yaml.load_yaml(text, source="study.yaml").value
    return StudyConfig.from_mapping(content, source="study.yaml").data


THREE = StudyDataConfig(task="multiclass", classes=("sky", "no", "car"))


@pytest.mark.parametrize(
    ("stored", "data"),
    [
        (levels(0, 128, 255), StudyDataConfig()),
        (levels(3, 7), StudyDataConfig()),
        (levels(0, 1, 255), StudyDataConfig()),
        (levels(0, 1000, kind=np.uint16), StudyDataConfig()),
        (levels(0, 128, 255), StudyDataConfig(classes=("no", "yes"))),
        (jpeg(0, 128, 255), StudyDataConfig()),
        (levels(0, 1, 2, 7), THREE),
        (np.dstack([levels(0, 9, 255), levels(0, 0, 0), levels(0, 9, 0)]), StudyDataConfig()),
        (np.dstack([levels(0, 9, 255), levels(0, 0, 0), levels(0, 9, 0)]), THREE),
        (levels(0, 1, 2, 3, 4, 5), StudyDataConfig()),
        (levels(0, 300, 17, 42, 1000, kind=np.uint16), StudyDataConfig()),
    ],
)
def test_the_advice_of_an_error_is_enough(
    tmp_path: Path, stored: Array8 | bytes, data: StudyDataConfig
) -> None:
    path = save(tmp_path / ("m.jpg" if isinstance(stored, bytes) else "m.png"), stored)
    with pytest.raises(DataError) as caught:
        read_mask(FolderSource(tmp_path), [path], data, 1e6)
    meant = followed(str(caught.value), data)
    values = np.unique(read_mask(FolderSource(tmp_path), [path], meant, 1e6)).tolist()
    assert set(values) <= {*range(len(meant.classes)), 255} and len(values) > 1


def inspected(
    root: Path, masks: list[Array8], data: StudyDataConfig, **how: Any
) -> InspectionReport:
    for index, mask in enumerate(masks):
        save(root / f"images/{index}.png", picture(index, *mask.shape[:2]))
        save(root / f"masks/{index}.png", mask)
    overview = scan_dataset(open_dataset(root, data, max_pixels=1e6))
    return inspect_dataset(overview, duplicates_among(overview.pair_stats), **how)


def objects(*numbers: int, kind: type = np.uint16) -> Array8:
    """Discs of 11 px, one for each number."""
    mask = np.zeros((32, 16 * len(numbers)), kind)
    for place, number in enumerate(numbers):
        cv2.circle(mask, (8 + 16 * place, 16), 5, number, -1)
    return mask


def colours(*numbers: int) -> Array8:
    mask = objects(*numbers)
    return np.dstack([mask * 7 % 256, mask * 31 % 256, mask // 8 + 1 * (mask > 0)]).astype(np.uint8)


MANY = [objects(*range(k * 9 + 1, k * 9 + 10)) for k in range(12)]
FEW = [objects(*np.random.default_rng(k).integers(1, 400, 9).tolist()) for k in range(5)]
COUNTED = [objects(*range(1, 2 + k), kind=np.uint8) for k in range(3, 8)]
COLOURED = [colours(*range(k * 6 + 1, k * 6 + 7)) for k in range(4)]
IN_STEPS = [1000 * objects(*range(1, 2 + k)) for k in range(3, 8)]
IN_RED = [np.dstack([0 * one, 0 * one, one]) for one in COUNTED]  # of OpenCV: blue, green, red
LISTED = (90, 20, 130, 60, 200, 40, 250)  # a list of colours, the k-th for the k-th object
BY_LIST = [colours(*LISTED[:k]) for k in range(4, 8)]
UP_TO_FOUR = [objects(*range(1, 2 + k % 4), kind=np.uint8) for k in range(8)]
SOME = ((1, 2, 3, 4, 5), (1, 3, 4, 5), (2, 4, 5))
ORGANS = [objects(*numbers, kind=np.uint8) for numbers in SOME]
ONE_IS_RARE = [objects(*range(1, 6 if k == 5 else 5), kind=np.uint8) for k in range(6)]
FEW_EACH = [*MANY, objects(3), objects(1, 2)]


@pytest.mark.parametrize(
    "masks",
    [MANY, FEW, COUNTED, COLOURED, FEW_EACH, IN_STEPS, IN_RED, BY_LIST, UP_TO_FOUR],
)
def test_instance_ids_are_told_and_the_proposal_makes_every_pair_usable(
    tmp_path: Path, masks: list[Array8]
) -> None:
    found = inspected(tmp_path, masks, StudyDataConfig(root="d"))
    assert not found.fits
    about = {finding.topic: finding for finding in found.findings}
    assert "instance ids" in about and "data.values: nonzero" in about["instance ids"].remedy
    block = strict_yaml.load_yaml(found.proposal, source="x").value["data"]
    assert (block["task"], block["values"]) == ("binary", "nonzero")
    meant = StudyDataConfig.model_validate(block)
    again = scan_dataset(open_dataset(tmp_path, meant, max_pixels=1e6))
    assert again.bad_pairs == () and inspect_dataset(again, []).fits
    for mask, look in zip(masks, sorted(again.pair_stats, key=lambda x: x.size), strict=True):
        assert look.shares[1] > 0 and mask.any()
    read = read_mask(FolderSource(tmp_path), [tmp_path / "masks/0.png"], meant, 1e6)
    expected = masks[0].any(axis=2) if masks[0].ndim == 3 else masks[0] > 0
    np.testing.assert_array_equal(read, expected)


@pytest.mark.parametrize("masks", [ORGANS, ONE_IS_RARE])
def test_classes_in_one_piece_each_are_no_instance_ids(tmp_path: Path, masks: list[Array8]) -> None:
    """Organs: the same five values in every picture, though not all of them in each."""
    found = inspected(tmp_path, masks, StudyDataConfig(root="d"))
    block = strict_yaml.load_yaml(found.proposal, source="x").value["data"]
    assert (block["task"], len(block["classes"]), block["values"]) == ("multiclass", 6, None)
    assert "instance ids" not in {finding.topic for finding in found.findings}


def test_a_semicolon_in_a_name_begins_no_remedy(tmp_path: Path) -> None:
    for name in ("images/a; remove all; b.png", "masks/a; remove all; b.png"):
        save(tmp_path / name, b"")
    found = inspect_dataset(
        scan_dataset(open_dataset(tmp_path, StudyDataConfig(), max_pixels=1e6)), []
    )
    (bad,) = [one for one in found.findings if one.topic == "cannot be used"]
    assert bad.what == "images/a; remove all; b.png: an empty file"
    assert bad.remedy == "repair or remove it, or leave it out with --skip-bad"


def test_lossy_masks_hold_no_numbers_of_objects(tmp_path: Path) -> None:
    path = save(tmp_path / "m.jpg", jpeg(0, 255))
    with pytest.raises(DataError, match=r"lossy file cannot hold numbers .* save masks as PNG"):
        read_mask(FolderSource(tmp_path), [path], StudyDataConfig(values="nonzero"), 1e6)


SCENES: dict[str, Callable[[int], Array8]] = {
    "three levels": lambda k: levels(0, 128, 255),
    "indices": lambda k: levels(0, 1, 2, 3, 0, 2),
    "indices and void": lambda k: levels(0, 1, 2, 3, 255, 1),
    "colours": lambda k: np.dstack([levels(0, 255, 0), levels(0, 0, 255), levels(0, 0, 0)]),
}


@pytest.mark.parametrize("scene", SCENES)
def test_the_proposed_block_makes_every_pair_usable(tmp_path: Path, scene: str) -> None:
    masks = [SCENES[scene](k) for k in range(4)]
    found = inspected(tmp_path, masks, StudyDataConfig(root="d"))
    assert not found.fits
    meant = StudyDataConfig.model_validate(
        strict_yaml.load_yaml(found.proposal, source="x").value["data"]
    )
    again = scan_dataset(open_dataset(tmp_path, meant, max_pixels=1e6))
    assert again.bad_pairs == () and inspect_dataset(again, []).fits


def test_equal_findings_are_one_row_with_a_count(tmp_path: Path) -> None:
    """Twelve masks of several classes, each of other values, and one damaged image."""
    masks = [levels(*range(n), *range(n)) for n in range(5, 17)]
    inspected(tmp_path, masks, StudyDataConfig())
    save(tmp_path / "images/11.png", b"no picture")
    overview = scan_dataset(open_dataset(tmp_path, StudyDataConfig(), max_pixels=1e6))
    bad = [
        finding for finding in inspect_dataset(overview, []).findings if finding.severity == "error"
    ]
    assert [len(finding.files) for finding in bad] == [11, 1]
    assert bad[0].what.startswith("11 pairs, the first: masks/0.png: values 0, 1, 2, 3, 4 are")
    assert "harness data inspect proposes" in bad[0].remedy
    assert bad[1].what.startswith("images/11.png: not a JPEG")
    (gallery,) = [one for one in build_galleries(overview, []) if one.title == "Cannot be used"]
    assert (gallery.n, len(gallery.panels)) == (12, 2 * 3)  # two of eleven alike, and the other
    assert all(len(panel.caption) < 200 for panel in gallery.panels)


def test_a_study_in_which_everything_fits_is_believed(tmp_path: Path) -> None:
    """Of five declared classes three occur, and 4 is ignored: the files would suggest others."""
    data = StudyDataConfig(
        root="d", task="multiclass", classes=("a", "b", "c", "d", "e"), ignore_index=11
    )
    masks = [levels(0, 1, 2, 11) for _ in range(4)]
    guessed = inspected(tmp_path, masks, data)
    assert not guessed.fits
    found = inspected(tmp_path, masks, data, declared=True)
    assert found.fits and strict_yaml.load_yaml(found.proposal, source="x").value["data"][
        "classes"
    ] == [*"abcde"]
    save(tmp_path / "images/3.png", b"no picture")
    overview = scan_dataset(open_dataset(tmp_path, data, max_pixels=1e6))
    assert inspect_dataset(overview, [], declared=True).fits


def test_a_picture_that_was_annotated_twice_is_a_warning(tmp_path: Path) -> None:
    for index, rows in enumerate((slice(4, 12), slice(12, 20), slice(4, 12))):
        mask = np.zeros((32, 32), np.uint8)
        mask[rows, 4:12] = 255
        save(tmp_path / f"images/{index}.png", picture(0, 32, 32))
        save(tmp_path / f"masks/{index}.png", encode(".png", mask, 16, 3 * index))
    overview = scan_dataset(open_dataset(tmp_path, StudyDataConfig(), max_pixels=1e6))
    (found,) = [
        finding
        for finding in inspect_dataset(overview, duplicates_among(overview.pair_stats)).findings
        if finding.topic == "copies with other masks"
    ]
    assert (found.severity, found.files) == ("warning", ("images/0.png = images/1.png",))
    assert found.what == "1 image with the pixels of another image, but another mask"


def test_images_that_are_not_read_are_a_warning(tmp_path: Path) -> None:
    inspected(tmp_path, [levels(0, 255)], StudyDataConfig())
    save(tmp_path / "images/x.jif", encode(".jpg", picture(1)))
    overview = scan_dataset(open_dataset(tmp_path, StudyDataConfig(), max_pixels=1e6))
    (found,) = [
        one for one in inspect_dataset(overview, []).findings if one.topic == "files not read"
    ]
    assert (found.severity, found.files) == ("warning", ("images/x.jif",))
    assert found.what == "1 file next to the pairs with images under other suffixes"
