"""The page of `harness data inspect` in a browser without a network; skips without one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data.scan.scan import duplicates_among
from harness.inspection.panels import build_galleries, outline_legend
from harness.inspection.report import inspect_dataset, write_inspection_page
from tests.data.make import picture, save, square
from tests.inspection.datasets import mixed, overview
from tests.report.browsing import BROWSER, errors, offline_browser, seen_as
from tests.report.test_page_access import ALL_IMPACTS, DESKTOP, PHONE, axe_faults

pytestmark = BROWSER


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with offline_browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finding of each kind, one of them with more files than its list shows at once."""
    root = mixed(tmp_path_factory.mktemp("mixed"))
    for number in range(100, 116):
        alpha = np.full((24, 32), 255, np.uint8)
        save(root / f"images/{number}.png", np.dstack([picture(number), alpha]))
        save(root / f"masks/{number}.png", 255 * square())
    seen = overview(root)
    copies = duplicates_among(seen.pair_stats)
    found, galleries = inspect_dataset(seen, copies), build_galleries(seen, copies)
    target = root.parent / "inspection.html"
    write_inspection_page(target, found, galleries, legend=outline_legend(seen.dataset.data))
    return target


def test_page_asks_for_nothing(driver: Any, page: Path) -> None:
    driver.get_log("performance")
    driver.get(page.as_uri())
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    assert errors(driver) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_page_is_accessible_and_not_wider_than_the_screen(
    driver: Any, page: Path, size: tuple[int, int], scheme: str
) -> None:
    with seen_as(driver, *size, scheme, mobile=size == PHONE):
        driver.get(page.as_uri())
        driver.execute_script("document.querySelectorAll('details').forEach((d) => d.open = true)")
        lists = """return [...document.querySelectorAll('.files')].filter(
                     (one) => one.scrollHeight > one.clientHeight).length"""
        assert driver.execute_script(lists) == 1
        assert axe_faults(driver, ALL_IMPACTS) == []
        assert driver.execute_script("return document.documentElement.scrollWidth") <= size[0]
