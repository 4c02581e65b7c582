"""`--per-gpu auto`: adjust the number of trials on each GPU to their measured memory."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from harness.core.records import TrialRecord
from harness.core.text import count
from harness.execution.gpu_packing import PackingLimits, trials_that_fit
from harness.search.run.observers import TrialObserver
from harness.search.run.running_trial import RunningTrial

PEAK = "cost/peak_mb"


class TrialPacking(TrialObserver):
    """Start with one trial on each GPU, then with as many as fit by the peaks of those that ended.

    After a trial has run out of GPU memory, each GPU gets one trial fewer, and never more again in
    this run of the study.

    Args:
        limits: of the number of trials.
        records: of earlier runs of the study, whose peaks count.
        device: the device that these must have been trained on.
        limit_per_gpu: receives each new number.
        say: receives a line about it.
    """

    def __init__(
        self,
        limits: PackingLimits,
        records: Sequence[TrialRecord],
        device: str | None,
        limit_per_gpu: Callable[[int], None],
        say: Callable[[str], None],
    ) -> None:
        self._limits, self._limit_per_gpu, self._say = limits, limit_per_gpu, say
        self._peaks_mb = [
            record.costs[PEAK]
            for record in records
            if PEAK in record.costs and record.device == device
        ]
        self._micro_batches: dict[int, int | None] = {}  # of running trials, as last seen
        self._n_per_gpu = trials_that_fit(self._peaks_mb, limits)
        limit_per_gpu(self._n_per_gpu)
        self._say(f"--per-gpu auto: starts with {self._text()}; at most {limits.max_per_gpu}")

    def trial_started(self, running: RunningTrial, *, continued: bool) -> None:
        self._micro_batches[running.record.number] = running.record.micro_batch

    def epoch_finished(self, running: RunningTrial, metrics: dict[str, float]) -> None:
        record = running.record
        if record.micro_batch != self._micro_batches.get(record.number):
            self._micro_batches[record.number] = record.micro_batch
            self._reduce(record.number)

    def trial_ended(self, running: RunningTrial) -> None:
        record = running.record
        seen = self._micro_batches.pop(record.number, None)
        if PEAK in record.costs:
            self._peaks_mb.append(record.costs[PEAK])
        failed = record.failure is not None and record.failure.cause == "out_of_memory"
        if failed or record.micro_batch != seen:
            self._reduce(record.number)
        else:
            self._set(trials_that_fit(self._peaks_mb, self._limits), "")

    def _reduce(self, number: int) -> None:
        """One trial fewer on each GPU, for the rest of this run."""
        fewer = max(1, self._n_per_gpu - 1)
        self._limits = replace(self._limits, max_per_gpu=fewer)
        self._set(fewer, f"trial {number} ran out of memory: ")

    def _set(self, n_per_gpu: int, reason: str) -> None:
        if n_per_gpu != self._n_per_gpu:
            self._n_per_gpu = n_per_gpu
            self._limit_per_gpu(n_per_gpu)
            peak = f" (largest peak {max(self._peaks_mb):,.0f} MB)" if self._peaks_mb else ""
            self._say(f"--per-gpu auto: {reason}{self._text()} from now on{peak}")

    def _text(self) -> str:
        return f"{count(self._n_per_gpu, 'trial')} on each GPU"
