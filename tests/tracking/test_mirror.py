import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow.exceptions import MlflowException

from harness.core import files
from harness.core.errors import UserError
from harness.core.records import read_epochs
from harness.core.study_lock import hold_study_lock
from harness.tracking.fields import MAX_FAILURES_IN_A_ROW
from harness.tracking.sync import MlflowSync, sync_study
from tests.search.fakes import STUDY_ID
from tests.search.mirroring import MirrorStudy, assert_all_there_once, new_study

WRITES = (
    "create_run",
    "log_batch",
    "log_artifact",
    "log_inputs",
    "set_tag",
    "set_terminated",
)


@pytest.fixture
def study(tmp_path: Path, empty_database: Path) -> MirrorStudy:
    """A study without trials, in a workspace with an empty MLflow."""
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    return new_study(tmp_path)


def around(
    patch: pytest.MonkeyPatch, names: tuple[str, ...], call: Callable[[Callable[[], Any]], Any]
) -> None:
    """Let `call` decide what becomes of these calls of MLflow's client."""
    for name in names:
        real = getattr(mlflow.MlflowClient, name)

        def wrapped(*words: Any, real: Any = real, **options: Any) -> Any:
            return call(lambda: real(*words, **options))

        patch.setattr(mlflow.MlflowClient, name, wrapped)


def test_client_that_blocks_for_ever_stops_no_epoch(
    study: MirrorStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    around(monkeypatch, ("search_experiments", "create_run"), lambda real: release.wait())
    mirror = study.mirror()
    try:
        executor = study.run(3, mirror)
        assert executor.asked == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]
        said = mirror.finish(timeout_s=0.2)
    finally:
        release.set()
    assert "complete it with: harness sync --study s" in said


