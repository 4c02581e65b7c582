from pathlib import Path

import pytest

from tests.report.studies import Builder


@pytest.fixture
def study(tmp_path: Path) -> Builder:
    """A study without trials, for the test to fill."""
    return Builder(tmp_path, "old")
