"""Rename, delete, archive, restore and clean: names, locks, other studies, other stores."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pytest

import harness
from harness.core.errors import ConfigError, UserError
from harness.core.paths import StudyPaths, Workspace
from harness.core.records import read_record, write_record
from harness.core.study_lock import hold_study_lock
from harness.maintenance.operations import PendingOperation, begin_operation
from tests.maintenance.workspaces import assert_agreement, copy_workspace, snapshot, trial_weights


@pytest.fixture
def place(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    workspace = copy_workspace(template, tmp_path / "w")
    monkeypatch.chdir(workspace.root)
    return workspace


@contextmanager
def running(paths: StudyPaths) -> Iterator[None]:
    """Another process holds the lock of the study."""
    code = (
        "import sys; from pathlib import Path\n"
        "from harness.core.paths import StudyPaths\n"
        "from harness.core.study_lock import hold_study_lock\n"
        f"with hold_study_lock(StudyPaths(Path({str(paths.root)!r}))):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    try:
        yield
    finally:
        process.communicate()


def test_renamed_study_has_its_new_name_everywhere_while_another_runs(place: Workspace) -> None:
    before = snapshot(place, "tiny")
    with running(place.study("other")):
        paths = harness.rename("tiny", "renamed")
    assert paths.name == "renamed" and snapshot(place, "renamed") == before
    assert_agreement(place, {"renamed", "other"})
    harness.rename("renamed", "tiny")
    assert_agreement(place, {"tiny", "other"})


@pytest.mark.parametrize("work", ["rename", "delete", "archive", "clean"])
def test_running_study_is_left_alone(place: Workspace, work: str) -> None:
    before = snapshot(place, "tiny")
    with running(place.study("tiny")):
        if work == "clean":
            assert harness.clean(kinds=["weights"], study="tiny") == 0
        else:
            arguments = ["new"] if work == "rename" else []
            with pytest.raises(UserError, match="is already running"):
                getattr(harness, work)("tiny", *arguments)
    assert snapshot(place, "tiny") == before
    assert_agreement(place, {"tiny", "other"})


def test_taken_and_unsafe_names_are_refused_before_anything_changes(place: Workspace) -> None:
    with pytest.raises(UserError, match="exists already; choose another name"):
        harness.rename("tiny", "other")
    for name in ("../x", "a/b", "x.confirm", ".x", "-x", ""):
        with pytest.raises(ConfigError, match="study name"):
            harness.rename("tiny", name)
    client = mlflow.MlflowClient(f"sqlite:///{place.mlflow_db}")
    number = client.create_experiment("mine")
    with pytest.raises(UserError, match="has an experiment mine of another study"):
        harness.rename("tiny", "mine")
    client.delete_experiment(number)
    with pytest.raises(UserError, match=r"experiment mine of another study or project \(deleted"):
        harness.rename("tiny", "mine")
    with pytest.raises(ConfigError, match=r"there is no study tinny.*did you mean tiny"):
        harness.rename("tinny", "mine")
    with pytest.raises(ConfigError, match="there is no study tinny"):
        harness.delete("tinny")
    assert place.study("tiny").study_yaml.exists()


def test_store_that_does_not_answer_refuses_before_anything_changes(place: Workspace) -> None:
    before = snapshot(place, "tiny")
    for work in (
        lambda uri: harness.rename("tiny", "new", tracking_uri=uri),
        lambda uri: harness.delete("tiny", tracking_uri=uri),
    ):
        with pytest.raises(harness_error(), match=r"127\.0\.0\.1"):
            work("http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="must not contain a password"):
        harness.delete("tiny", storage="postgresql+psycopg://me:secret@host/db")
    assert snapshot(place, "tiny") == before
    assert_agreement(place, {"tiny", "other"})


def harness_error() -> type[Exception]:
    from harness.core.errors import HarnessError

    return HarnessError


def test_name_that_the_user_gave_the_experiment_stays(place: Workspace) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{place.mlflow_db}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    client.rename_experiment(experiment.experiment_id, "/Users/me/encoders")
    harness.rename("tiny", "renamed")
    renamed = client.get_experiment(experiment.experiment_id)
    assert renamed.name == "/Users/me/encoders"


def test_deleted_name_can_be_used_again(place: Workspace) -> None:
    harness.archive("tiny", "tiny.tar")
    with running(place.study("other")):
        harness.delete("tiny")
    assert_agreement(place, {"other"})
    harness.restore("tiny.tar")
    assert_agreement(place, {"tiny", "other"})


def test_archive_without_weights_lacks_only_weights(place: Workspace) -> None:
    before = snapshot(place, "tiny")
    harness.archive("tiny", "tiny.tar", weights=False)
    harness.delete("tiny")
    harness.restore("tiny.tar", name="light")
    light = snapshot(place, "light")
    assert {name for name in before if "best/model" in name} == before.keys() - light.keys()
    assert len(before) > len(light) and light.items() <= before.items()


def test_restored_code_is_not_executed(
    place: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = place.study("tiny")
    trap = place.root / "executed"
    paths.parts("mine.py").write_text(f"open({str(trap)!r}, 'w')\n", encoding="utf-8")
    text = paths.study_yaml.read_text(encoding="utf-8")
    parts = "parts: {file: mine.py, sha256: '" + "0" * 64 + "'}"
    paths.study_yaml.write_text(text.replace("parts: null", parts), encoding="utf-8")
    harness.archive("tiny", "tiny.tar")
    harness.delete("tiny")
    harness.restore("tiny.tar")
    assert "brings Python code" in capsys.readouterr().err
    assert not trap.exists()


def test_operation_that_was_never_decided_is_forgotten(place: Workspace) -> None:
    operation = PendingOperation(action="rename", study="tiny", target="renamed")
    begin_operation(place.study("tiny"), operation)
    assert harness.open_study("tiny").best is not None
    assert_agreement(place, {"tiny", "other"})


def test_any_use_of_the_study_completes_a_rename(place: Workspace) -> None:
    operation = PendingOperation(action="rename", study="tiny", target="renamed")
    begin_operation(place.study("tiny"), operation)
    (place.studies / "tiny").rename(place.studies / "renamed")
    assert harness.open_study("renamed").best is not None
    assert_agreement(place, {"renamed", "other"})


def test_folder_that_was_renamed_by_hand_is_found_again_by_sync(place: Workspace) -> None:
    (place.studies / "tiny").rename(place.studies / "moved")
    harness.open_study("moved").sync()
    client = mlflow.MlflowClient(f"sqlite:///{place.mlflow_db}")
    experiment = client.get_experiment_by_name("moved")
    assert experiment is not None
    tags = [
        run.data.tags.get("harness.trial") for run in client.search_runs([experiment.experiment_id])
    ]
    assert sorted(tag for tag in tags if tag) == [
        *(f"moved.confirm/{k}" for k in range(4)),
        *(f"moved/{k}" for k in range(3)),
    ]


def test_lock_that_followed_a_renamed_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = StudyPaths(tmp_path / "studies" / "a")
    paths.root.mkdir(parents=True)
    from harness.core import study_lock

    acquire = study_lock._acquire

    def slow(lock: object, name: str) -> None:
        acquire(lock, name)  # type: ignore[arg-type]
        paths.root.rename(tmp_path / "studies" / "b")

    monkeypatch.setattr(study_lock, "_acquire", slow)
    with (
        pytest.raises(UserError, match="was renamed or deleted by another"),
        hold_study_lock(paths),
    ):
        pass


def test_clean_removes_what_it_showed_and_nothing_else(place: Workspace) -> None:
    paths = place.study("tiny")
    record = read_record(paths.trial(2).trial_json)
    write_record(paths.trial(2), record.model_copy(update={"state": "pruned"}))
    paths.trial(2).checkpoint.write_bytes(b"c" * 5000)
    paths.trial(0).overlay(1, 2).parent.mkdir()
    paths.trial(0).overlay(1, 2).write_bytes(b"o" * 700)
    (place.cache / "images").mkdir(parents=True)
    (place.cache / "images" / "x.npy").write_bytes(b"i" * 3000)
    (place.root / "optuna.db.damaged-20261129T000000Z").write_bytes(b"d" * 100)
    assert {(r.kind, r.study, r.n_bytes) for r in harness.removable()} == {
        ("leftovers", None, 100),
        ("cache", None, 3000),
    }, "the study has not as many trials as it was asked for, so its checkpoint may be needed"
    text = paths.study_yaml.read_text(encoding="utf-8").replace("trials: 8", "trials: 3")
    paths.study_yaml.write_text(text, encoding="utf-8")
    assert ("checkpoints", "tiny", 5000) in {
        (r.kind, r.study, r.n_bytes) for r in harness.removable()
    }
    with running(place.study("other")):
        assert "cache" not in {removal.kind for removal in harness.removable()}
    assert harness.clean() == 8100
    assert paths.trial(0).overlay(1, 2).exists() and trial_weights(paths).exists()
    assert not place.cache.exists() and not paths.trial(2).checkpoint.exists()
    assert harness.clean(kinds=["overlays"]) == 700
    assert harness.clean() == 0
    with pytest.raises(UserError, match="name the study with --study"):
        harness.clean(kinds=["weights"])
    with pytest.raises(UserError, match="did you mean overlays"):
        harness.clean(kinds=["overlay"])
    assert not (place.studies / ".deleted").exists()


def test_list_of_studies(place: Workspace) -> None:
    place.study("tiny").confirm.ranking_csv.write_text("rank\n", encoding="utf-8")
    os.utime(place.study("tiny").study_yaml, (2e9, 2e9))
    (place.studies / "broken").mkdir()
    (place.studies / "broken" / "study.yaml").write_text("[", encoding="utf-8")
    os.utime(place.studies / "broken" / "study.yaml", (1e9, 1e9))
    with running(place.study("other")):
        tiny, other, broken = harness.studies()
    assert (tiny.name, tiny.state, tiny.trials_done, tiny.trials_asked) == (
        "tiny",
        "confirmed",
        3,
        8,
    )
    assert (tiny.best, tiny.best_trial, tiny.changed) == (0.20, 1, "2033-05-18T03:33:20Z")
    assert tiny.question == "Which encoder earns its memory?" and tiny.data == "tiny"
    files = [p for p in place.study("tiny").root.rglob("*") if p.is_file() and p.name != ".lock"]
    assert tiny.size_bytes == sum(path.stat().st_size for path in files)
    assert (other.name, other.state) == ("other", "running")
    assert broken.state == "damaged" and "broken" in str(broken.problem)


def test_question_of_a_study_is_the_first_comment_of_its_space(place: Workspace) -> None:
    paths = place.study("other")
    text = paths.study_yaml.read_text(encoding="utf-8")
    text = text.replace("question: Which encoder earns its memory?", "question: null")
    paths.study_yaml.write_text(text.replace("space: null", "space: lr.yaml"), encoding="utf-8")
    place.search_spaces.mkdir()
    comment = "# Which rate is best?      harness run --space lr.yaml --trials 4\nparameters: {}\n"
    (place.search_spaces / "lr.yaml").write_text(comment, encoding="utf-8")
    questions = {study.name: study.question for study in harness.studies()}
    assert questions["other"] == "Which rate is best?"


def test_list_needs_no_heavy_library(place: Workspace) -> None:
    heavy = {"torch", "optuna", "mlflow", "pandas", "cv2", "scipy"}
    code = (
        "import sys\nfrom harness.cli.app import main\n"
        "try: main(['studies', '--json'])\nexcept SystemExit: pass\n"
        f"sys.exit(' '.join({heavy!r} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert {one["name"] for one in json.loads(done.stdout)} == {"tiny", "other"}


def test_restore_that_was_killed_after_its_move_leaves_nothing(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.archive("tiny", "tiny.tar")
    harness.delete("tiny")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("harness.maintenance.restore.finish_restore", killed)
        patch.setattr("harness.maintenance.restore.remove_empty_parent", lambda _: None)
        with pytest.raises(KeyboardInterrupt):
            harness.restore("tiny.tar")
    assert (place.studies / ".restoring").is_dir()
    harness.restore("tiny.tar")
    assert_agreement(place, {"tiny", "other"})


def copied(place: Workspace) -> StudyPaths:
    """A copy of the folder of `tiny`, made by hand."""
    shutil.copytree(place.study("tiny").root, place.studies / "backup")
    return place.study("backup")


def test_deleting_a_copied_folder_spares_the_entries_of_the_original(
    place: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    copied(place)
    lines = harness.api.describe_deletion("backup")
    assert lines[-1] == "Optuna and MLflow keep its entries: study tiny has its id"
    harness.delete("backup")
    assert "they are those of study tiny" in capsys.readouterr().err
    assert_agreement(place, {"tiny", "other"})
    harness.delete("tiny")
    assert_agreement(place, {"other"})


def test_copied_folder_is_not_renamed(place: Workspace) -> None:
    copied(place)
    with pytest.raises(UserError, match="study backup has the id of study tiny"):
        harness.rename("backup", "new")
    shutil.rmtree(place.studies / "backup")
    assert_agreement(place, {"tiny", "other"})


def test_rename_to_a_name_that_another_command_takes_meanwhile(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take(*_: object) -> None:
        (place.studies / "new").mkdir()
        (place.studies / "new" / ".lock").touch()

    monkeypatch.setattr("harness.maintenance.indexes.StudyIndexes.check_names_free", take)
    with pytest.raises(UserError, match="new: was written by another command meanwhile"):
        harness.rename("tiny", "new")
    shutil.rmtree(place.studies / "new")
    assert_agreement(place, {"tiny", "other"})


def test_damaged_study_is_not_archived_and_says_how_it_is_deleted(place: Workspace) -> None:
    """`restore` would refuse its archive."""
    paths = place.study("tiny")
    paths.confirm.trial(1).trial_json.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"study tiny is damaged; repair it first: .*trial\.json"):
        harness.archive("tiny")
    assert not list(place.root.glob("*.tar"))
    paths.study_yaml.write_text("[", encoding="utf-8")
    with pytest.raises(UserError, match=r"not YAML(.|\n)*or remove the folder .*tiny yourself"):
        harness.delete("tiny")
    assert paths.study_yaml.exists()


def test_folder_with_an_unsafe_name_is_listed_as_damaged(place: Workspace) -> None:
    (place.studies / "other").rename(place.studies / "a b")
    states = {study.name: (study.state, study.problem) for study in harness.studies()}
    assert states["a b"][0] == "damaged" and "study name 'a b'" in str(states["a b"][1])


def harness_command(*words: str) -> "subprocess.CompletedProcess[str]":
    """The command without a terminal."""
    command = [sys.executable, "-m", "harness", *words]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def test_clean_without_a_terminal_is_a_list(place: Workspace) -> None:
    damaged = place.root / "optuna.db.damaged-20261129T000000Z"
    damaged.write_bytes(b"d" * 100)
    done = harness_command("clean")
    assert (done.returncode, done.stderr) == (0, "")
    assert "may go:" in done.stdout and "100 B  leftovers" in done.stdout
    assert done.stdout.splitlines()[-1].startswith(
        "nothing was removed, since there is no terminal"
    )
    asked = harness_command("clean", "--remove", "leftovers")
    assert asked.returncode == 2 and "nothing was removed; add --yes" in asked.stderr
    assert damaged.exists()
    assert harness_command("clean", "--yes").returncode == 0
    assert not damaged.exists()


def test_printed_command_restores_an_archive_whose_name_is_like_an_option(
    place: Workspace,
) -> None:
    done = harness_command("archive", "tiny", "--", "-x.tar")
    command = done.stdout.splitlines()[-1].removeprefix("restore it with: harness ")
    harness.delete("tiny")
    assert harness_command(*shlex.split(command)).returncode == 0
    assert_agreement(place, {"tiny", "other"})
    with pytest.raises(UserError, match="not a file; name an archive"):
        harness.restore(place.root)


def test_restored_study_is_deleted_again_where_mlflow_keeps_deleted_experiments(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a server; the first experiment has the name and the id of the second one."""
    monkeypatch.setattr("harness.tracking.study_entries._remove_rows", lambda *_: None)
    harness.archive("tiny", "tiny.tar")
    for _ in range(2):
        harness.delete("tiny")
        harness.restore("tiny.tar")
    client = mlflow.MlflowClient(f"sqlite:///{place.mlflow_db}")
    deleted = client.search_experiments(mlflow.entities.ViewType.DELETED_ONLY)
    assert len({experiment.name for experiment in deleted}) == 2


def test_deletion_names_a_database_that_lacks_the_study(place: Workspace) -> None:
    """It was run with --storage or --tracking-uri, which are not recorded."""
    assert not [line for line in harness.api.describe_deletion("tiny") if "no entries" in line]
    elsewhere = {"storage": f"sqlite:///{place.root}/o.db", "tracking_uri": "http://127.0.0.1:9"}
    lines = harness.api.describe_deletion("tiny", **elsewhere)
    assert lines[-1].startswith("o.db has no entries of it; if it was run with --storage, add")
    place.mlflow_db.unlink()
    lines = harness.api.describe_deletion("tiny")
    assert lines[-1].startswith("mlflow.db has no entries of it; if it was run with --tracking-uri")
