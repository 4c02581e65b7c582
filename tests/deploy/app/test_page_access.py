"""The page for everyone: keyboard, phone, dark, assistive technology."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from harness.deploy.app.served_model import SampleImage
from tests.data.make import encode
from tests.deploy.app.paging import give_files, open_page, settle_frame, text_of, wait
from tests.deploy.app.serving import MULTILABEL, ChannelModels, RunningApp, running_app
from tests.report.browsing import BROWSER, errors, seen_as
from tests.report.test_page_access import axe_faults

pytestmark = BROWSER

PHONE, DESKTOP = (360, 740), (1280, 900)
IMAGE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
PICTURE = encode(".png", IMAGE)
SAMPLES = [SampleImage(IMAGE, (IMAGE[..., 0] > 99).astype(np.uint8))] * 3


@pytest.fixture(scope="module")
def app() -> Iterator[RunningApp]:
    with running_app(ChannelModels(clean={"min_size": 2}, samples=SAMPLES, compared="b")) as app:
        yield app


@pytest.fixture(scope="module")
def labels() -> Iterator[RunningApp]:
    with running_app(ChannelModels(MULTILABEL)) as app:
        yield app


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_axe_finds_no_serious_fault(
    driver: Any, app: RunningApp, labels: RunningApp, size: tuple[int, int], scheme: str
) -> None:
    with seen_as(driver, *size, scheme, mobile=size == PHONE):
        open_page(driver, app)
        assert axe_faults(driver) == []
        driver.execute_script("document.querySelector('[data-sample]').click()")
        wait(driver, "!document.querySelector('#result').hidden")
        driver.execute_script("document.querySelector('[value=probability]').click()")
        give_files(driver, [("bad.png", b"no image")])
        give_files(driver, [("a.png", PICTURE), ("b.png", b"no image")])
        wait(driver, "document.querySelector('#batch-link').checkVisibility()")
        assert axe_faults(driver) == []
        open_page(driver, labels)
        give_files(driver, [("a.png", PICTURE)])
        assert axe_faults(driver) == []


@pytest.mark.parametrize("kind", ["two", "labels"])
def test_a_phone_scrolls_down_only(
    driver: Any, app: RunningApp, labels: RunningApp, kind: str
) -> None:
    with seen_as(driver, *PHONE, mobile=True):
        open_page(driver, app if kind == "two" else labels)
        give_files(driver, [("a long name without any space " * 3 + "x" * 90 + ".png", PICTURE)])
        assert driver.execute_script("return document.documentElement.scrollWidth") == 360
        assert errors(driver) == []


def test_dark_mode_is_dark(driver: Any, app: RunningApp) -> None:
    with seen_as(driver, *DESKTOP, "dark"):
        open_page(driver, app)
        ground = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert ground == "rgb(20, 23, 26)"


def test_headings_go_down_one_by_one(driver: Any, app: RunningApp) -> None:
    open_page(driver, app)
    give_files(driver, [("a.png", PICTURE)])
    levels = driver.execute_script(
        "return [...document.querySelectorAll('h1,h2,h3')].filter((h) => h.checkVisibility())"
        ".map((h) => Number(h.tagName[1]))"
    )
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def press(driver: Any, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    for key in keys:
        ActionChains(driver).send_keys(key).perform()


def active(driver: Any, expression: str) -> Any:
    return driver.execute_script(f"return document.activeElement.{expression}")


def test_everything_works_by_keyboard(driver: Any, app: RunningApp) -> None:
    from selenium.webdriver.common.keys import Keys

    open_page(driver, app)
    press(driver, Keys.TAB)
    assert active(driver, "textContent") == "Skip to the image"
    press(driver, Keys.TAB)
    assert active(driver, "id") == "file"
    press(driver, Keys.TAB, Keys.TAB)
    assert active(driver, "dataset.sample") == "1"
    press(driver, Keys.ENTER)
    wait(driver, "!document.querySelector('#result').hidden")
    assert active(driver, "getAttribute('aria-pressed')") == "true"
    press(driver, Keys.TAB, Keys.TAB)
    assert active(driver, "value") == "overlay"
    press(driver, Keys.ARROW_RIGHT)
    settle_frame(driver)
    assert active(driver, "value") == "mask"
    label = "document.querySelector('[data-side=main] .shown').getAttribute('aria-label')"
    assert driver.execute_script(f"return {label}").startswith("mask of images/sample-1.png")
    press(driver, Keys.TAB, Keys.ARROW_RIGHT)
    settle_frame(driver)
    assert text_of(driver, "#opacity-value") == "50 %"
    reached = []
    for _ in range(14):
        press(driver, Keys.TAB)
        reached.append(active(driver, "id") or active(driver, "className"))
    expected = [
        *("clean", "truth", "model", "compare"),
        *("threshold-main-0", "save-mask", "save-overlay"),
        *("threshold-other-0", "save-mask", "save-overlay"),
    ]
    assert reached[: len(expected)] == expected


def test_focus_is_visible(driver: Any, app: RunningApp) -> None:
    from selenium.webdriver.common.keys import Keys

    open_page(driver, app)
    give_files(driver, [("a.png", PICTURE)])
    driver.execute_script("document.querySelector('[data-sample=\"2\"]').focus()")
    outline = "getComputedStyle(arguments[0]).outlineStyle"
    press(driver, Keys.TAB)
    radio = driver.switch_to.active_element
    label = driver.execute_script("return arguments[0].parentElement", radio)
    assert driver.execute_script(f"return {outline}", label) == "solid"
    press(driver, Keys.TAB)
    assert driver.execute_script(f"return {outline}", driver.switch_to.active_element) == "solid"


def test_results_and_errors_are_announced(driver: Any, app: RunningApp) -> None:
    open_page(driver, app)
    roles = "[...document.querySelectorAll('#status, #error')].map((e) => e.getAttribute('role'))"
    assert sorted(driver.execute_script(f"return {roles}")) == ["alert", "status"]
    give_files(driver, [("a.png", PICTURE)])
    assert text_of(driver, "#status").startswith("a.png: polyp ")
    give_files(driver, [("b.png", b"no image")])
    assert text_of(driver, "#error").startswith("b.png: not a JPEG")
