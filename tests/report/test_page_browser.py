"""The page in a real browser without a network. Needs Chromium and its driver; skips without."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.report.page import write_report
from tests.report.studies import Builder, a_study

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="no Chromium or chromedriver"),
]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for word in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND",  # no name can be looked up
        "--window-size=1280,1000",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(word)
    service = webdriver.ChromeService(DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    try:
        driver.execute_cdp_cmd("Network.enable", {})
        driver.execute_cdp_cmd(
            "Network.emulateNetworkConditions",
            {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
        )
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = a_study(tmp_path_factory.mktemp("browser"))
    return write_report(study.paths, study.data_root)


def show(driver: Any, path: Path) -> list[str]:
    """Open a page, wait until its figures are done, and give the addresses it asked for."""
    from selenium.webdriver.support.ui import WebDriverWait

    driver.get("about:blank")
    driver.get_log("performance")
    driver.get(path.as_uri())
    done = "return document.documentElement.dataset.figures === 'done'"
    WebDriverWait(driver, 60).until(lambda driver: driver.execute_script(done))
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


def errors(driver: Any) -> list[str]:
    return [entry["message"] for entry in driver.get_log("browser")]


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
    assert len(figures) == 15
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


def test_a_phone_scrolls_down_only(driver: Any, report: Path) -> None:
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        show(driver, report)
        assert driver.execute_script("return document.documentElement.scrollWidth") == 390
        assert errors(driver) == []
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_hostile_names_run_nothing(driver: Any, tmp_path: Path) -> None:
    bad = "<img src=x onerror=window.bad=1><a href='http://example.org'>x</a>%{x}"
    study = Builder(tmp_path, config={"question": bad})
    for number in range(6):
        shape = {"choices": [f"{bad}{i}" for i in range(3)]}
        study.trial(
            number,
            [0.5 + 0.01 * number],
            {"model.options.note": f"{bad}{number % 3}"},
            distributions={
                "model.options.note": {"name": "CategoricalDistribution", "attributes": shape}
            },
        )
    asked = show(driver, write_report(study.paths, None))
    assert [url for url in asked if not url.startswith("data:")] == [
        study.paths.report_html.as_uri()
    ]
    assert driver.execute_script("return window.bad") is None
    assert (
        driver.execute_script("return document.querySelectorAll('.chart a, .chart img').length")
        == 0
    )
    assert errors(driver) == []
