"""Confirmations run by the real controller; trainings are played from a script."""

from pathlib import Path

import mlflow
import optuna
import pytest
from mlflow.entities import LoggedModel

import harness
from harness.api import confirm
from harness.core.errors import ConfigError, UserError
from harness.core.records import read_records
from harness.core.study_lock import hold_study_lock
from harness.data.splits.splits import read_split
from harness.evaluation.confirm.plan import read_confirmation_plan
from harness.search.run import run
from harness.search.storage.storage import open_storage
from harness.tracking import sync
from tests.conftest import TINY
from tests.evaluation.playing import Killed, Player

pytestmark = pytest.mark.slow


def play(monkeypatch: pytest.MonkeyPatch, deadly: int | None = None) -> list[Player]:
    """Every executor from now on plays; those that are made, in order."""
    made: list[Player] = []

    def make(*_: object, **__: object) -> Player:
        made.append(Player(deadly))
        return made[-1]

    monkeypatch.setattr(run, "LocalExecutor", make)
    return made


class NoMirror:
    """For tests that are not about MLflow, which takes seconds."""

    def __init__(self, *_: object) -> None: ...

    def note(self, number: int) -> None: ...

    def check(self) -> None: ...

    def finish(self, timeout_s: float) -> str:
        return ""


def searched(
    polyps: Path, monkeypatch: pytest.MonkeyPatch, trials: int = 4, *, mirrored: bool = False
) -> harness.Study:
    """A study of played trials."""
    play(monkeypatch)
    if not mirrored:
        monkeypatch.setattr(run, "Mirror", NoMirror)
        monkeypatch.setattr(confirm, "mirror_confirmation", lambda *_, **__: None)
    return harness.run_study("s", space=TINY, data=polyps, trials=trials, pruner="none")


