from pathlib import Path

import pytest

from analysis.depth_effect import main
from tests.report.studies import a_study


def test_finds_the_depth_that_the_study_was_made_with(
    generated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each level of depth is worth 0.01 there, so 5 is better than 3 by 0.02."""
    out = tmp_path / "figure.html"
    assert main(["--workspace", str(generated), "--study", "big", "--out", str(out)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("Encoder depth 5, all else equal, in val/dice_loss (lower is better): ")
    assert "against 3 better (-0.0" in first
    assert second.startswith("From a regression over complete trials")
    assert "against 3" in out.read_text(encoding="utf-8")


def test_five_trials_do_not_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_study(tmp_path)
    assert main(["--workspace", str(tmp_path), "--study", "tiny"]) == 1
    assert "cannot be estimated: 5 complete trials leave " in capsys.readouterr().out
