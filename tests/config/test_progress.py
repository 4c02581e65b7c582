"""What is printed while a study runs: the objective's own value in every line."""

import io

import pytest
from rich.console import Console

from harness.cli.display import LiveProgress
from harness.config import components
from harness.config.objective import METRICS, objective_override
from harness.config.progress import LineProgress, trial_line
from harness.config.study import TrialConfig
from harness.core.errors import ConfigError
from harness.core.records import TrialRecord

BEST = {"best/dice_loss": 0.25, "best/dice": 0.75, "best/iou": 0.6, "best/miou": 0.5}


def record(number: int, value: float | None, **more: object) -> TrialRecord:
    return TrialRecord.model_validate(
        {
            "study": "s",
            "number": number,
            "state": "complete",
            "params": {"optim.lr": 0.001},
            "distributions": {},
            "epochs": 3,
            "seed": 0,
            "value": value,
            "best": BEST,
        }
        | more
    )


def test_the_usual_objective_comes_first_with_the_best_so_far_beside_it() -> None:
    assert trial_line(record(3, 0.25), record(1, 0.2), "val/dice_loss") == (
        "trial 3  complete  val/dice_loss 0.2500  best 0.2000 (#1)  "
        "val/dice 0.7500  val/iou 0.6000  lr 0.001"
    )


@pytest.mark.parametrize("metric", ["val/miou", "val/precision", "val/edges"])
def test_any_other_objective_is_named_with_its_own_value(metric: str) -> None:
    """Also one of which the record's metrics say nothing, as a part of the user's own."""
    line = trial_line(record(3, 0.5), record(1, 0.55), metric)
    assert line.startswith(f"trial 3  complete  {metric} 0.5000  best 0.5500 (#1)  val/dice_loss ")
    assert trial_line(record(3, None, state="pruned"), None, metric).count(metric) == 0


def test_lines_and_live_display_print_the_value_of_the_objective() -> None:
    lines, terminal = io.StringIO(), io.StringIO()
    plain = LineProgress(lines)
    live = LiveProgress(Console(file=terminal, force_terminal=True, width=120, highlight=False))
    for progress in (plain, live):
        progress.objective("val/miou")
        progress.trials(0, 2)
        progress.began(record(0, None), TrialConfig(), continued=False)
        progress.step(record(0, None), 1, 30, 310, 0.43211)
    live._bars.refresh()
    assert "trial 0  epoch 1  step 30 of 310  loss 0.4321" in terminal.getvalue()
    assert "step 30" not in lines.getvalue()
    for progress in (plain, live):
        progress.epoch(record(0, None), {"epoch": 1, "val/miou": 0.4321, "val/dice": 0.7})
    live._bars.refresh()
    assert "trial 0  val/miou 0.4321  val/dice 0.7000" in terminal.getvalue()
    for progress in (plain, live):
        progress.ended(record(0, 0.5), record(0, 0.5))
    live._bars.refresh()
    live.close()
    for said in (lines.getvalue(), terminal.getvalue()):
        assert "val/miou 0.5000  best 0.5000 (#0)" in said
    assert "study  best val/miou 0.5000 (#0)" in terminal.getvalue()


def test_the_direction_of_an_objective_follows_from_its_metric(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for metric in METRICS:
        better = "minimize" if metric == "val/dice_loss" else "maximize"
        assert objective_override(metric) == {"objective": {"metric": metric, "direction": better}}
    assert objective_override(None) == {}
    monkeypatch.setattr(components, "_COMPONENTS", dict(components._COMPONENTS))
    components.metric("gap", direction="minimize", origin="mine.py")(
        lambda probability, truth, valid: 0.0
    )
    assert objective_override("val/gap")["objective"]["direction"] == "minimize"
    with pytest.raises(ConfigError) as caught:
        objective_override("val/gpa")
    assert str(caught.value) == (
        "--objective val/gpa: unknown metric; did you mean val/gap?; the metrics are "
        f"{', '.join([*METRICS, 'val/gap'])}"
    )
    with pytest.raises(ConfigError, match=r"--objective miou: .*did you mean val/miou\?"):
        objective_override("miou")
