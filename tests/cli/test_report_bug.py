"""`harness report-bug` prints versions, machine, definition and failures, and no secrets."""

import re
from pathlib import Path

import pytest

from harness.cli.app import main
from harness.core.paths import StudyPaths
from harness.core.records import TrialFailure, read_record, write_record
from tests.report.studies import Builder


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["report-bug", *words])
    printed = capsys.readouterr()
    return left.value.code, printed.out, printed.err


@pytest.fixture
def failed_study(workspace: Path) -> StudyPaths:
    """A study of three trials, of which two failed in the same way."""
    builder = Builder(workspace, "encoders")
    for number in range(3):
        builder.trial(number, [0.5], {"optim.lr": 1e-3})
    paths = StudyPaths(workspace / "studies" / "encoders")
    failure = TrialFailure(
        cause="crashed",
        message="ValueError: cannot log in to http://me:pw@server/x",
        traceback="Traceback (most recent call last):\n  File 'x.py'\nValueError: no",
    )
    for number in (1, 2):
        trial = paths.trial(number)
        record = read_record(trial.trial_json)
        changed = record.model_copy(update={"state": "failed", "value": None, "failure": failure})
        write_record(trial, changed)
    return paths


def test_equal_failures_are_shown_once_with_their_traceback(
    failed_study: StudyPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "--study", "encoders", "--output", "bug.txt")
    assert code in (0, None)
    assert "2 trials failed (crashed): 1, 2" in out
    assert out.count("ValueError: no") == 1
    assert "http://***@server/x" in out and "pw@" not in out
    assert "### Trials of encoders: 1 complete, 2 failed" in out
    assert Path("bug.txt").read_text(encoding="utf-8") == out


def test_definition_versions_and_machine_are_included(
    failed_study: StudyPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run(capsys, "--study", "encoders")
    assert "### study.yaml" in out and "objective:" in out
    assert re.search(r"^python 3\.\d+", out, re.M) and re.search(r"^torch \d", out, re.M)
    assert re.search(r"^processors \d+ of \d+$", out, re.M)


def test_damaged_files_are_named_instead_of_ending_the_report(
    failed_study: StudyPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    failed_study.trial(2).trial_json.write_text("{", encoding="utf-8")
    failed_study.space_yaml.unlink(missing_ok=True)
    code, out, _ = run(capsys, "--study", "encoders")
    assert code in (0, None)
    assert "trial 2: trial.json: not a trial record" in out
    assert "# No such file or directory" in out


def test_values_of_the_environment_and_names_of_images_are_masked(
    failed_study: StudyPaths,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HARNESS_SOMETHING", "a-private-value")
    with failed_study.study_yaml.open("a", encoding="utf-8") as out_file:
        out_file.write("# a-private-value\n")
    _, out, _ = run(capsys, "--study", "encoders")
    assert "a-private-value" not in out and "$HARNESS_SOMETHING" in out
    assert "HARNESS_SOMETHING" in next(x for x in out.splitlines() if x.startswith("variables"))


def test_unknown_study_is_a_mistake_of_the_user(
    failed_study: StudyPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "--study", "encoder")
    assert (code, out) == (2, "")
    assert "did you mean encoders?" in err