def test_killed_and_continued_it_comes_to_the_same(
    workspace: Path, polyps: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study = searched(polyps, monkeypatch)
    for deadly in (1, 2):
        play(monkeypatch, deadly)
        with pytest.raises(Killed):
            study.confirm(top=2, seeds=3)
    states = [record.state for record in read_records(study.paths.confirm)]
    assert states == ["complete"] * 3 + ["running"]
    unfinished = study.confirmation
    assert unfinished is not None and "harness confirm --study s" in unfinished.sentence
    made = play(monkeypatch)
    found = study.confirm()
    assert [(task.number, task.attempt) for task in made[0].started] == [(3, 2), (4, 1), (5, 1)]

    other = tmp_path / "undisturbed"
    other.mkdir()
    play(monkeypatch)
    same = harness.run_study("s", space=TINY, data=polyps, trials=4, pruner="none", workspace=other)
    whole = same.confirm(top=2, seeds=3)
    assert [(r.trial, r.values) for r in found.rows] == [(r.trial, r.values) for r in whole.rows]
    assert study.paths.confirm.ranking_csv.read_text() == same.paths.confirm.ranking_csv.read_text()
    assert found.decision == whole.decision


def test_search_and_confirmation_go_on_beside_each_other(
    workspace: Path,
    polyps: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = searched(polyps, monkeypatch)
    assert [row.trial for row in study.confirm(top=2, seeds=2).rows]
    before = read_records(study.paths.confirm)
    more = harness.run_study("s", data=polyps, trials=6)
    assert len(more.trials) == 6, "confirming trials do not count"
    grown = study.confirm(top=3, seeds=3)
    assert len(grown.rows) == 3 and grown.ended == grown.wanted == 9
    after = read_records(study.paths.confirm)
    assert after[:4] == before
    index = optuna.load_study(study_name="s.confirm", storage=open_storage(workspace / "optuna.db"))
    assert [trial.value for trial in index.trials] == [record.value for record in after]
    made = play(monkeypatch)
    assert study.confirm() == grown
    assert made[0].started == []
    assert "all 9 rows of the space are trained: nothing to do" in capsys.readouterr().err


def value_of(model: LoggedModel, key: str) -> float:
    (value,) = [metric.value for metric in model.metrics or [] if metric.key == key]
    return float(value)


def test_mlflow_holds_it_below_the_study_and_names_a_champion(
    workspace: Path, polyps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = searched(polyps, monkeypatch, trials=2, mirrored=True)
    found = study.confirm(top=2, seeds=2)
    study.sync()
    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    parent = next(run for run in runs if run.data.tags["harness.role"] == "study")
    confirmed = {
        run.data.tags["harness.trial"]: run
        for run in runs
        if run.data.tags["harness.role"] == "confirm"
    }
    assert set(confirmed) == {f"s.confirm/{number}" for number in range(4)}
    assert len(runs) == 1 + 2 + 4
    assert {run.data.tags["mlflow.parentRunId"] for run in confirmed.values()} == {
        parent.info.run_id
    }
    assert parent.data.metrics["confirm/mean"] == found.choice.mean  # type: ignore[union-attr]
    files = {item.path for item in client.list_artifacts(parent.info.run_id, "confirm")}
    assert {"confirm/confirm.yaml", "confirm/ranking.csv", "confirm/trials.csv"} <= files

    version = client.get_model_version_by_alias("s", "champion")
    assert found.weights is not None
    assert version.run_id == confirmed[f"s.confirm/{found.weights.number}"].info.run_id
    held = Path(str(version.source).removeprefix("file://"))
    assert {path.name for path in held.iterdir()} == {"config.json", "model.safetensors"}
    weights = study.paths.confirm.trial(found.weights.number).model / "model.safetensors"
    assert (held / "model.safetensors").read_bytes() == weights.read_bytes()
    assert len(client.search_model_versions("name = 's'")) == 1, "sync adds none"

    models = client.search_logged_models([experiment.experiment_id])
    means = {f"s/{row.trial}": row.mean for row in found.rows}
    assert len(models) == len(means) == 2, "sync adds none"
    assert {m.tags["harness.trial"]: value_of(m, "confirm/mean") for m in models} == means
    digests = {
        entry.dataset.digest for run in confirmed.values() for entry in run.inputs.dataset_inputs
    }
    assert {metric.dataset_digest for m in models for metric in m.metrics} == digests
    assert [m.tags["harness.trial"] for m in models if m.tags["harness.choice"] == "yes"] == [
        f"s/{found.choice.trial}"  # type: ignore[union-attr]
    ]


def test_mlflow_that_fails_does_not_fail_it(
    workspace: Path,
    polyps: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = searched(polyps, monkeypatch, trials=1, mirrored=True)

    def refuse(*_: object) -> None:
        raise RuntimeError("no registry")

    with monkeypatch.context() as broken:
        broken.setattr(sync.ConfirmationWriter, "log_champion", refuse)
        assert study.confirm(top=1, seeds=2).decision is not None
    said = capsys.readouterr().err
    message = "is not in MLflow (RuntimeError: no registry); send it with: harness sync --study s"
    assert message in said
    study.sync()
    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    assert client.get_model_version_by_alias("s", "champion").version == 1


def test_a_model_of_that_name_that_is_another_study_s_is_left_alone(
    workspace: Path, polyps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = searched(polyps, monkeypatch, trials=1, mirrored=True)
    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    client.create_registered_model("s")
    study.confirm(top=1, seeds=2)
    assert client.search_model_versions("name = 's'") == []
    ours = f"s-{str(study.tables.config.id)[:8]}"
    assert client.get_model_version_by_alias(ours, "champion").version == 1


def test_folds_take_every_train_and_val_image_once_and_keep_groups(
    workspace: Path, polyps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = searched(polyps, monkeypatch, trials=2)
    made = play(monkeypatch)
    found = study.confirm(top=2, folds=4)
    assert (found.kind, found.parts, found.ended) == ("fold", 4, 8)
    whole = read_split(study.paths.split_csv)
    sealed = [row for row in whole if row.role == "test"]
    validated: list[str] = []
    for fold in range(4):
        split = read_split(study.paths.confirm.split_for({"fold": str(fold)}))
        assert [row for row in split if row.role == "test"] == sealed
        assert [(row.row, row.image) for row in split] == [(row.row, row.image) for row in whole]
        validated += [row.image for row in split if row.role == "val"]
        roles = {(row.group, row.role) for row in split}
        assert len(roles) == len({row.group for row in split})
    assert sorted(validated) == sorted(row.image for row in whole if row.role != "test")
    files = [task.split_csv.name for task in made[0].started]
    assert files == [f"split-{fold}.csv" for fold in range(4) for _ in range(2)]


def test_it_is_refused_with_a_line_and_nothing_is_written(
    workspace: Path, polyps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = searched(polyps, monkeypatch, trials=1)
    with hold_study_lock(study.paths), pytest.raises(UserError, match="already running"):
        study.confirm()
    with pytest.raises(ConfigError, match="give only one of them"):
        study.confirm(seeds=2, folds=2)
    assert not study.paths.confirm.root.exists()
    study.confirm(top=1, seeds=2)
    plan = read_confirmation_plan(study.paths)
    path = study.paths.confirm.confirm_yaml
    text = path.read_text()
    path.write_text(text.replace("part: 0", "part: 7"))
    with pytest.raises(
        UserError, match="run 0 differs from the trial that was trained; restore the file"
    ):
        study.confirm()
    path.write_text(text)
    assert read_confirmation_plan(study.paths) == plan


def test_moved_away_it_begins_anew(
    workspace: Path,
    polyps: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = searched(polyps, monkeypatch, trials=1, mirrored=True)
    study.confirm(top=1, seeds=2)
    study.paths.confirm.root.rename(study.paths.root / "confirm-old")
    found = study.confirm(top=1, folds=2)
    assert (found.kind, found.ended) == ("fold", 2)
    assert (
        "study s.confirm was removed from the Optuna database, as its folder"
        in capsys.readouterr().err
    )
    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None
    wanted = "tags.`harness.trial` = 's.confirm/0'"
    runs = client.search_runs([experiment.experiment_id], wanted)
    assert len(runs) == 2, "the runs of both confirmations stay apart"
