import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from harness.api import Study
from harness.cli.app import main
from harness.data.splits.split_file import read_split, write_split
from tests.report.studies import Builder, a_study


def run(words: list[str]) -> int:
    with pytest.raises(SystemExit) as left:
        main(words)
    return int(left.value.code or 0)


@pytest.mark.slow
def test_baseline_and_formats(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = a_study(tmp_path)
    shutil.copytree(study.paths.root, study.paths.root.with_name("old"))
    words = ["report", "--workspace", str(tmp_path), "--study", "tiny", "--no-images"]
    assert run([*words, "--baseline", "old"]) == 0
    out, err = capsys.readouterr()
    sentence = "these weights on these images: on the 8 validation images of both studies"
    assert sentence in out and "difference of +0.0000" in out and "report: " in err
    page = study.paths.report_html.read_text(encoding="utf-8")
    assert sentence in page
    monkeypatch.setattr(Study, "report", lambda self, **_: self.paths.report_html)  # written above
    assert run([*words, "--format", "json", "--baseline", "old"]) == 0
    assert json.loads(capsys.readouterr().out)["baseline"]["test"]["n"] == 8
    assert run([*words, "--format", "csv"]) == 0
    assert capsys.readouterr().out == study.paths.trials_csv.read_text(encoding="utf-8")


def test_a_baseline_without_shared_images_exits_2_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = a_study(tmp_path)
    other = Builder(tmp_path, "old")
    other.trial(0, [0.5], skill=0.5)
    rows = read_split(other.paths.split_csv)
    write_split(other.paths.split_csv, [replace(row, image=f"x/{row.image}") for row in rows])
    words = ["report", "--workspace", str(tmp_path), "--study", "tiny", "--no-images"]
    assert run([*words, "--baseline", "old"]) == 2
    assert (
        "error: --baseline old: 0 validation images in common with tiny" in capsys.readouterr().err
    )
    assert not study.paths.report_html.exists()


def test_an_unknown_format_names_those_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = a_study(tmp_path)
    folder = ["--workspace", str(study.root)]
    assert run(["report", "--study", study.name, "--format", "xml", *folder]) == 2
    assert "latex" in capsys.readouterr().err


def test_the_report_names_the_next_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = a_study(tmp_path)
    assert run(["report", "--study", "tiny", "--no-images", "--workspace", str(study.root)]) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    page = study.paths.report_html.read_text(encoding="utf-8")
    command = last.removeprefix("next: ").removesuffix(f" --workspace {study.root}")
    assert command.startswith("harness ") and command in page
