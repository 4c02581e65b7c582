from pathlib import Path

import pytest

from harness.report.tables import StudyTables, load_study
from tests.report.studies import Builder, a_study


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """The study of `a_study`; for tests that only read."""
    return a_study(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="session")
def tables(shared: Builder) -> StudyTables:
    return load_study(shared.paths)


@pytest.fixture
def study(tmp_path: Path) -> Builder:
    """A study without trials, for the test to fill."""
    return Builder(tmp_path)
