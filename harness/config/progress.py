"""Progress messages of a running study: one line per stage and per finished trial."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Protocol, TextIO

from harness.config.study import ObjectiveConfig, TrialConfig
from harness.core.records import ParameterValue, TrialRecord
from harness.core.text import format_duration

DEFAULT_METRIC = ObjectiveConfig().metric
KEYLESS_PARAMETERS = ("model.arch", "model.encoder_name", "optim.name")  # values that are names


class ProgressReporter(Protocol):
    """Receiver of the events of a run. Records have the state at the time of the event."""

    def stage(self, text: str) -> None:
        """Show a resolved fact, e.g. the device, in one line."""
        ...

    def bar(self, text: str) -> Callable[[int, int | None], None]:
        """Show the start of a long task; call the result with (done, total), total may be None."""
        ...

    def objective(self, metric: str) -> None:
        """Set the metric by which the next trials are ranked, e.g. `val/miou`."""
        ...

    def trials(self, finished: int, total: int) -> None:
        """Set the number of finished trials and of planned ones."""
        ...

    def began(self, record: TrialRecord, config: TrialConfig, *, continued: bool) -> None: ...

    def step(self, record: TrialRecord, epoch: int, step: int, n_steps: int, loss: float) -> None:
        """Show the progress within epoch `epoch`, from 1; `loss`: mean of its `step` steps."""
        ...

    def epoch(self, record: TrialRecord, metrics: dict[str, float]) -> None: ...

    def ended(self, record: TrialRecord, best: TrialRecord | None) -> None: ...

    def close(self) -> None:
        """End the display."""
        ...


class TrialMirror(Protocol):
    """Background copier of trial folders to another store, e.g. MLflow."""

    def note(self, number: int) -> None:
        """Mark the folder of trial `number` as changed; must return immediately."""
        ...


class LineProgress:
    """Reporter that writes lines, for logs, notebooks and pipes."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr  # standard output is for results
        self._finished = self._total = 0
        self._metric = DEFAULT_METRIC
        self._first: tuple[float, int] | None = None

    def stage(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()

    def bar(self, text: str) -> Callable[[int, int | None], None]:
        self.stage(text)
        return lambda n_done, total: None

    def objective(self, metric: str) -> None:
        self._metric = metric

    def trials(self, finished: int, total: int) -> None:
        self._finished, self._total = finished, total
        if self._first is None:
            # Trials that earlier runs finished took no time of this run, so they would raise the
            # pace.
            self._first = (time.monotonic(), finished)

    def began(self, record: TrialRecord, config: TrialConfig, *, continued: bool) -> None:
        if continued:
            self.stage(f"trial {record.number}  continues (attempt {record.attempt})")

    def step(
        self, record: TrialRecord, epoch: int, step: int, n_steps: int, loss: float
    ) -> None: ...

    def epoch(self, record: TrialRecord, metrics: dict[str, float]) -> None: ...

    def ended(self, record: TrialRecord, best: TrialRecord | None) -> None:
        remaining_text = remaining_time_text(self._first, self._finished, self._total)
        self.stage(f"{trial_line(record, best, self._metric)}{remaining_text}")

    def close(self) -> None: ...


def trial_line(record: TrialRecord, best: TrialRecord | None, metric: str) -> str:
    """Line about a finished trial: value, best so far, other metrics, configuration, duration.

    Args:
        metric: metric of the objective.
    """
    head = f"trial {record.number}  "
    if record.state == "failed":
        cause = record.failure.cause if record.failure else "unknown"
        message = record.failure.message if record.failure else ""
        return f"{head}failed: {cause}: {message.splitlines()[0] if message else ''}"
    fields = [f"{head}{record.state}"]
    if record.value is not None:
        fields.append(f"{metric} {record.value:.4f}")
    if best is not None and best.value is not None:
        fields.append(f"best {best.value:.4f} (#{best.number})")
    fields += [
        f"val/{name} {record.best[f'best/{name}']:.4f}"
        for name in ("dice_loss", "dice", "iou")
        if f"best/{name}" in record.best and f"val/{name}" != metric
    ]
    if record.repeats is not None:
        fields.append(f"repeats #{record.repeats}")
    if record.second_chance is not None:
        fields.append(f"second chance after epoch {record.second_chance}")
    fields.append(short_configuration(record.params))
    seconds = record.costs.get("cost/seconds")
    return "  ".join(fields if seconds is None else [*fields, format_duration(seconds)])


def short_configuration(params: Mapping[str, ParameterValue]) -> str:
    """Short text of the searched parameters, e.g. `FPN resnet18 lr 0.0034 loss.dice 0.71`."""
    return " ".join(
        str(value) if key in KEYLESS_PARAMETERS else f"{_short_key(key)} {_short_value(value)}"
        for key, value in params.items()
    )


def remaining_time_text(first: tuple[float, int] | None, finished: int, total: int) -> str:
    """Estimate `  · 3 of 12 · about 4 min left` from the pace since this run started.

    Args:
        first: time and number of finished trials at the start of this run; None before it.
    """
    if first is None or finished <= first[1]:
        return ""
    pace = (time.monotonic() - first[0]) / (finished - first[1])
    remaining_s = max(total - finished, 0) * pace
    return f"  · {finished} of {total}" + (
        f" · about {format_duration(remaining_s)} left" if remaining_s else ""
    )


def _short_key(key: str) -> str:
    group, _, name = key.rpartition(".")
    return key if group == "loss" else name  # "dice" alone would read like a metric


def _short_value(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
