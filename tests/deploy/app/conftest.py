from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.browsing import offline_browser


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that the browser downloads into."""
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory, downloads: Path) -> Iterator[Any]:
    """One browser for all tests of the app; it can reach this machine alone."""
    with offline_browser(tmp_path_factory.mktemp("profile"), loopback=True) as driver:
        behaviour = {"behavior": "allow", "downloadPath": str(downloads)}
        driver.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
        yield driver
