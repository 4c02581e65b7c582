"""Optuna's database in a SQLite file, or in PostgreSQL where it is installed."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from harness.core.errors import ConfigError, StudyStoppedError, UserError
from harness.core.paths import Workspace
from harness.core.records import read_records
from harness.core.sqlite_file import explain_sqlite_error
from harness.execution.protocol import TrialTask
from harness.search.storage.location import resolve_storage
from harness.search.storage.optuna_study import open_optuna_study
from harness.search.storage.rebuild import load_or_rebuild_study
from harness.search.storage.storage import open_storage, stop_on_database_error
from harness.search.storage.study_entries import delete_entries
from tests.postgres import PostgresServer, postgres_server
from tests.search.fakes import FakeExecutor, controller_of, definition_of

SPACE: dict[str, Any] = {
    "parameters": {"optim.lr": {"low": 1e-5, "high": 1e-2, "log": True}},
    "fixed": {"train.epochs": 2},
}


def curve(task: TrialTask) -> list[float]:
    return [0.9, task.config.optim.lr]


def test_storage_is_the_workspaces_own_unless_another_is_named(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    assert resolve_storage(place, None) == tmp_path / "optuna.db"
    assert resolve_storage(place, "sqlite:////big/disk/o.db") == Path("/big/disk/o.db")
    assert resolve_storage(place, "sqlite:///o.db") == Path.cwd() / "o.db"
    server = "postgresql+psycopg://ann@host:5433/optuna"
    assert resolve_storage(place, f" {server} ") == server


@pytest.mark.parametrize(
    "url", ["", "optuna.db", "sqlite:///", "postgresql://", "oracle://h/d", "redis://h", "http://h"]
)
def test_what_is_no_database_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"--storage .*: use postgresql\+psycopg://"):
        resolve_storage(Workspace(tmp_path), url)


def test_password_is_refused_and_not_repeated(tmp_path: Path) -> None:
    for url in ("postgresql://ann:s3cret@h/d", "mysql://h/d?password=s3cret"):
        with pytest.raises(ConfigError, match="must not contain a password") as refused:
            resolve_storage(Workspace(tmp_path), url)
        assert "s3cret" not in str(refused.value)


def test_driver_that_is_not_installed_is_one_line_with_the_remedy() -> None:
    with pytest.raises(UserError, match=r"driver is not installed; pip install 'pymysql'"):
        open_storage("mysql+mysqldb://ann@127.0.0.1/optuna")
    with pytest.raises(UserError, match="cannot be opened"):
        open_storage("postgresql+nonsense://ann@127.0.0.1/optuna")


def test_locked_file_is_one_line_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database viewer holds it, as a plain file or in write-ahead mode."""
    monkeypatch.setattr("harness.core.sqlite_file.BUSY_TIMEOUT_S", 0.02)
    for prepared in ("CREATE TABLE t(a)", "PRAGMA journal_mode=WAL"):
        database = tmp_path / prepared[:6] / "optuna.db"
        database.parent.mkdir()
        with closing(sqlite3.connect(database, isolation_level=None)) as viewer:
            viewer.execute(prepared)
            viewer.execute("BEGIN EXCLUSIVE")
            with pytest.raises(
                UserError, match=r"has been locked by another program.*close"
            ) as raised:
                open_storage(database)
            assert str(database) in str(raised.value)
            viewer.execute("ROLLBACK")
        open_storage(database)


def test_file_that_can_only_be_read_is_one_line_that_names_it(tmp_path: Path) -> None:
    database = tmp_path / "optuna.db"
    open_storage(database)
    read_only = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)
    with closing(read_only), pytest.raises(sqlite3.OperationalError) as refused:
        read_only.execute("CREATE TABLE t(a)")
    with pytest.raises(sqlite3.OperationalError) as absent:
        sqlite3.connect(tmp_path / "no" / "optuna.db")
    for error in (refused.value, absent.value):
        wrapped = RuntimeError("as SQLAlchemy and MLflow wrap it")
        wrapped.__cause__ = error
        line = explain_sqlite_error(database, wrapped)
        assert line is not None
        assert line.startswith(f"{database}: cannot be opened for writing; make this file and its")
    assert explain_sqlite_error(database, RuntimeError("another")) is None


@pytest.mark.parametrize(
    ("version", "remedy"),
    [
        ("v2.6.0.a", r"`\$ optuna storage upgrade --storage sqlite:///.*/optuna\.db`"),
        ("v99.0.0.a", r"`\$ pip install -U optuna`"),
    ],
)
def test_tables_of_another_optuna_are_one_line_with_the_remedy(
    tmp_path: Path, version: str, remedy: str
) -> None:
    database = tmp_path / "optuna.db"
    open_storage(database)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    with pytest.raises(UserError, match=rf"{remedy}.*, or move the file aside: the next run of"):
        open_storage(database)


