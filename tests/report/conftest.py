from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.report.page.page import write_report
from harness.report.tables.study_tables import StudyTables, load_study_tables
from tests.report.browsing import offline_browser
from tests.report.studies import Builder, a_study


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """The study of `a_study`; for tests that only read."""
    return a_study(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="session")
def tables(shared: Builder) -> StudyTables:
    return load_study_tables(shared.paths)


@pytest.fixture
def study(tmp_path: Path) -> Builder:
    """A study without trials, for the test to fill."""
    return Builder(tmp_path)


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One browser for all tests of pages."""
    with offline_browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of `a_study`."""
    study = a_study(tmp_path_factory.mktemp("browser"))
    return write_report(study.paths, study.data_root)
