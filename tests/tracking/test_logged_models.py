"""LoggedModels of confirmed configurations, in a real SQLite store."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import pytest
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModel, Param, Run
from mlflow.exceptions import MlflowException

from harness.tracking.fields import ConfirmedEntry
from harness.tracking.logged_models import ConfiguredModels
from tests.tracking.test_mirror import around

VALIDATION = DatasetInput(
    Dataset("polyps", "0123456789abcdef", "local", "{}"),
    [InputTag("mlflow.data.context", "train and val")],
)
METRICS = {"confirm/mean": 0.25, "confirm/low": 0.125, "confirm/own_dice": 0.75}
ENTRY = ConfirmedEntry(2, 7, "better", True, 3, METRICS, "2026-11-20T10:03:00.000+00:00")
ENDED_MS = 1_795_168_980_000  # date -d 2026-11-20T10:03:00Z +%s
WRITES = (
    "create_logged_model",
    "log_model_params",
    "log_outputs",
    "log_inputs",
    "log_batch",
    "set_logged_model_tags",
    "finalize_logged_model",
)


class ModelStore(NamedTuple):
    client: mlflow.MlflowClient
    experiment: str
    run_id: str

    @property
    def run(self) -> Run:
        return self.client.get_run(self.run_id)

    def models(self, confirmation: str = "c1") -> ConfiguredModels:
        return ConfiguredModels(self.client, self.experiment, "s.1", confirmation)

    def copy(self, entry: ConfirmedEntry = ENTRY) -> None:
        self.models().copy(entry, self.run, VALIDATION)

    def all(self) -> list[LoggedModel]:
        return list(self.client.search_logged_models([self.experiment]))


@pytest.fixture
def store(tmp_path: Path, empty_database: Path) -> ModelStore:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("s.1", artifact_location=(tmp_path / "mlruns").as_uri())
    run = client.create_run(experiment, run_name="confirm 0002")
    params = [Param("model.arch", "Unet"), Param("train.seed", "5")]
    client.log_batch(run.info.run_id, params=params)
    client.set_terminated(run.info.run_id)
    return ModelStore(client, experiment, run.info.run_id)


def assert_complete(store: ModelStore) -> LoggedModel:
    """One model with everything once."""
    (model,) = store.all()
    assert (model.name, model.model_type, model.status) == ("trial 7", "segmentation", "READY")
    assert model.source_run_id == store.run_id
    assert model.params == {"model.arch": "Unet"}
    assert model.tags == {
        "harness.trial": "s.1/7",
        "harness.confirmation": "c1",
        "harness.verdict": "better",
        "harness.choice": "yes",
        "harness.runs": "3",
    }
    linked = [
        (m.key, m.value, m.timestamp, m.dataset_name, m.dataset_digest) for m in model.metrics or []
    ]
    assert sorted(linked) == sorted(
        (key, value, ENDED_MS, "polyps", "0123456789abcdef") for key, value in METRICS.items()
    )
    run = store.run
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    assert [entry.dataset.name for entry in run.inputs.dataset_inputs] == ["polyps"]
    assert run.data.metrics == METRICS
    return model


def test_configuration_becomes_a_model_whose_metrics_name_the_data_set(store: ModelStore) -> None:
    store.copy()
    model = assert_complete(store)
    named = [{"dataset_name": "polyps", "dataset_digest": "0123456789abcdef"}]
    better = store.client.search_logged_models(
        [store.experiment], "metrics.`confirm/mean` < 0.3", datasets=named
    )
    assert [found.model_id for found in better] == [model.model_id]


def test_copying_again_adds_nothing(store: ModelStore) -> None:
    store.copy()
    before = assert_complete(store)
    store.copy()
    assert assert_complete(store).model_id == before.model_id


@pytest.mark.parametrize("performed", [True, False])
def test_killed_at_any_call_and_repeated_doubles_nothing(
    store: ModelStore, performed: bool
) -> None:
    """The k-th life ends in its k-th writing call, after or before that call has acted."""

    class KilledError(BaseException):
        pass

    for life in range(1, 20):
        left = [life]

        def call(real: Callable[[], Any], left: list[int] = left) -> Any:
            left[0] -= 1
            if left[0] == 0 and not performed:
                raise KilledError
            result = real()
            if left[0] == 0:
                raise KilledError
            return result

        with pytest.MonkeyPatch.context() as patch:
            around(patch, WRITES, call)
            try:
                store.copy()
                break
            except KilledError:
                pass
    assert 2 < life < 19
    assert_complete(store)


def test_model_that_a_lost_answer_has_doubled_is_removed(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(real: Callable[[], Any]) -> Any:
        real()
        real()
        raise MlflowException("API request failed with timeout exception")

    with monkeypatch.context() as patch:
        around(patch, ("create_logged_model",), call)
        with pytest.raises(MlflowException, match="timeout"):
            store.copy()
    assert len(store.all()) == 2
    store.copy()
    assert_complete(store)


def test_deleted_model_is_created_again(store: ModelStore) -> None:
    store.copy()
    (before,) = store.all()
    store.client.delete_logged_model(before.model_id)
    store.copy()
    (after,) = store.all()
    assert after.model_id != before.model_id
    assert {m.key: m.value for m in after.metrics or []} == METRICS


def latest(store: ModelStore, key: str) -> tuple[float, list[tuple[int, float]]]:
    """Value that the run shows, and its history as milliseconds after the end and value."""
    history = store.client.get_metric_history(store.run_id, key)
    return store.run.data.metrics[key], [(m.timestamp - ENDED_MS, m.value) for m in history]


def test_extended_confirmation_replaces_its_model(store: ModelStore) -> None:
    """MLflow's pages show the first value of a model's metric, and the last one of a run's."""
    store.copy()
    longer = replace(
        ENTRY,
        verdict="tied",
        is_choice=False,
        n_runs=5,
        metrics=METRICS | {"confirm/mean": 0.125},
        ended_at="2026-11-21T10:03:00.000+00:00",
    )
    for _ in range(2):
        store.copy(longer)
    (model,) = store.all()
    assert {m.key: m.value for m in model.metrics or []} == longer.metrics
    assert len(model.metrics or []) == 3
    result = {key: model.tags[f"harness.{key}"] for key in ("verdict", "choice", "runs")}
    assert result == {"verdict": "tied", "choice": "no", "runs": "5"}
    day = 24 * 3600 * 1000
    assert latest(store, "confirm/mean") == (0.125, [(0, 0.25), (day, 0.125)])


def test_value_corrected_without_a_new_trial_is_the_latest_of_the_run(store: ModelStore) -> None:
    """Of two values of one time MLflow would show the greater one."""
    store.copy()
    corrected = replace(ENTRY, metrics=METRICS | {"confirm/own_dice": 0.5})
    for _ in range(2):
        store.copy(corrected)
    (model,) = store.all()
    assert {m.key: m.value for m in model.metrics or []} == corrected.metrics
    assert latest(store, "confirm/own_dice") == (0.5, [(0, 0.75), (1, 0.5)])


def test_metric_that_was_measured_later_joins_its_model(store: ModelStore) -> None:
    early = {key: value for key, value in METRICS.items() if key != "confirm/own_dice"}
    store.copy(replace(ENTRY, metrics=early))
    (before,) = store.all()
    store.copy()
    assert assert_complete(store).model_id == before.model_id


def test_two_confirmations_of_one_trial_stay_apart(store: ModelStore) -> None:
    for confirmation in ("c1", "c2"):
        store.models(confirmation).copy(ENTRY, store.run, VALIDATION)
    assert {model.tags["harness.confirmation"] for model in store.all()} == {"c1", "c2"}
