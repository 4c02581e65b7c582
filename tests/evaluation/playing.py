"""A study whose trainings are played from a script, with the files that a worker leaves."""

import random
from collections.abc import Sequence

from harness.core.paths import TrialPaths
from harness.data.splits.splits import read_split
from harness.execution.protocol import TrialTask
from harness.training.metrics.image_scores import ScoreEntry, scores_from_entries, write_scores
from tests.search.fakes import FakeExecutor


class Killed(BaseException):
    """The controller dies."""


class Player(FakeExecutor):
    """Plays a curve that follows from rate and seed; dies when `deadly` trials were started."""

    def __init__(self, deadly: int | None = None) -> None:
        super().__init__(curve)
        self._deadly = deadly

    def start(self, task: TrialTask) -> None:
        if len(self.started) == self._deadly:
            raise Killed
        super().start(task)

    def _end(self, task: TrialTask, epoch: int, decision: str) -> None:
        paths = TrialPaths(task.trial_dir)
        loss = min(curve(task)[:epoch])
        entries: list[ScoreEntry] = []
        for row in read_split(task.split_csv):
            if row.role == "val":  # sums with (2 py + 1) / (p + y + 1) = 1 - loss
                py = ((1 - loss) * 200 - 1) / 2
                entries.append((row.row, row.image, 1, py, 100.0, 99.0, 1, 0, 0, 1))
        paths.model.mkdir(parents=True, exist_ok=True)
        (paths.model / "config.json").write_text("{}", encoding="utf-8")
        (paths.model / "model.safetensors").write_bytes(str(task.seed).encode())
        write_scores(paths.scores_csv, scores_from_entries(entries))
        super()._end(task, epoch, decision)  # type: ignore[arg-type]


def curve(task: TrialTask) -> Sequence[float]:
    """Worse for higher rates, with a noise that follows from the seed."""
    noise = random.Random(task.seed).uniform(0, 0.05)
    return [0.9, 0.3 + 20 * task.config.optim.lr + noise]
