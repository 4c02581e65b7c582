from pathlib import Path

import pytest

from analysis.pruner_audit import main
from tests.report.studies import Builder, a_study


def test_says_when_and_how_far_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Cut after epochs 2 (0.89) and 1 (0.92); the best stood at 0.3 and 0.5 then."""
    a_study(tmp_path)
    out = tmp_path / "figure.html"
    assert main(["--workspace", str(tmp_path), "--study", "tiny", "--out", str(out)]) == 0
    first, noise, nearest, _ = capsys.readouterr().out.splitlines()
    assert first == (
        "halving cut 2 trials, half of them by epoch 2, in the median 0.5050 of val/dice_loss "
        "behind the best complete trial at the same epoch; 0 were ahead of it."
    )
    assert noise.endswith("no configuration has two complete trials.")
    assert nearest.startswith("trial 7: cut after epoch 1 at 0.9200, 0.4200 behind; better than 0%")
    assert out.exists()


def test_cuts_within_noise_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Equal configurations 0.2 apart: a cut 0.1 behind the best is within noise."""
    study = Builder(tmp_path)
    study.trial(0, [0.3], {"optim.lr": 1e-3})
    study.trial(1, [0.5], {"optim.lr": 1e-3})
    study.trial(2, [0.4], {"optim.lr": 1e-4}, state="pruned")
    out = tmp_path / "figure.html"
    assert main(["--workspace", str(tmp_path), "--study", "tiny", "--out", str(out)]) == 0
    assert "1 of 1 cuts (100%) were nearer to the best than" in capsys.readouterr().out


def test_a_control_says_who_would_have_been_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The late starter 19 is the best of 20 and was the worst at epoch 1."""
    a_study(tmp_path)
    control = Builder(tmp_path, "free")
    for number in range(20):
        late = number == 19
        control.trial(number, [0.9 if late else 0.5, 0.9 if late else 0.4, 0.1 if late else 0.3])
    words = ["--workspace", str(tmp_path), "--study", "tiny", "--out", str(tmp_path / "f.html")]
    assert main([*words, "--control", "free"]) == 0
    assert (
        "Control free: of the best tenth of 20 trials that ran to the end, 1 of 2 were worse than "
        "the median at epoch 2."
    ) in capsys.readouterr().out


def test_a_study_without_cuts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Builder(tmp_path).trial(0, [0.5])
    assert main(["--workspace", str(tmp_path), "--study", "tiny"]) == 1
    assert capsys.readouterr().out == "No trial of tiny was pruned against complete ones.\n"