def test_outage_is_said_once_and_everything_arrives_once(
    study: MirrorStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    answers = threading.Event()
    failed = threading.Semaphore(0)

    def call(real: Callable[[], Any]) -> Any:
        if answers.is_set():
            return real()
        failed.release()
        raise MlflowException("API request failed with exception: connection refused")

    around(monkeypatch, ("search_experiments",), call)
    mirror = study.mirror(log=said.append, pause_s=0.01)
    study.run(3, mirror)
    for _ in range(4):  # it goes on trying
        assert failed.acquire(timeout=60)
    answers.set()
    assert mirror.finish() == ""
    assert len(said) == 2
    assert "connection refused; training continues" in said[0]
    assert said[1] == "MLflow has caught up"
    assert_all_there_once(study, study.client())


def test_store_that_answers_again_as_the_study_ends_gets_everything(
    study: MirrorStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last failing call starts before the end of the study, and fails after it."""
    ending, late = threading.Event(), threading.Event()
    failed: list[None] = []

    def call(real: Callable[[], Any]) -> Any:
        if ending.is_set():
            return real()
        failed.append(None)
        if len(failed) > MAX_FAILURES_IN_A_ROW:
            late.set()
            assert ending.wait(60)
        raise MlflowException("connection refused")

    around(monkeypatch, ("search_experiments",), call)
    mirror = study.mirror(pause_s=0.0)
    join = mirror._thread.join

    def ends(timeout_s: float) -> None:
        ending.set()
        join(timeout_s)

    monkeypatch.setattr(mirror._thread, "join", ends)
    study.run(3, mirror)
    assert late.wait(60)
    assert mirror.finish() == ""
    assert_all_there_once(study, study.client())


def test_dead_store_is_given_up_at_the_end(
    study: MirrorStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[None] = []

    def call(real: Callable[[], Any]) -> Any:
        calls.append(None)
        raise MlflowException("no route")

    around(monkeypatch, ("search_experiments",), call)
    study.run(3)
    said = study.mirror().finish()
    assert "no route" in said and "harness sync --study s" in said
    assert len(calls) <= 3, "not once for each trial"


def test_a_damaged_trial_does_not_stop_the_others(study: MirrorStudy) -> None:
    study.run(2)
    whole = study.paths.trial(0).trial_json.read_bytes()
    study.paths.trial(0).trial_json.write_text("{", encoding="utf-8")
    said = study.mirror().finish()
    assert "not a trial record" in said
    study.paths.trial(0).trial_json.write_bytes(whole)
    assert study.mirror().finish() == ""
    assert_all_there_once(study, study.client())


@pytest.mark.parametrize("performed", [True, False])
def test_killed_at_any_call_and_begun_again_doubles_nothing(
    study: MirrorStudy, performed: bool
) -> None:
    """The k-th life ends in its 3k-th writing call, after or before that call has acted."""
    study.run(3)
    config = study.definition.config

    class KilledError(BaseException):
        pass

    for life in range(1, 60):
        left = [3 * life]

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
                sync_study(study.tracker(), study.paths, config)
                break
            except KilledError:
                pass
    assert 5 < life < 59
    assert_all_there_once(study, study.client())


def test_answers_that_are_lost_double_nothing(
    study: MirrorStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second call acts and then times out; a run is created twice by each call."""
    study.run(2)
    count = [0]

    def call(real: Callable[[], Any]) -> Any:
        result = real()
        count[0] += 1
        if count[0] % 4 == 0:
            raise MlflowException("API request failed with timeout exception")
        return result

    with monkeypatch.context() as patch:
        around(patch, WRITES, call)
        around(patch, ("create_run",), lambda real: (real(), real())[1])
        mirror = study.mirror(pause_s=0.0)
        mirror.note(0)
        mirror.note(1)
        mirror.finish()
    sync_study(study.tracker(), study.paths, study.definition.config)
    assert_all_there_once(study, study.client())


def test_an_epoch_that_was_trained_again_is_not_there_twice(study: MirrorStudy) -> None:
    """Its checkpoint was damaged after it was sent; the repetition has another time and value."""
    study.run(2)
    shipper = MlflowSync(study.tracker(), study.paths, study.definition.config)
    assert shipper.copy(0)
    before = read_epochs(study.paths.trial(0))
    client = study.client()
    run = client.search_runs(["1"], "tags.`harness.trial` = 's/0'")[0].info.run_id
    client.delete_tag(run, "harness.copied")
    again = {"epoch": 3, "time_ms": 1_790_000_009_999, "val/dice_loss": 0.124}
    files.append_jsonl(study.paths.trial(0).epochs_jsonl, again)
    assert MlflowSync(study.tracker(), study.paths, study.definition.config).copy(0)
    held = client.get_metric_history(run, "val/dice_loss")
    assert [(m.step, m.value) for m in held] == [(e["epoch"], e["val/dice_loss"]) for e in before]


@pytest.mark.parametrize("loss", ["deleted", "damaged"])
def test_lost_database_is_rebuilt_from_the_folders(study: MirrorStudy, loss: str) -> None:
    study.run(3)
    said: list[str] = []
    config = study.definition.config
    sync_study(study.tracker(), study.paths, config)
    database = study.workspace.mlflow_db
    for path in database.parent.glob("mlflow.db*"):
        path.unlink()
    if loss == "damaged":
        database.write_bytes(b"SQLite format 3\0" + b"torn" * 5000)
    assert sync_study(study.tracker(), study.paths, config, said.append) == 3
    # MLflow's client holds on to the file that this process saw under this address before
    assert_all_there_once(study, mlflow.MlflowClient(f"sqlite:///{database}?timeout=7"))
    aside = [path.name for path in database.parent.glob("mlflow.db.damaged-*")]
    assert len(aside) == len(said) == (loss == "damaged")
    if said:
        assert aside[0] in said[0] and "harness sync --study NAME" in said[0]


def test_database_that_vanishes_under_a_running_mirror(study: MirrorStudy) -> None:
    study.run(1)
    shipper = MlflowSync(study.tracker(), study.paths, study.definition.config)
    assert shipper.copy(0)
    for path in study.workspace.root.glob("mlflow.db*"):
        path.unlink()
    study.run(2)
    assert shipper.copy(1) and shipper.copy(0)
    with sqlite3.connect(study.workspace.mlflow_db) as connection:
        held = connection.execute("select count(*) from metrics where key = 'val/dice_loss'")
        assert held.fetchone() == (6,)


def test_deleted_experiment_is_an_error_with_the_way_out(study: MirrorStudy) -> None:
    study.run(1)
    config = study.definition.config
    sync_study(study.tracker(), study.paths, config)
    client = study.client()
    client.delete_experiment("1")
    way_out = r"experiment s \(id 1\) was deleted; restore it: .* --experiment-id 1, or choose"
    mirror = study.mirror()
    mirror.check()  # nothing was asked yet
    mirror.note(0)
    with pytest.raises(UserError, match=way_out):
        mirror.check(60)
    with pytest.raises(UserError, match=way_out):
        sync_study(study.tracker(), study.paths, config)
    client.restore_experiment("1")
    sync_study(study.tracker(), study.paths, config)
    assert_all_there_once(study, client)


def test_experiment_of_somebody_else(study: MirrorStudy) -> None:
    study.run(1)
    client = study.client()
    client.create_experiment("s")
    gone = client.create_experiment("gone")
    client.delete_experiment(gone)
    config = study.definition.config
    with pytest.raises(
        UserError, match=r"experiment s of another study or project; .* --experiment"
    ):
        sync_study(study.tracker(), study.paths, config)
    with pytest.raises(UserError, match=f"gone .id {gone}. was deleted"):
        sync_study(study.tracker(experiment="gone"), study.paths, config)
    sync_study(study.tracker(experiment="/Users/me/s"), study.paths, config)
    made = client.get_experiment_by_name("/Users/me/s")
    assert made is not None and made.tags["harness.study_id"] == STUDY_ID
    sync_study(study.tracker(), study.paths, config)  # from now on it is found by its tag
    assert_all_there_once(study, client)


@pytest.mark.parametrize(
    ("revision", "advice"),
    [
        ("0a8213491aaa", r"of an older MLflow .*run: mlflow db upgrade sqlite:////.*/mlflow\.db"),
        (
            "ffffffffffff",
            r"of a newer MLflow .* cannot convert them; update MLflow .*, or move the file",
        ),
    ],
)
def test_tables_of_another_mlflow_are_one_line_with_what_helps(
    study: MirrorStudy, revision: str, advice: str
) -> None:
    study.run(1)
    with sqlite3.connect(study.workspace.mlflow_db) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    with pytest.raises(UserError, match=advice):
        sync_study(study.tracker(), study.paths, study.definition.config)


@pytest.mark.parametrize("code", [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY])
def test_mlflow_database_that_cannot_be_written_stops_no_study(
    study: MirrorStudy, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reported in one line that names the file; `sync` raises it as a user error."""
    study.run(2)
    refused = sqlite3.OperationalError("database is locked")
    refused.sqlite_errorcode = code

    def call(real: Callable[[], Any]) -> Any:
        raise MlflowException("(sqlite3.OperationalError) …") from refused

    around(monkeypatch, ("log_batch",), call)
    mirror = study.mirror()
    mirror.note(0)
    mirror.check(60)
    assert f"MLflow is not up to date ({study.workspace.mlflow_db}: " in mirror.finish()
    with pytest.raises(UserError, match=rf"^{study.workspace.mlflow_db}: (has been|cannot be) "):
        sync_study(study.tracker(), study.paths, study.definition.config)


def test_sync_leaves_a_running_study_alone(study: MirrorStudy) -> None:
    study.run(1)
    with hold_study_lock(study.paths), pytest.raises(UserError, match="is already running"):
        sync_study(study.tracker(), study.paths, study.definition.config)


def test_pictures_are_named_as_mlflow_names_them(study: MirrorStudy) -> None:
    """MLflow's pages find pictures by their names: compare with those that its client gives."""
    study.run(1)
    sync_study(study.tracker(), study.paths, study.definition.config)
    client = study.client()
    ours = client.search_runs(["1"], "tags.`harness.trial` = 's/0'")[0]
    other = client.create_run("0").info.run_id
    client.log_image(other, np.zeros((8, 8, 3), np.uint8), key="val/overlay/2", step=3, timestamp=7)
    theirs = sorted(Path(item.path).name for item in client.list_artifacts(other, "images"))
    names = [item.path for item in client.list_artifacts(ours.info.run_id, "images")]
    third = sorted(Path(name).name for name in names if "+step+3+" in name)

    def pattern(name: str) -> list[str]:
        parts = name.split("+")
        assert len(parts[5].split(".")[0]) == 36  # a UUID
        return [*parts[:4], Path(parts[5]).suffix, *parts[6:]]

    assert [pattern(name) for name in third] == [pattern(name) for name in theirs]
    logged = "mlflow.loggedImages"
    assert ours.data.tags[logged] == client.get_run(other).data.tags[logged]


def test_run_and_experiment_describe_the_study_and_a_persons_text_stays(
    study: MirrorStudy,
) -> None:
    study.run(1)
    sync_study(study.tracker(), study.paths, study.definition.config)
    client, note = study.client(), "mlflow.note.content"
    run = client.search_runs(["1"], "tags.`harness.role` = 'study'")[0]
    assert run.data.tags[note].startswith("- Question: Which rate?\n")
    assert run.data.tags["mlflow.source.name"] == "harness"
    assert client.get_experiment("1").tags[note] == run.data.tags[note]
    client.set_experiment_tag("1", note, "Our comparison")
    study.run(2)
    sync_study(study.tracker(), study.paths, study.definition.config)
    assert client.get_experiment("1").tags[note] == "Our comparison"
    assert "- Trials: 2 complete" in client.get_run(run.info.run_id).data.tags[note]