def test_file_that_can_only_be_read_is_noticed_when_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the middle of the study. Root may write anywhere, hence mode=ro in place of chmod."""
    database = tmp_path / "optuna.db"
    open_storage(database)
    connect = sqlite3.connect

    def read_only(path: Path, **options: Any) -> sqlite3.Connection:
        return connect(f"{path.as_uri()}?mode=ro", uri=True, **options)

    monkeypatch.setattr("harness.core.sqlite_file.sqlite3.connect", read_only)
    with pytest.raises(UserError, match=r"optuna\.db: cannot be opened for writing; make"):
        open_storage(database)


def test_path_that_is_too_long_for_sqlite_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"SQLite paths must be shorter than about 500 bytes; move"):
        open_storage(tmp_path / ("x" * 200) / ("y" * 200) / ("z" * 120) / "optuna.db")


def test_index_that_is_locked_later_says_which_file(tmp_path: Path) -> None:
    locked = sqlite3.OperationalError("database is locked")
    locked.sqlite_errorcode = sqlite3.SQLITE_BUSY
    with (
        pytest.raises(
            StudyStoppedError, match=r"optuna\.db: has been locked by .*; nothing is lost"
        ),
        stop_on_database_error(tmp_path / "optuna.db"),
    ):
        raise OperationalError("UPDATE", {}, locked) from locked


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def opened(postgres: PostgresServer) -> Iterator[Callable[[], RDBStorage]]:
    """Opens the server's database; its connections are closed in the end."""
    storages = []

    def anew() -> RDBStorage:
        storages.append(open_storage(postgres.uri))
        return storages[-1]

    yield anew
    for storage in storages:
        storage.remove_session()
        storage.engine.dispose()


@pytest.mark.slow
def test_study_in_postgresql_is_the_one_in_a_file(
    tmp_path: Path, postgres: PostgresServer, opened: Callable[[], RDBStorage]
) -> None:
    """And a server that goes away ends it in one line; afterwards it continues."""
    definition = definition_of(SPACE, pruner={"name": "none"})
    plain = tmp_path / "file"
    controller_of(plain, definition, FakeExecutor(curve)).run(14)
    paths = Workspace(tmp_path / "server").study("s")

    def until_it_goes_away(task: TrialTask) -> list[float]:
        if task.number == 5:
            postgres.control("stop", "-m", "immediate")
        return curve(task)

    storage = opened()
    executor = FakeExecutor(until_it_goes_away)
    with (
        pytest.raises(StudyStoppedError, match="nothing is lost"),
        stop_on_database_error(postgres.uri),
    ):
        controller_of(tmp_path / "server", definition, executor, storage=storage).run(14)
    with pytest.raises(UserError, match="cannot be opened"):
        opened()
    postgres.control("start")
    storage = opened()
    load_or_rebuild_study(storage, paths, definition, lambda _: None)
    controller_of(tmp_path / "server", definition, FakeExecutor(curve), storage=storage).run(14)
    there, here = read_records(paths), read_records(Workspace(plain).study("s"))
    assert [r.params for r in there] == [r.params for r in here]
    assert [r.value for r in there] == [r.value for r in here]
    study = optuna.load_study(study_name="s", storage=storage)
    assert [t.value for t in study.trials] == [r.value for r in here]


@pytest.mark.slow
def test_study_goes_on_in_another_database(
    tmp_path: Path, opened: Callable[[], RDBStorage]
) -> None:
    """Both are indexes of the same folders."""
    definition = definition_of(SPACE, pruner={"name": "none"})
    controller_of(tmp_path, definition, FakeExecutor(curve)).run(6)
    paths, said = Workspace(tmp_path).study("s"), []
    storage = opened()
    load_or_rebuild_study(storage, paths, definition, said.append)
    assert said == ["Optuna's database lacked 6 trials: restored from the trial folders"]
    controller_of(tmp_path, definition, FakeExecutor(curve), storage=storage).run(8)
    assert [r.number for r in read_records(paths)] == [*range(8)]


def test_full_disk_under_a_database_is_one_line_that_names_the_folder(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA max_page_count = 2")
        connection.execute("CREATE TABLE t (x)")
        with pytest.raises(sqlite3.OperationalError) as raised:
            connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    wrapped = RuntimeError("as SQLAlchemy and MLflow wrap it")
    wrapped.__cause__ = raised.value
    line = explain_sqlite_error(database, wrapped)
    assert line is not None and line.startswith(f"{database}: the disk of {tmp_path} is full, or a")


def test_new_trial_reads_none_of_the_running_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = open_optuna_study(open_storage(tmp_path / "o.db"), "s", definition_of(SPACE).config)
    for value in (1.0, 2.0):
        study.enqueue_trial({"x": value})
    finished = study.ask()
    study.tell(finished, 0.5)
    study.ask()
    plain = optuna.load_study(study_name="s", storage=open_storage(tmp_path / "o.db"))
    study.enqueue_trial({"x": 3.0})
    for states in [(TrialState.WAITING,), (TrialState.RUNNING,), None]:
        assert study.get_trials(states=states) == plain.get_trials(states=states)

    def read_all(*_: object) -> None:
        raise AssertionError("all trials were read")

    monkeypatch.setattr(_CachedStorage, "_read_trials_from_remote_storage", read_all)
    assert study.ask().suggest_float("x", 0, 9) == 3.0  # the queued one
    assert study.ask().number == 3


@pytest.mark.parametrize("step", ["set_metric_names", "set_user_attr", "rename"])
def test_study_whose_creation_was_killed_is_completed_or_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Before Optuna has its id, before its name: neither is a study of another owner."""
    location, config = tmp_path / "o.db", definition_of(SPACE).config
    storage = open_storage(location)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if step == "rename":
            patch.setattr("harness.search.storage.optuna_study.rename_optuna_study", killed)
        else:
            patch.setattr(optuna.Study, step, killed)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                open_optuna_study(storage, "s", config)
    delete_entries(location, {str(config.id): "s"})
    assert optuna.get_all_study_names(open_storage(location)) == []
    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "set_user_attr", killed)
        with pytest.raises(KeyboardInterrupt):
            open_optuna_study(storage, "s", config)
    study = open_optuna_study(storage, "s", config)
    assert (study.study_name, study.metric_names) == ("s", ["val/dice_loss"])
    assert optuna.get_all_study_names(storage) == ["s"]
    assert open_optuna_study(storage, "t", config).user_attrs == study.user_attrs
