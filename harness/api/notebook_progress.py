"""Progress of API calls: bars in a notebook that has ipywidgets, otherwise lines."""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from harness.config.progress import LineProgress, ProgressReporter
from harness.config.study import TrialConfig
from harness.core.records import TrialRecord


def default_progress() -> ProgressReporter:
    """Reporter of a call that was given none."""
    # A kernel of Jupyter or Colab has imported its own module; IPython in a terminal has not.
    if "ipykernel" not in sys.modules:
        return LineProgress()
    # Notebooks show standard error on red, like a failure.
    return NotebookProgress() if find_spec("ipywidgets") else LineProgress(sys.stdout)


class NotebookProgress(LineProgress):
    """Bars of the study, of each running trial and of long tasks, above the lines."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)
        self._study_bar: Any = None
        self._trial_bars: dict[int, Any] = {}

    def bar(self, text: str) -> Callable[[int, int | None], None]:
        bar = _open_bar(total=None, description=text)

        def update(n_done: int, total: int | None) -> None:
            bar.total = total
            bar.n = n_done
            bar.refresh()
            if total is not None and n_done >= total:
                bar.close()

        return update

    def trials(self, finished: int, total: int) -> None:
        super().trials(finished, total)
        if self._study_bar is None:
            self._study_bar = _open_bar(total=total, description="study", leave=True)
        self._study_bar.total = total
        self._study_bar.n = finished
        self._study_bar.refresh()
        if finished >= total:
            self._study_bar.close()  # green from now on

    def began(self, record: TrialRecord, config: TrialConfig, *, continued: bool) -> None:
        super().began(record, config, continued=continued)
        description = f"trial {record.number}  {config.model.arch} {config.model.encoder_name}"
        self._trial_bars[record.number] = _open_bar(total=record.epochs, description=description)

    def step(self, record: TrialRecord, epoch: int, step: int, n_steps: int, loss: float) -> None:
        bar = self._trial_bars[record.number]
        bar.set_postfix({"epoch": epoch, "step": f"{step} of {n_steps}", "loss": f"{loss:.4f}"})

    def epoch(self, record: TrialRecord, metrics: dict[str, float]) -> None:
        bar = self._trial_bars[record.number]
        keys = dict.fromkeys((self._metric, "val/dice"))
        bar.n = int(metrics["epoch"])
        bar.set_postfix({key: f"{metrics[key]:.4f}" for key in keys if key in metrics})

    def ended(self, record: TrialRecord, best: TrialRecord | None) -> None:
        bar = self._trial_bars.pop(record.number, None)
        if bar is not None:
            bar.close()
        super().ended(record, best)

    def close(self) -> None:
        for bar in (self._study_bar, *self._trial_bars.values()):
            if bar is not None:
                bar.close()


def _open_bar(*, total: int | None, description: str, leave: bool = False) -> Any:
    # Imported here, as tqdm.notebook imports ipywidgets and IPython.
    from tqdm.notebook import tqdm  # noqa: PLC0415

    return tqdm(total=total, desc=description, leave=leave)
