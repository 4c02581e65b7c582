from typing import Any

from harness.config.study import TrialConfig
from harness.core.records import TrialFailure, TrialRecord
from harness.execution.gpu_packing import PackingLimits
from harness.search.run.running_trial import RunningTrial
from harness.search.run.trial_packing import PEAK, TrialPacking

LIMITS = PackingLimits(free_mb=16_000, max_per_gpu=8)


def record(number: int, peak: float | None = None, **fields: Any) -> TrialRecord:
    costs = {} if peak is None else {PEAK: peak}
    return TrialRecord(
        study="s",
        number=number,
        state=fields.pop("state", "complete"),
        params={},
        distributions={},
        epochs=2,
        seed=0,
        costs=costs,
        **{"device": "cuda (A)", **fields},
    )


class Packed:
    """A packing with what it has set and said."""

    def __init__(self, *earlier: TrialRecord) -> None:
        self.limits: list[int] = []
        self.lines: list[str] = []
        self.packing = TrialPacking(
            LIMITS, earlier, "cuda (A)", self.limits.append, self.lines.append
        )

    def start(self, number: int, **fields: Any) -> None:
        self.packing.trial_started(running(record(number, **fields)), continued=False)

    def end(self, number: int, peak: float | None, **fields: Any) -> None:
        self.packing.trial_ended(running(record(number, peak, **fields)))


def running(trial: TrialRecord) -> RunningTrial:
    return RunningTrial(trial=None, record=trial, config=TrialConfig())  # type: ignore[arg-type]


def test_one_trial_is_measured_before_more_run_together() -> None:
    packed = Packed()
    assert packed.limits == [1]
    packed.start(0)
    packed.end(0, 2000)
    packed.start(1)
    packed.end(1, 1000)
    packed.end(2, 4000)
    assert packed.limits == [1, 4, 2]  # the smaller trial changes nothing, the larger one does
    assert packed.lines == [
        "--per-gpu auto: starts with 1 trial on each GPU; at most 8",
        "--per-gpu auto: 4 trials on each GPU from now on (largest peak 2,000 MB)",
        "--per-gpu auto: 2 trials on each GPU from now on (largest peak 4,000 MB)",
    ]


def test_peaks_of_earlier_runs_count_if_the_device_is_the_same() -> None:
    assert Packed(record(0, 2000), record(1)).limits == [4]
    assert Packed(record(0, 2000, device="cuda (B)"), record(1, 9, device="cpu")).limits == [1]


def test_after_micro_batches_there_is_one_trial_fewer_for_good() -> None:
    packed = Packed(record(0, 2000))
    packed.start(1)
    packed.start(2, micro_batch=4)  # came down to it in an earlier run
    packed.packing.epoch_finished(running(record(2, micro_batch=4)), {})
    assert packed.limits == [4]
    packed.packing.epoch_finished(running(record(1, micro_batch=4)), {})
    packed.packing.epoch_finished(running(record(1, micro_batch=4)), {})
    assert packed.limits == [4, 3]
    packed.end(1, 500, micro_batch=4)
    packed.end(2, 500, micro_batch=4)
    assert packed.limits == [4, 3]
    assert packed.lines[-1] == (
        "--per-gpu auto: trial 1 ran out of memory: 3 trials on each GPU from now on "
        "(largest peak 2,000 MB)"
    )


def test_trial_that_fails_for_memory_leaves_one_fewer_but_never_none() -> None:
    packed = Packed(record(0, 4000))
    failure = TrialFailure(cause="out_of_memory", message="no")
    for number in (1, 2, 3):
        packed.start(number)
        packed.end(number, None, state="failed", failure=failure)
    assert packed.limits == [2, 1]
    packed.end(4, None, state="failed", failure=TrialFailure(cause="crashed", message="no"))
    assert packed.limits == [2, 1]
