"""Registration of an exported bundle: for the confirmed choice alone, and never an error."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.core.paths import TrialPaths
from harness.core.study_lock import hold_study_lock
from harness.deploy.champion_bundle import attach_to_champion
from tests.tracking.bundles import write_bundle
from tests.tracking.test_attach_bundle import ConfirmedStudy, study, unsynced

__all__ = ["study", "unsynced"]  # fixtures


class Lines(list[str]):
    """Progress that keeps its lines."""

    def stage(self, text: str) -> None:
        self.append(text)


def export_of(
    study: ConfirmedStudy, bundle: Path, *trials: TrialPaths, **options: str
) -> tuple[str | None, list[str]]:
    """Version and messages, for a deployment of these trials' weights."""
    deployment: Any = SimpleNamespace(
        context=SimpleNamespace(paths=study.paths, tracking_store=study.store),
        weights=tuple(SimpleNamespace(paths=trial) for trial in trials),
    )
    lines: Any = Lines()
    return attach_to_champion(deployment, bundle, lines, **options), list(lines)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


def test_bundle_of_the_confirmed_choice_is_registered(study: ConfirmedStudy, bundle: Path) -> None:
    version, lines = export_of(study, bundle, study.paths.confirm.trial(2))
    assert version == "models:/tiny/2"
    assert lines == ["MLflow: models:/tiny/2 carries the bundle, also as models:/tiny@champion"]
    assert study.champion().version == 2


def test_bundle_of_other_weights_is_not_registered(study: ConfirmedStudy, bundle: Path) -> None:
    confirm = study.paths.confirm
    for trials in (
        [study.paths.trial(2)],
        [confirm.trial(0)],
        [confirm.trial(0), confirm.trial(2)],
    ):
        assert export_of(study, bundle, *trials) == (None, [])
    assert study.versions() == [1]


def test_reduced_precision_is_not_what_was_confirmed(study: ConfirmedStudy, bundle: Path) -> None:
    version, lines = export_of(study, bundle, study.paths.confirm.trial(2), precision="int8")
    assert version is None
    assert lines == ["the bundle is not in MLflow: int8 is not what was confirmed"]
    assert study.versions() == [1]


def test_failure_is_one_line(study: ConfirmedStudy, bundle: Path) -> None:
    (bundle / "model.onnx").write_text("0.1", encoding="utf-8")
    version, (line,) = export_of(study, bundle, study.paths.confirm.trial(2))
    assert version is None
    assert line.startswith("the bundle is not in MLflow: ") and "its hash differs" in line
    assert study.champion().version == 1


def test_running_study_is_left_alone(study: ConfirmedStudy, bundle: Path) -> None:
    with hold_study_lock(study.paths):
        version, lines = export_of(study, bundle, study.paths.confirm.trial(2))
    assert version is None
    assert lines == ["the bundle is not in MLflow: the study is running; export again later"]


def test_database_that_does_not_exist_is_not_created(
    unsynced: ConfirmedStudy, bundle: Path
) -> None:
    assert unsynced.store.database is not None
    unsynced.store.database.unlink()
    assert export_of(unsynced, bundle, unsynced.paths.confirm.trial(2)) == (None, [])
    assert not unsynced.store.database.exists()
