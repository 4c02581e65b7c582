from pathlib import Path

import pytest

from analysis.seed_noise import main
from tests.evaluation.confirm.test_load_confirmation import plan_of, spread
from tests.evaluation.confirming import a_search, begun, trained


def test_says_how_much_is_noise_and_draws_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within: s = 0.02 and 0.04, pooled sqrt((2 · 0.0004 + 2 · 0.0016) / 4) = 0.0316; the search's
    0.3, 0.2, 0.25 have a variance of 0.0025, of which 0.001 is 40 %."""
    paths = a_search(tmp_path).paths
    plan = plan_of([1, 2], 3)
    begun(paths, plan)
    for number, loss in enumerate([0.28, 0.36, 0.30, 0.40, 0.32, 0.44]):
        trained(paths, plan, number, spread(loss))
    out = tmp_path / "figure.html"
    assert main(["--workspace", str(tmp_path), "--study", "tiny", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(
        "val/dice_loss differs by ±0.0316 between seeds of one configuration (pooled over 2; 4 "
        "degrees of freedom), which is 40% of the variance over the 3 complete "
    )
    assert "in the search" in out.read_text(encoding="utf-8")


def test_without_a_confirmation_it_says_what_to_type(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_search(tmp_path)
    assert main(["--workspace", str(tmp_path), "--study", "tiny"]) == 0
    assert capsys.readouterr().out == (
        "Study tiny has no confirmation; run harness confirm --study tiny first.\n"
    )
