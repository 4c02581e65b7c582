"""A report over thousands of generated trials stays small and says what it leaves out."""

import re
from pathlib import Path

import pytest

from benchmarks.big_report import generate
from harness.report.page.page import write_report


@pytest.mark.slow
def test_two_thousand_trials_make_a_small_page(tmp_path: Path) -> None:
    paths = generate(tmp_path / "studies" / "big", 2000, 20)
    page = write_report(paths, None).read_text(encoding="utf-8")
    assert len(page.encode()) < 12e6
    tables = re.findall(r"Shown are the (best|last) (\d+) of (\d+); all are in trials.csv", page)
    assert [(which, shown) for which, shown, _ in tables] == [("best", "100"), ("best", "100")]
    notes = re.findall(
        r"The figures show the best 100 complete trials and 500 of the other 1900", page
    )
    assert len(notes) >= 6
    assert re.search(r"Computed from 1000 of \d+ complete trials, evenly by rank", page)
    assert len(paths.trials_csv.read_text(encoding="utf-8").splitlines()) == 2001
