"""On the published images; skipped where $HARNESS_DATA_DIR does not hold them."""

import json
import os
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from harness.config.data import SplitConfig, StudyDataConfig
from harness.data.datasets.sources import Dataset, open_dataset
from harness.data.files.image_io import read_image, read_pair
from harness.data.scan.near_duplicates import find_duplicates, thumbnail
from harness.data.scan.scan import PairStats, scan_dataset_strict
from harness.data.splits.splits import make_split

pytestmark = pytest.mark.real

# Frames that were stored twice, with another clock burnt in; the last pair differs a little more.
TWICE = [
    ("cju886ryxnsl50801r93jai7q", "cju8amfdtqi4x09871tygrgqe"),
    ("cju76lsehyia10987u54vn8rb", "cju772304yw5t0818vbw8kkjf"),
    ("cju30bmab08bi0835mvlr6e0r", "cju77k828z46w0871r0avuoo9"),
    ("cju5fydrud94708507vo6oy21", "cju7avvi51iox0817ym55y6tt"),
]
MOST_FALSE_ALARMS = 10


def dataset(name: str) -> Dataset:
    root = Path(os.environ.get("HARNESS_DATA_DIR", "none")) / name
    if not root.is_dir():
        pytest.skip(f"$HARNESS_DATA_DIR holds no {name}")
    return open_dataset(root, StudyDataConfig(), max_pixels=100e6)


@pytest.fixture(scope="module")
def kvasir() -> Dataset:
    return dataset("kvasir-seg")


@pytest.fixture(scope="module")
def looks(kvasir: Dataset) -> list[PairStats]:
    return scan_dataset_strict(kvasir)


def kvasir_copies(kvasir: Dataset, looks: list[PairStats]) -> set[tuple[str, ...]]:
    found = find_duplicates([one.pixels for one in looks], [one.thumbnail for one in looks])
    stems = [pair.stem for pair in kvasir.pairs]
    return {tuple(sorted((stems[copy.first], stems[copy.second]))) for copy in found}


def test_kvasir_is_divided_800_100_100(kvasir: Dataset, looks: list[PairStats]) -> None:
    counts = Counter(row.role for row in make_split(kvasir, looks, SplitConfig()))
    assert counts == {"train": 800, "val": 100, "test": 100}


def test_every_frozen_frame_is_found_with_few_false_alarms(
    kvasir: Dataset, looks: list[PairStats]
) -> None:
    found = kvasir_copies(kvasir, looks)
    known = {tuple(sorted(pair)) for pair in TWICE}
    assert known <= found
    assert len(found - known) <= MOST_FALSE_ALARMS


def test_generated_copies_are_found(kvasir: Dataset, looks: list[PairStats]) -> None:
    """40 images, mirrored, resized by 0.5 to 1.5 and stored at JPEG quality 50 to 95."""
    rng = np.random.default_rng(11)
    originals = [int(index) for index in rng.choice(len(looks), 40, replace=False)]
    thumbnails = [one.thumbnail for one in looks]
    for number, index in enumerate(originals):
        image = read_image(kvasir.root / kvasir.pairs[index].image, 100e6)
        image = image[:: (-1) ** (number // 2), :: (-1) ** number]
        scale, quality = float(rng.uniform(0.5, 1.5)), int(rng.integers(50, 96))
        resized = cv2.resize(np.ascontiguousarray(image), None, fx=scale, fy=scale)
        data = cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        thumbnails.append(thumbnail(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))))
    found = {
        (copy.first, copy.second) for copy in find_duplicates(range(len(thumbnails)), thumbnails)
    }
    pairs = set(zip(originals, range(len(looks), len(thumbnails)), strict=True))
    assert len(pairs & found) >= 38
    assert len(found - pairs) <= len(TWICE) + MOST_FALSE_ALARMS


def test_no_split_parts_frozen_frames(kvasir: Dataset, looks: list[PairStats]) -> None:
    for seed in range(20):
        rows = make_split(kvasir, looks, SplitConfig(seed=seed))
        role = {Path(row.image).stem: row.role for row in rows}
        assert all(role[one] == role[other] for one, other in TWICE)


def test_official_lists_keep_their_120_for_the_test(
    kvasir: Dataset, looks: list[PairStats]
) -> None:
    rows = make_split(kvasir, looks, SplitConfig(lists="official"))
    assert Counter(row.role for row in rows) == {"train": 792, "val": 88, "test": 120}
    published = (kvasir.root / "splits" / "official_test.txt").read_text(encoding="utf-8").split()
    assert sorted(Path(row.image).stem for row in rows if row.role == "test") == sorted(published)


def test_camvid_declares_its_roles_and_films_no_copies_across_them() -> None:
    streets = dataset("camvid")
    roles = [pair.role for pair in streets.pairs]
    assert Counter(roles) == {"train": 367, "val": 101, "test": 233}
    images = [read_image(streets.root / pair.image, 100e6) for pair in streets.pairs]
    copies = find_duplicates(range(len(images)), [thumbnail(image) for image in images])
    assert copies and all(roles[copy.first] == roles[copy.second] for copy in copies)


def test_kvasir_masks_lie_in_their_published_boxes(kvasir: Dataset) -> None:
    """Every fifth mask: nothing outside the boxes, within the 2 pixels of their rounding."""
    boxes = json.loads((kvasir.root / "kvasir_bboxes.json").read_text(encoding="utf-8"))
    for pair in kvasir.pairs[::5]:
        mask = read_pair(kvasir.source, pair.image, pair.masks, StudyDataConfig(), 100e6).mask
        assert mask.shape == (boxes[pair.stem]["height"], boxes[pair.stem]["width"])
        outside = mask.copy()
        for box in boxes[pair.stem]["bbox"]:
            rows = slice(max(0, box["ymin"] - 2), box["ymax"] + 3)
            outside[rows, max(0, box["xmin"] - 2) : box["xmax"] + 3] = 0
        assert outside.sum() <= 0.002 * mask.sum(), pair.stem
        assert 0.004 < mask.mean() < 0.82


def test_nuclei_are_read_from_rgba_images() -> None:
    nuclei = dataset("dsb2018")
    pair = nuclei.pairs[0]
    read = read_pair(nuclei.source, pair.image, pair.masks, StudyDataConfig(), 100e6)
    assert read.image.shape == (*read.mask.shape, 3)
    assert set(np.unique(read.mask)) == {0, 1}
