"""`--workers auto`: the number of simultaneous trials on the CPU, chosen from measured rates."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.config.data import StudyDataConfig
from harness.config.study import TrialConfig
from harness.execution.slots import Slot
from harness.training.loop.step_rate import (
    choose_worker_count,
    measure_worker_count,
    training_steps,
)

GB = 10**9
TINY = {"model.encoder_name": "resnet18", "data.image_size": 32, "train.batch_size": 2}


def choose(rates: dict[int, float], threads: int = 8, free: int = 64 * GB) -> tuple[int, list[int]]:
    """The number chosen, and the numbers measured, if a worker needs 1 GB."""
    asked = []

    def measure(slots: Sequence[Slot]) -> tuple[float, int]:
        asked.append(len(slots))
        return rates[len(slots)], GB

    return choose_worker_count(threads, free, measure)[0], asked


def test_doubling_stops_where_it_gains_nothing() -> None:
    assert choose({1: 20.0, 2: 30.0, 4: 31.0, 8: 99.0}) == (2, [1, 2, 4])


def test_one_worker_stays_unless_two_are_clearly_faster() -> None:
    assert choose({1: 20.0, 2: 20.9}) == (1, [1, 2])


def test_each_worker_keeps_a_thread() -> None:
    assert choose({1: 1.0, 2: 2.0, 4: 4.0}, threads=6) == (4, [1, 2, 4])
    assert choose({1: 1.0}, threads=1) == (1, [1])


def test_workers_that_the_memory_does_not_hold_are_not_tried() -> None:
    """Four workers of 1 GB take more than 70 % of 5 GB."""
    assert choose({1: 1.0, 2: 2.0}, free=5 * GB) == (2, [1, 2])
    _, lines = choose_worker_count(8, 5 * GB, lambda slots: (float(len(slots)), GB))
    assert lines == ["1 worker 1 images/s", "2 workers 2 images/s", "no memory for 4"]


@pytest.mark.parametrize(
    "data",
    [
        {"task": "binary"},
        {"task": "multiclass", "classes": ["none", "a", "b"]},
        {"task": "multilabel", "classes": ["a", "b"]},
    ],
    ids=lambda data: data["task"],
)
def test_steps_of_each_task_train(data: dict[str, object]) -> None:
    loss = {"loss.ce": 1.0, "loss.bce": 0.0} if data["task"] == "multiclass" else {"loss.bce": 1.0}
    config = TrialConfig.from_flat(TINY | loss | {"loss.class_weights": "balanced"})
    steps = training_steps(config, StudyDataConfig.model_validate({"root": "d", **data}))
    assert [next(steps)["loss"].isfinite().item() for _ in range(3)] == [True] * 3


def test_processes_are_timed() -> None:
    config = TrialConfig.from_flat(TINY)
    data = StudyDataConfig(root="d")
    n_workers, line = measure_worker_count(config, data, None, threads=1)
    assert n_workers == 1
    assert line.startswith("--workers auto: 1 (1 worker ")
    assert line.endswith(" images/s)")


def test_a_fault_in_the_steps_leaves_one_worker_and_says_why(tmp_path: Path) -> None:
    parts = tmp_path / "parts.py"
    parts.write_text("raise RuntimeError('broken on purpose')\n")
    n_workers, line = measure_worker_count(
        TrialConfig.from_flat(TINY), StudyDataConfig(root="d"), parts, threads=2
    )
    assert n_workers == 1
    assert "no step could be timed" in line
    assert "broken on purpose" in line
