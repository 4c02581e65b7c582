"""The page in a real browser without a network. Needs Chromium and its driver; skips without."""

from pathlib import Path
from typing import Any

import pytest

from tests.report.browsing import BROWSER, errors, show

pytestmark = BROWSER


def test_the_report_asks_for_nothing_and_draws_everything(driver: Any, report: Path) -> None:
    asked = [url for url in show(driver, report) if not url.startswith(("data:", "blob:"))]
    assert asked == [report.as_uri()]
    assert errors(driver) == []
    figures = driver.execute_script(
        """return [...document.querySelectorAll('[data-figure]')].map((div) => {
             const plot = div.querySelector('svg.main-svg');
             const marks = div.querySelectorAll('.trace path, .trace .point, .bars path');
             return [div.dataset.drawn, plot ? plot.getBoundingClientRect().width : 0,
                     marks.length];
           })"""
    )
    assert len(figures) == 19  # as tests/report/page/test_page.py counts
    assert all(drawn == "yes" and width > 100 and n for drawn, width, n in figures), figures
    pictures = driver.execute_script(
        "return [...document.images].map((i) => [i.complete, i.naturalWidth, i.clientWidth])"
    )
    assert len(pictures) == 88
    assert all(done and width >= 320 and shown > 50 for done, width, shown in pictures)


def test_a_click_on_a_heading_sorts_and_another_reverses(driver: Any, report: Path) -> None:
    show(driver, report)
    click = (
        "document.querySelectorAll('table')[0].querySelectorAll('th button')[arguments[0]].click()"
    )
    column = """return [...document.querySelectorAll('table')[0].tBodies[0].rows].map(
                  (row) => row.children[arguments[0]].textContent)"""
    driver.execute_script(click, 1)
    assert driver.execute_script(column, 1) == ["0", "1", "3", "4", "6"]
    driver.execute_script(click, 1)
    assert driver.execute_script(column, 1) == ["6", "4", "3", "1", "0"]
    driver.execute_script(click, 9)  # attention: what was not in force stays last, either way
    assert driver.execute_script(column, 9) == ["null", "null", "scse", "–", "–"]
    driver.execute_script(click, 9)
    assert driver.execute_script(column, 9) == ["scse", "null", "null", "–", "–"]
    sorted_by = "return document.querySelectorAll('th[aria-sort]').length"
    assert driver.execute_script(sorted_by) == 1


def test_the_copy_button_answers(driver: Any, report: Path) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    show(driver, report)
    driver.execute_script("document.querySelector('.copy').click()")
    text = "return document.querySelector('.copy').textContent"
    answered = WebDriverWait(driver, 10).until(
        lambda d: d.execute_script(text) in ("Copied", "Selected")
    )
    assert answered


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_of_figures_follow_the_scheme(driver: Any, report: Path, scheme: str) -> None:
    show(driver, report)
    feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
    from selenium.webdriver.support.ui import WebDriverWait

    same = """const probe = document.querySelector('.xtitle');
              return getComputedStyle(probe).fill === getComputedStyle(document.body).color"""
    WebDriverWait(driver, 20).until(lambda d: d.execute_script(same))
    assert errors(driver) == []
