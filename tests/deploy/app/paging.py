"""What tests of the page ask of the browser."""

import base64
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.deploy.app.serving import RunningApp


def wait(driver: Any, condition: str) -> None:
    """Wait until an expression of JavaScript is true."""
    from selenium.webdriver.support.ui import WebDriverWait

    script = f"return Boolean({condition})"
    WebDriverWait(driver, 30, 0.05).until(lambda driver: driver.execute_script(script))


def open_page(driver: Any, app: RunningApp) -> None:
    driver.get("about:blank")
    driver.get_log("performance")
    driver.get_log("browser")
    driver.get(app.url)
    wait(driver, "document.documentElement.dataset.ready === 'yes'")


def requested(driver: Any) -> list[str]:
    """Addresses that the page asked for since it was opened."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


def give_files(
    driver: Any, files: Sequence[tuple[str, bytes]], event: str = "drop", *, settle: bool = True
) -> None:
    """Drop or paste files on the page, and wait for the result."""
    encoded = [(name, base64.b64encode(data).decode()) for name, data in files]
    driver.execute_script(
        """const transfer = new DataTransfer();
           for (const [name, data] of arguments[0]) {
             const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
             transfer.items.add(new File([bytes], name));
           }
           const options = { bubbles: true, cancelable: true };
           document.body.dispatchEvent(arguments[1] === 'drop'
             ? new DragEvent('drop', { ...options, dataTransfer: transfer })
             : new ClipboardEvent('paste', { ...options, clipboardData: transfer }))""",
        encoded,
        event,
    )
    if settle:
        wait(driver, "!document.body.classList.contains('busy')")
        settle_frame(driver)


def settle_frame(driver: Any) -> None:
    """Wait until a change of a control is drawn."""
    driver.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))"
    )


def show_view(driver: Any, view: str) -> None:
    driver.execute_script(f"document.querySelector('[name=view][value={view}]').click()")
    settle_frame(driver)


def pixels(driver: Any, side: str = "main") -> NDArray[np.uint8]:
    """RGB (H, W, 3) of the canvas that a side shows."""
    values, height, width = driver.execute_script(
        """const canvas = document.querySelector(`[data-side=${arguments[0]}] .shown`);
           const { data, height, width } = canvas.getContext('2d')
             .getImageData(0, 0, canvas.width, canvas.height);
           return [[...data], height, width]""",
        side,
    )
    return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]


def text_of(driver: Any, selector: str) -> str:
    text: str = driver.execute_script(
        "return document.querySelector(arguments[0]).innerText", selector
    )
    return text


def downloaded(folder: Path, name: str) -> bytes:
    """Bytes of a download once it is complete; the file is removed."""
    path = folder / name
    until = time.monotonic() + 15
    while time.monotonic() < until:
        if path.exists() and path.stat().st_size:
            data = path.read_bytes()
            path.unlink()
            return data
        time.sleep(0.05)
    raise AssertionError(f"{name} was not downloaded; there are {list(folder.iterdir())}")
