"""The page of `harness compare` in a browser without a network; skips without one."""

from pathlib import Path
from typing import Any

import pytest

from harness.report.analysis.study_comparison import compare_studies
from harness.report.comparison.page import write_comparison
from harness.report.tables.study_tables import load_study_tables
from tests.report.browsing import BROWSER, errors, seen_as, show
from tests.report.studies import Builder, a_study
from tests.report.test_page_access import ALL_IMPACTS, DESKTOP, PHONE, axe_faults

pytestmark = BROWSER


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comparison")
    other = Builder(folder, "a-name-of-many-words", config={"seed": 7, "question": "Which?" * 20})
    ended = "2026-11-20T09:01:00.000+00:00"
    other.trial(4, [0.5, 0.3], {"optim.lr": 1e-3}, skill=0.5, ended=ended)
    studies = [load_study_tables(study.paths) for study in (a_study(folder, "first"), other)]
    page = folder / "compare.html"
    write_comparison(compare_studies(studies), studies, page)
    return page


def test_page_asks_for_nothing_and_draws_its_figures(driver: Any, comparison: Path) -> None:
    asked = [url for url in show(driver, comparison) if not url.startswith(("data:", "blob:"))]
    assert asked == [comparison.as_uri()] and errors(driver) == []
    lines = """return [...document.querySelectorAll('[data-figure]')].map(
                 (div) => div.querySelectorAll('.trace path').length > 0)"""
    assert driver.execute_script(lines) == [True, True]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_page_is_accessible_and_not_wider_than_the_screen(
    driver: Any, comparison: Path, size: tuple[int, int], scheme: str
) -> None:
    with seen_as(driver, *size, scheme, mobile=size == PHONE):
        show(driver, comparison)
        assert axe_faults(driver, ALL_IMPACTS) == []
        assert driver.execute_script("return document.documentElement.scrollWidth") <= size[0]
