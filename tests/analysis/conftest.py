from pathlib import Path

import pytest

from benchmarks.big_report import generate


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the study `big`: 90 trials of 8 epochs, whose true effects are known."""
    root = tmp_path_factory.mktemp("generated")
    generate(root / "studies" / "big", 90, 8)
    return root
