"""The page for everyone: keyboard, phone, dark, paper, assistive technology, hostile texts."""

import base64
from collections.abc import Sequence
from importlib.resources import files as resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import pytest

from harness.core.records import TrialFailure
from harness.data.splits.splits import SplitRow, write_split
from harness.report.page.page import write_report
from tests.report.browsing import BROWSER, errors, open_sections, seen_as, show
from tests.report.studies import Builder

pytestmark = BROWSER

PHONE, DESKTOP = (360, 740), (1280, 900)


SERIOUS = ("serious", "critical")
ALL_IMPACTS = ("minor", "moderate", *SERIOUS)


def axe_faults(driver: Any, impacts: Sequence[str] = SERIOUS) -> list[str]:
    """Faults of these impacts that axe-core (axe-core-python, a dev dependency) finds."""
    pytest.importorskip("axe_core_python")
    source = resources("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    driver.execute_script(source)
    found = driver.execute_async_script(
        """const done = arguments[0];
           const failed = (e) => done([{impact: 'critical', id: String(e), nodes: []}]);
           axe.run(document).then((r) => done(r.violations), failed)"""
    )
    return [
        f"{fault['id']}: {[node['target'] for node in fault['nodes']][:3]}"
        for fault in found
        if fault["impact"] in impacts
    ]


@pytest.mark.slow
def test_axe_finds_a_fault_that_was_made(driver: Any, report: Path) -> None:
    show(driver, report)
    driver.execute_script("document.querySelector('button.zoom img').removeAttribute('alt')")
    driver.execute_script("document.querySelector('.note').style.color = '#ccc'")
    found = " ".join(axe_faults(driver))
    assert "button-name" in found or "image-alt" in found
    assert "color-contrast" in found


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_axe_finds_no_serious_fault(
    driver: Any, report: Path, size: tuple[int, int], scheme: str
) -> None:
    with seen_as(driver, *size, scheme, mobile=size == PHONE):
        show(driver, report)
        open_sections(driver)
        assert axe_faults(driver) == []
        driver.execute_script("document.querySelector('button.zoom').click()")
        driver.execute_script("document.querySelector('[data-view=\"compare\"]').click()")
        assert axe_faults(driver) == []
        driver.execute_script("document.querySelector('[data-step=\"close\"]').click()")
        driver.execute_script("document.querySelector('button.trial').click()")
        assert axe_faults(driver) == []


def test_a_phone_scrolls_down_only(driver: Any, report: Path) -> None:
    with seen_as(driver, *PHONE, mobile=True):
        show(driver, report)
        open_sections(driver)
        assert driver.execute_script("return document.documentElement.scrollWidth") == 360
        driver.execute_script("document.querySelector('button.zoom').click()")
        box = "return document.querySelector('#zoom').getBoundingClientRect().toJSON()"
        place = driver.execute_script(box)
        assert place["left"] >= 0 and place["right"] <= 360 and place["bottom"] <= 740
        assert errors(driver) == []


def test_options_in_sentences_are_not_broken(driver: Any, study: Builder) -> None:
    """A browser may break `--from` after its hyphens; in an item of some widths it would."""
    for number in range(7):
        study.trial(number, [0.9, 0.1 + number / 100, 0.9], {"model.encoder_depth": 3})
    failure = TrialFailure(cause="host_out_of_memory", message="x")
    study.trial(7, [], state="failed", failure=failure)
    page = write_report(study.paths, study.data_root, images=False)
    lines = """
      const option = document.querySelector('#caveats .option'), numbers = new Set();
      option.style.whiteSpace = arguments[0];
      for (let width = 200; width < 320; width++) {
        option.parentElement.style.width = `${width}px`;
        numbers.add(option.getClientRects().length);
      }
      option.parentElement.style.width = '';
      return [...numbers].sort()"""
    with seen_as(driver, *PHONE, mobile=True):
        show(driver, page)
        assert driver.execute_script(
            "return [...document.querySelectorAll('.option')].map((option) => option.textContent)"
        ) == ["--from", "--workers", "--per-gpu"]
        assert driver.execute_script(lines, "normal") == [1, 2], "without the rule it breaks"
        assert driver.execute_script(lines, "") == [1]
        assert driver.execute_script("return document.documentElement.scrollWidth") == 360


def test_headings_go_down_one_by_one(driver: Any, report: Path) -> None:
    show(driver, report)
    levels = driver.execute_script(
        "return [...document.querySelectorAll('h1,h2,h3,h4')].map((h) => Number(h.tagName[1]))"
    )
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def press(driver: Any, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    for key in keys:
        ActionChains(driver).send_keys(key).perform()


def focused(driver: Any) -> str:
    text: str = driver.execute_script("return document.activeElement.textContent.trim()")
    return text


def test_the_first_tab_skips_to_the_results(driver: Any, report: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    show(driver, report)
    press(driver, Keys.TAB)
    assert focused(driver) == "Skip to the results"
    left = "return document.activeElement.getBoundingClientRect().left"
    assert driver.execute_script(left) >= 0
    press(driver, Keys.ENTER)
    assert driver.execute_script("return document.activeElement.id") == "main"


def test_a_table_sorts_by_keyboard(driver: Any, report: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    show(driver, report)
    driver.execute_script("document.querySelector('#leaderboard .scroll').focus()")
    press(driver, Keys.TAB, Keys.TAB)
    assert focused(driver) == "trial"
    press(driver, Keys.ENTER)
    column = """return [...document.querySelectorAll('#leaderboard table')[0].tBodies[0].rows].map(
                  (row) => row.children[1].textContent)"""
    order = "return document.activeElement.parentElement.getAttribute('aria-sort')"
    assert driver.execute_script(column) == ["0", "1", "3", "4", "6"]
    assert driver.execute_script(order) == "ascending"
    press(driver, Keys.SPACE)
    assert driver.execute_script(column) == ["6", "4", "3", "1", "0"]
    assert driver.execute_script(order) == "descending"


def zoomed(driver: Any) -> str | None:
    """What the dialog shows; None where it is closed."""
    text: str | None = driver.execute_script(
        """const dialog = document.getElementById('zoom');
           return dialog.open ? dialog.querySelector('img').alt : null"""
    )
    return text


def test_pictures_are_enlarged_by_keyboard_and_focus_returns(driver: Any, report: Path) -> None:
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    show(driver, report)
    # Pictures in closed details are not stepped through.
    texts = driver.execute_script(
        """return [...document.querySelectorAll('button.zoom img')].filter(
             (image) => !image.closest('details:not([open])')).map((image) => image.alt)"""
    )
    assert len(texts) == 6 * 4
    driver.execute_script("document.querySelectorAll('button.zoom')[1].focus()")
    small = driver.execute_script("return document.activeElement.firstChild.clientWidth")
    assert zoomed(driver) is None
    press(driver, Keys.ENTER)
    assert (
        zoomed(driver)
        == texts[1]
        == driver.execute_script("return document.getElementById('zoom-caption').textContent")
    )
    image = "return document.querySelector('#zoom img').clientWidth"
    assert driver.execute_script(image) > 2 * small
    press(driver, Keys.ESCAPE)
    assert zoomed(driver) is None
    focus = """return [...document.querySelectorAll('button.zoom')].filter(
                 (one) => !one.closest('details:not([open])')).indexOf(document.activeElement)"""
    # The page moves the focus in the dialog's event `close`, which comes a little later.
    wait = WebDriverWait(driver, 10)
    wait.until(lambda page: page.execute_script(focus) == 1)
    press(driver, Keys.ENTER, Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    assert zoomed(driver) == texts[3]
    press(driver, Keys.ARROW_LEFT)
    assert zoomed(driver) == texts[2]
    press(driver, Keys.HOME, Keys.ARROW_LEFT)
    assert zoomed(driver) == texts[-1]
    press(driver, Keys.ESCAPE)
    wait.until(lambda page: page.execute_script(focus) == len(texts) - 1)
    assert errors(driver) == []


def test_pictures_are_enlarged_by_clicks(driver: Any, report: Path) -> None:
    from selenium.webdriver.common.by import By

    show(driver, report)
    first, second = driver.find_elements(By.CSS_SELECTOR, "button.zoom img")[:2]
    texts = first.get_attribute("alt"), second.get_attribute("alt")
    to_it = "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})"
    driver.execute_script(to_it, first)
    first.click()
    assert zoomed(driver) == texts[0]
    driver.find_element(By.CSS_SELECTOR, "#zoom [data-step='1']").click()
    assert zoomed(driver) == texts[1]
    driver.find_element(By.CSS_SELECTOR, "#zoom [data-step='close']").click()
    assert zoomed(driver) is None


def test_paper_is_light_opened_and_not_wider_than_the_page(driver: Any, report: Path) -> None:
    with seen_as(driver, *DESKTOP, "dark"):
        show(driver, report)
        driver.execute_script("dispatchEvent(new Event('beforeprint'))")
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        size = {"width": 700, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        closed = "return document.querySelectorAll('details:not([open])').length"
        assert driver.execute_script(closed) == 0
        ground = "return getComputedStyle(document.body).backgroundColor"
        assert driver.execute_script(ground) == "rgb(255, 255, 255)"
        widest = """const drawn = document.querySelectorAll('.main-svg, #gallery img');
                    return Math.max(...[...drawn].map((o) => o.getBoundingClientRect().right))"""
        assert 300 < driver.execute_script(widest) <= 700
        driver.execute_script("dispatchEvent(new Event('afterprint'))")
        assert driver.execute_script(closed) > 0
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.slow
def test_it_prints(driver: Any, report: Path) -> None:
    show(driver, report)
    pdf = base64.b64decode(driver.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pdf.startswith(b"%PDF") and len(pdf) > 100_000
    assert errors(driver) == []


def test_motion_is_left_out_where_it_is_not_wanted(driver: Any, report: Path) -> None:
    show(driver, report)
    behaviour = "return getComputedStyle(document.documentElement).scrollBehavior"
    for value, expected in {"no-preference": "smooth", "reduce": "auto"}.items():
        feature = {"features": [{"name": "prefers-reduced-motion", "value": value}]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
        assert driver.execute_script(behaviour) == expected
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


BAD = (
    "<img src=x onerror=window.bad=1><script>window.bad=2</script>\"'><a href=javascript:bad>x</a>"
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Markup in question, file names, errors, labels, parameters, devices and versions."""
    study = Builder(tmp_path_factory.mktemp("hostile"), config={"question": BAD})
    file_name = "images/<img src=x onerror=window.bad=3>.png"
    rows = []
    for row in study.rows:
        if row.role == "val":
            name = file_name.replace("bad=3", f"bad={row.row}")
            (study.data_root / row.image).rename(study.data_root / name)
            row = SplitRow(**{**vars(row), "image": name})
        rows.append(row)
    study.rows = rows
    write_split(study.paths.split_csv, rows)
    shape = {
        "name": "CategoricalDistribution",
        "attributes": {"choices": [f"{BAD}{i}" for i in range(3)]},
    }
    for number in range(6):
        study.trial(
            number,
            [0.5 + 0.01 * number],
            {"model.options.note": f"{BAD}{number % 3}"},
            distributions={"model.options.note": shape},
            labels={BAD: BAD},
            device=BAD,
            versions={BAD: BAD},
            skill=0.8 if number < 2 else None,
        )
    study.trial(6, [], state="failed", failure=TrialFailure(cause=BAD, message=BAD))
    assert cv2.imread(str(study.data_root / rows[1].image)) is not None
    return write_report(study.paths, study.data_root)


def test_hostile_texts_make_no_element_and_run_nothing(driver: Any, hostile: Path) -> None:
    asked = show(driver, hostile)
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [hostile.as_uri()]
    open_sections(driver)
    text = driver.execute_script("return document.body.innerText")
    assert text.count("onerror=window.bad=1") > 8 and "onerror=window.bad=2>.png" in text
    made = """return [...document.querySelectorAll('*')].filter((one) =>
        [...one.attributes].some((a) => a.name.startsWith('on'))
        || (one.matches('img') && !one.src.startsWith('data:'))
        || (one.matches('a[href]') && !one.getAttribute('href').startsWith('#'))
        || one.matches('svg image, iframe, object, embed, base, form')).map((o) => o.outerHTML)"""
    assert driver.execute_script(made) == []
    assert driver.execute_script("return document.scripts.length") == 6
    for button in (".copy", "#leaderboard th button", "button.trial", "button.zoom"):
        driver.execute_script(f"document.querySelector({button!r}).click()")
    assert zoomed(driver) is not None and "window.bad" in str(zoomed(driver))
    assert driver.execute_script(made) == []
    assert driver.execute_script("return window.bad") is None
    from selenium.common.exceptions import NoAlertPresentException

    with pytest.raises(NoAlertPresentException):
        _ = driver.switch_to.alert.text
    assert errors(driver) == []
