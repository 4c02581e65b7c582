from pathlib import Path

import mlflow
import pytest

from tests.report.studies import Builder


@pytest.fixture
def study(tmp_path: Path) -> Builder:
    """A study without trials, for the test to fill."""
    return Builder(tmp_path, "old")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, made once: that takes more than a second."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path
