"""Progress display on a terminal: bars of the study and of each running trial."""

import sys
from collections.abc import Callable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from harness.config.progress import DEFAULT_METRIC, LineProgress, ProgressReporter, trial_line
from harness.config.study import TrialConfig
from harness.core.records import TrialRecord


def open_progress() -> ProgressReporter:
    """Live display on a terminal; plain lines where standard error is a file or a pipe."""
    if sys.stderr.isatty():
        return LiveProgress(Console(stderr=True, highlight=False))
    return LineProgress()


class LiveProgress:
    """Bars at the bottom of the terminal; finished trials and messages scroll above them."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            # Bars vanish at the end; the lines above them are what remains in a log.
            transient=True,
        )
        self._bars.start()
        # The imports before the first message take seconds.
        self._starting: TaskID | None = self._bars.add_task("starting", total=None)
        self._study: TaskID | None = None
        self._trials: dict[int, TaskID] = {}
        self._metric = DEFAULT_METRIC

    def stage(self, text: str) -> None:
        if self._starting is not None:
            self._bars.remove_task(self._starting)
            self._starting = None
        # The text holds names from files; rich would read `[red]` in them as markup.
        self._bars.console.print(text, markup=False, soft_wrap=True)

    def bar(self, text: str) -> Callable[[int, int | None], None]:
        task = self._bars.add_task(text, total=None)

        def update(n_done: int, total: int | None) -> None:
            # Without a known total rich draws a moving bar.
            finished = total is not None and n_done >= total
            self._bars.update(task, completed=n_done, total=total, visible=not finished)

        return update

    def objective(self, metric: str) -> None:
        self._metric = metric

    def trials(self, finished: int, total: int) -> None:
        if self._study is None:
            self._study = self._bars.add_task("study", total=total, completed=finished)
        self._bars.update(self._study, total=total, completed=finished)

    def began(self, record: TrialRecord, config: TrialConfig, *, continued: bool) -> None:
        description = f"trial {record.number}  {config.model.arch} {config.model.encoder_name}"
        self._trials[record.number] = self._bars.add_task(description, total=record.epochs)

    def step(self, record: TrialRecord, epoch: int, step: int, n_steps: int, loss: float) -> None:
        text = f"epoch {epoch}  step {step} of {n_steps}  loss {loss:.4f}"
        self._bars.update(
            self._trials[record.number],
            completed=epoch - 1 + step / n_steps,
            description=f"trial {record.number}  {text}",
        )

    def epoch(self, record: TrialRecord, metrics: dict[str, float]) -> None:
        # Dice as well, because it can be compared between studies with different objectives.
        keys = dict.fromkeys((self._metric, "val/dice"))
        scores = "  ".join(f"{key} {metrics[key]:.4f}" for key in keys if key in metrics)
        self._bars.update(
            self._trials[record.number],
            completed=int(metrics["epoch"]),
            description=f"trial {record.number}  {scores}",
        )

    def ended(self, record: TrialRecord, best: TrialRecord | None) -> None:
        task = self._trials.pop(record.number, None)
        if task is not None:
            self._bars.remove_task(task)
        if self._study is not None and best is not None and best.value is not None:
            description = f"study  best {self._metric} {best.value:.4f} (#{best.number})"
            self._bars.update(self._study, description=description)
        self.stage(trial_line(record, best, self._metric))

    def close(self) -> None:
        self._bars.stop()
