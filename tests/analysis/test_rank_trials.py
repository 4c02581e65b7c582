from pathlib import Path

import pytest

from analysis.rank_trials import main
from tests.report.studies import Builder, a_study


def test_prints_who_leads_and_the_ranks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_study(tmp_path)
    assert main(["--workspace", str(tmp_path), "--study", "tiny", "--top", "2"]) == 0
    first, header, *rows = capsys.readouterr().out.splitlines()
    assert first == (
        "Trial 3 leads with val/dice_loss 0.1235, 0.1265 ahead of trial 4, of 5 complete trials "
        "(2 pruned, 1 failed); leading, not confirmed."
    )
    assert header.split()[:4] == ["rank", "number", "value", "model.arch"]
    assert [row.split()[:4] for row in rows] == [
        ["1", "3", "0.1235", "Unet"],
        ["2", "4", "0.25", "Linknet"],
    ]


def test_a_study_with_nothing_to_rank(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Builder(tmp_path)
    assert main(["--workspace", str(tmp_path), "--study", "tiny"]) == 0
    assert capsys.readouterr().out == "No trial of tiny is complete (0 pruned, 0 failed).\n"


def test_a_single_complete_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Builder(tmp_path).trial(0, [0.5])
    main(["--workspace", str(tmp_path), "--study", "tiny"])
    assert "0.5000, the only complete trial" in capsys.readouterr().out


def test_an_unknown_study_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Builder(tmp_path)
    assert main(["--workspace", str(tmp_path), "--study", "tinny"]) == 2
    error = capsys.readouterr().err
    assert error.endswith(f"no study tinny in {tmp_path}/studies; did you mean tiny?\n")
