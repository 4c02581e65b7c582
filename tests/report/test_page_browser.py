"""The page in a real browser without a network. Needs Chromium and its driver; skips without."""

from pathlib import Path
from typing import Any

import pytest

from tests.report.browsing import BROWSER, errors, open_sections, seen_as, show

pytestmark = BROWSER


def test_the_report_asks_for_nothing_and_draws_everything(driver: Any, report: Path) -> None:
    asked = [url for url in show(driver, report) if not url.startswith(("data:", "blob:"))]
    assert asked == [report.as_uri()]
    assert errors(driver) == []
    drawn = "return document.querySelectorAll('[data-drawn]').length"
    assert driver.execute_script(drawn) == 1, "figures of folded sections wait"
    open_sections(driver)
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
    assert len(pictures) == 102
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
    driver.execute_script(click, 10)  # attention: what was not in force stays last, either way
    assert driver.execute_script(column, 10) == ["null", "null", "scse", "–", "–"]
    driver.execute_script(click, 10)
    assert driver.execute_script(column, 10) == ["scse", "null", "null", "–", "–"]
    sorted_by = "return document.querySelectorAll('th[aria-sort]').length"
    assert driver.execute_script(sorted_by) == 1


def test_the_copy_button_answers(driver: Any, report: Path) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    show(driver, report)
    open_sections(driver)
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


@pytest.mark.parametrize(("width", "height"), [(1400, 900), (390, 844)])
def test_the_first_screen_has_question_answer_figure_and_pictures(
    driver: Any, report: Path, width: int, height: int
) -> None:
    with seen_as(driver, width, height, mobile=width < 600):
        show(driver, report)
        tops = driver.execute_script(
            """return ['h1', '.badge', '.headline .main dd', '#result', '.strip img',
                       '[data-figure="0"]'].map((one) =>
                 document.querySelector(one).getBoundingClientRect().top)"""
        )
        assert all(0 <= top < height - 100 for top in tops), tops
        strip = "return document.querySelector('.strip').getBoundingClientRect().bottom"
        assert driver.execute_script(strip) < height


def test_a_click_on_a_point_opens_its_trial(driver: Any, report: Path) -> None:
    show(driver, report)
    driver.execute_script(
        "document.querySelector('[data-figure]').emit('plotly_click', {points: [{customdata: 3}]})"
    )
    parts = """return ['title', 'state', 'settings', 'numbers', 'curve', 'pictures'].map(
                 (name) => document.getElementById(`trial-${name}`).textContent)"""
    title, state, settings, numbers, curve, pictures = driver.execute_script(parts)
    assert (title, state) == ("Trial 3", "complete, rank 1 of 5, best at epoch 4")
    assert "model.archUnet" in settings and "val/dice_loss0.12346" in numbers
    assert curve == "val/dice_loss from 0.5000 to 0.1235 in 4 epochs"
    assert "trial 3 · Dice" in pictures
    images = "return document.querySelectorAll('#trial-pictures img').length"
    assert driver.execute_script(images) == 6
    driver.execute_script("document.getElementById('trial-row').click()")
    row = "return document.activeElement.closest('tr').dataset.trial"
    assert driver.execute_script(row) == "3"
    assert errors(driver) == []


def test_a_number_in_a_table_opens_its_trial(driver: Any, report: Path) -> None:
    show(driver, report)
    driver.execute_script("document.querySelector('tr[data-trial=\"7\"] button.trial').click()")
    state = "return document.getElementById('trial-state').textContent"
    assert driver.execute_script(state) == "pruned"
    none = "return document.getElementById('trial-pictures').textContent"
    assert driver.execute_script(none) == "No picture of this trial is on the page."
    driver.execute_script("document.getElementById('trial-close').click()")
    assert driver.execute_script("return document.getElementById('trial').open") is False


def test_hovering_shows_the_configuration(driver: Any, report: Path) -> None:
    show(driver, report)
    texts = driver.execute_script(
        """const traces = document.querySelector('[data-figure="0"]').data;
           return traces.find((trace) => trace.name === 'complete').hovertext"""
    )
    assert "model.arch Unet" in texts[0] and "optim.lr 0.001" in texts[0]


def test_a_link_opens_a_folded_section(driver: Any, report: Path) -> None:
    show(driver, report)
    is_open = "return document.querySelector('#curves details').open"
    assert driver.execute_script(is_open) is False
    driver.execute_script("document.querySelector('nav a[href=\"#curves\"]').click()")
    assert driver.execute_script(is_open) is True


def test_the_contents_stay_in_view_on_a_wide_screen(driver: Any, report: Path) -> None:
    with seen_as(driver, 1400, 900):
        show(driver, report)
        driver.execute_script("scrollTo({top: 1500, behavior: 'instant'})")
        box = "return document.querySelector('nav').getBoundingClientRect().toJSON()"
        place = driver.execute_script(box)
        assert 0 <= place["top"] < 100 and place["right"] < 300


def test_a_slider_compares_truth_and_prediction(driver: Any, report: Path) -> None:
    show(driver, report)
    driver.execute_script(
        """document.querySelector('#gallery [data-kind="overlay"]').click();
           document.querySelector('#zoom-views [data-view="compare"]').click()"""
    )
    layers = """return [...document.querySelectorAll('#zoom-stage .layer')].map(
                  (one) => one.style.clipPath)"""
    assert driver.execute_script(layers) == ["inset(0px 50% 0px 0px)", "inset(0px 0px 0px 50%)"]
    driver.execute_script(
        """const slider = document.querySelector('#zoom-slide input');
           slider.value = 80;
           slider.dispatchEvent(new Event('input'))"""
    )
    assert driver.execute_script(layers) == ["inset(0px 20% 0px 0px)", "inset(0px 0px 0px 80%)"]
    views = """return [...document.querySelectorAll('#zoom-views button')].map(
                 (one) => one.textContent)"""
    assert driver.execute_script(views) == [
        "True outline",
        "Errors",
        "Truth and prediction",
        "Probability",
        "Image",
        "True mask",
        "Prediction",
    ]
    assert errors(driver) == []
