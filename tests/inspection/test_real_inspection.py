"""On the published images; skipped where $HARNESS_DATA_DIR does not hold them."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from harness.config.data import StudyDataConfig
from harness.data.datasets.sources import open_dataset
from harness.data.scan.scan import PairStats, scan_dataset_strict

pytestmark = pytest.mark.real


def looks(name: str, stems: set[str] | None = None) -> dict[str, PairStats]:
    root = Path(os.environ.get("HARNESS_DATA_DIR", "none")) / name
    if not root.is_dir():
        pytest.skip(f"$HARNESS_DATA_DIR holds no {name}")
    dataset = open_dataset(root, StudyDataConfig(), max_pixels=100e6)
    pairs = tuple(pair for pair in dataset.pairs if stems is None or pair.stem in stems)
    seen = scan_dataset_strict(replace(dataset, pairs=pairs))
    return {pair.stem: look for pair, look in zip(pairs, seen, strict=True)}


def test_endoscopy_frames_show_what_eyes_see() -> None:
    """A speck in the corner of a mask, a green panel, a clock and a dark panel, by eye."""
    speck, green, clock = (
        *("cju0roawvklrq0799vmjorwfv", "ck2da7fwcjfis07218r1rvm95"),
        "cju8amfdtqi4x09871tygrgqe",
    )
    found = looks("kvasir-seg", {speck, green, clock})
    assert found[speck].seen.n_vanishing == 1
    assert found[speck].seen.n_objects == (3,)
    (box,) = found[green].seen.panels
    assert box[0] > 288 and box[1] < 100  # of 576 x 720: at the bottom left
    assert found[green].seen.border[3] > 10
    assert len(found[clock].seen.panels) == 1


def test_nuclei_have_neither_borders_nor_text() -> None:
    for stem, look in looks("dsb2018").items():
        assert not any(look.seen.border), stem
        assert not look.seen.text, stem
        assert not look.seen.panels, stem
