"""Lines that `harness run` ends with: the best trials, the report, the next command."""

import os
from pathlib import Path

import pytest

from harness import api
from harness.cli.run import show_results
from harness.config.progress import LineProgress
from tests.report.studies import Builder

NEXT = "next: harness confirm --study tiny"


def last_lines(root: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    show_results(api.open_study("tiny", workspace=root), LineProgress())
    return capsys.readouterr().err.splitlines()


def test_three_best_and_the_report_that_was_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Builder(tmp_path)
    for number, loss in enumerate([0.4, 0.2, 0.5, 0.3]):
        study.trial(number, [loss], skill=0.5)
    assert last_lines(tmp_path, capsys) == [
        "best val/dice_loss 0.2000: trial 1, not confirmed",
        "then 0.3000: trial 3, 0.4000: trial 0",
        f"report: {study.paths.report_html}",
        "MLflow: harness ui",
        NEXT,
    ]
    assert study.paths.report_html.stat().st_size > 10_000


def test_commands_name_a_workspace_that_is_not_the_current_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "my studies"
    Builder(root).trial(0, [0.4])
    show_results(api.open_study("tiny", workspace=root), LineProgress(), root)
    place = f"--workspace '{root}'"
    lines = [f"MLflow: harness ui {place}", f"{NEXT} {place}"]
    assert capsys.readouterr().err.splitlines()[-2:] == lines


def test_a_report_is_written_again_only_after_further_trials(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Builder(tmp_path)
    study.trial(0, [0.4])
    last_lines(tmp_path, capsys)
    report = study.paths.report_html
    report.write_text("unchanged", encoding="utf-8")
    assert last_lines(tmp_path, capsys)[1] == f"report: {report}"
    assert report.read_text(encoding="utf-8") == "unchanged"
    later = report.stat().st_mtime + 1
    os.utime(study.paths.trials_csv, (later, later))  # as `run` writes it after each call
    last_lines(tmp_path, capsys)
    assert report.read_text(encoding="utf-8") != "unchanged"


def test_a_report_that_cannot_be_written_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Builder(tmp_path)
    study.trial(0, [0.4])
    study.paths.report_html.mkdir()
    study.paths.trials_csv.touch()
    os.utime(study.paths.report_html, (1, 1))
    lines = last_lines(tmp_path, capsys)
    assert lines[1].startswith("warning: the report cannot be written: ")
    assert lines[-1] == NEXT


def test_without_a_complete_trial_the_report_explains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Builder(tmp_path).trial(0, [0.4], state="pruned")
    assert last_lines(tmp_path, capsys) == ["next: harness report --study tiny"]


def test_no_report_is_written_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Builder(tmp_path)
    study.trial(0, [0.4])
    show_results(api.open_study("tiny", workspace=tmp_path), LineProgress(), writes_report=False)
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "no report was written; write it with: harness report --study tiny"
    assert lines[-1] == NEXT and not study.paths.report_html.exists()
