"""A browser without a network, and what tests ask of it."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
BROWSER = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="no Chromium or chromedriver"),
]


@contextmanager
def offline_browser(profile: Path, *, loopback: bool = False) -> Iterator[Any]:
    """Chromium that can reach nothing, or this machine alone; `profile` is an empty folder."""
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for word in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        # No name can be looked up.
        f"--host-resolver-rules=MAP * ~NOTFOUND{', EXCLUDE 127.0.0.1' if loopback else ''}",
        "--window-size=1280,1000",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(word)
    service = webdriver.ChromeService(DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    try:
        driver.execute_cdp_cmd("Network.enable", {})
        driver.execute_cdp_cmd(
            "Network.emulateNetworkConditions",
            {"offline": not loopback, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
        )
        yield driver
    finally:
        driver.quit()


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


def open_sections(driver: Any) -> None:
    """Open everything that is folded, and wait until the figures in it are drawn."""
    from selenium.webdriver.support.ui import WebDriverWait

    driver.execute_script("document.querySelectorAll('details').forEach((d) => d.open = true)")
    pending = "return document.querySelectorAll('[data-figure]:not(:has(.main-svg))').length"
    WebDriverWait(driver, 60).until(lambda driver: not driver.execute_script(pending))


def errors(driver: Any) -> list[str]:
    return [entry["message"] for entry in driver.get_log("browser")]


@contextmanager
def seen_as(
    driver: Any, width: int, height: int, scheme: str = "light", *, mobile: bool = False
) -> Iterator[None]:
    """A window of that size, in CSS pixels, with a preference for light or dark."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
    feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
    try:
        yield
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
