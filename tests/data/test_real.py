"""On the published images; skipped where $HARNESS_DATA_DIR does not hold them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from harness.data.look import look_at_all
from harness.data.pictures import read_pair
from harness.data.sources import Dataset, open_folder
from harness.data.splits import SplitRow, make_split
from harness.data_config import SplitConfig, StudyDataConfig

pytestmark = pytest.mark.real

# Frames that were stored twice, with another clock burnt in.
TWICE = [
    ("cju886ryxnsl50801r93jai7q", "cju8amfdtqi4x09871tygrgqe"),
    ("cju76lsehyia10987u54vn8rb", "cju772304yw5t0818vbw8kkjf"),
    ("cju30bmab08bi0835mvlr6e0r", "cju77k828z46w0871r0avuoo9"),
]


def dataset(name: str) -> Dataset:
    root = Path(os.environ.get("HARNESS_DATA_DIR", "none")) / name
    if not root.is_dir():
        pytest.skip(f"$HARNESS_DATA_DIR holds no {name}")
    return open_folder(root, StudyDataConfig(), max_pixels=100e6)


@pytest.fixture(scope="module")
def kvasir() -> Dataset:
    return dataset("kvasir-seg")


@pytest.fixture(scope="module")
def split(kvasir: Dataset) -> list[SplitRow]:
    return make_split(kvasir, look_at_all(kvasir), SplitConfig())


def test_kvasir_is_divided_800_100_100(split: list[SplitRow]) -> None:
    counts = [sum(row.role == role for row in split) for role in ("train", "val", "test")]
    assert counts == [800, 100, 100]


def test_exactly_the_frozen_frames_share_a_group(split: list[SplitRow]) -> None:
    rows = [row for row in split if row.image != row.group]
    copies = {tuple(sorted((Path(row.image).stem, Path(row.group).stem))) for row in rows}
    assert copies == {tuple(sorted(pair)) for pair in TWICE}


def test_kvasir_masks_lie_in_their_published_boxes(kvasir: Dataset) -> None:
    """Every fifth mask: nothing outside the boxes, within the 2 pixels of their rounding."""
    boxes = json.loads((kvasir.root / "kvasir_bboxes.json").read_text(encoding="utf-8"))
    for pair in kvasir.pairs[::5]:
        mask = read_pair(
            kvasir.root / pair.image,
            [kvasir.root / mask for mask in pair.masks],
            StudyDataConfig(),
            100e6,
        ).mask
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
    read = read_pair(
        nuclei.root / pair.image,
        [nuclei.root / mask for mask in pair.masks],
        StudyDataConfig(),
        100e6,
    )
    assert read.image.shape == (*read.mask.shape, 3)
    assert set(np.unique(read.mask)) == {0, 1}
