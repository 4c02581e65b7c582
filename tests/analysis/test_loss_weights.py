from pathlib import Path

import pytest

from analysis.loss_weights import main
from tests.report.studies import Builder, a_study


def test_the_part_that_decides_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Mostly bce costs 0.1 more, whatever the rate."""
    study = Builder(tmp_path)
    for number in range(16):
        dice = number % 2 == 0
        weights = {"loss.dice": 0.8 if dice else 0.2, "loss.bce": 0.3 if dice else 0.6}
        noise = 0.001 * (number * 7 % 5)
        params = weights | {"optim.lr": 1e-5 * (1 + number * 5 % 16)}
        study.trial(number, [0.2 + 0.1 * (not dice) + noise], params)
    out = tmp_path / "figure.html"
    assert main(["--workspace", str(tmp_path), "--study", "tiny", "--out", str(out)]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("More than half of the loss from dice, all else equal")
    assert "against bce better (-0.1" in first or "against bce better (-0.09" in first
    assert out.exists()


def test_without_weights_in_the_space_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_study(tmp_path)
    assert main(["--workspace", str(tmp_path), "--study", "tiny"]) == 2
    assert "study tiny did not search the weight of any loss" in capsys.readouterr().err
