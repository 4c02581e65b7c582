"""Worker that logs after each trial the time that its thread spent outside training.

Started by `benchmarks/bookkeeping.py`. Bookkeeping is everything that `TrainingRun.next_epoch` does
beyond the training and validation of an epoch; copies of weights (best epoch, checkpoints) are
counted separately.
"""

import json
import sys
import time
from typing import Any

from harness.training.loop.setup import TrainingSetup
from harness.training.loop.trainer import Trainer
from harness.training.loop.training_run import TrainingRun
from harness.training.worker import worker
from harness.training.worker.parent_death import bind_to_parent


class Watch:
    """Seconds spent in the watched methods; nested calls count once."""

    def __init__(self, *methods: tuple[type, str]) -> None:
        self.seconds, self._inside = 0.0, False
        for owner, name in methods:
            setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, method: Any) -> Any:
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return method(*args, **kwargs)
            begun, self._inside = time.perf_counter(), True
            try:
                return method(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - begun
                self._inside = False

        return timed


def main() -> None:
    bind_to_parent()
    whole = Watch((TrainingRun, "next_epoch"))
    training = Watch((Trainer, "epoch"), (TrainingSetup, "validate_epoch"))
    copies = Watch((TrainingRun, "_remember"), (TrainingRun, "save"))
    fit = worker.fit_trial

    def told(*args: Any, **kwargs: Any) -> Any:
        whole.seconds = training.seconds = copies.seconds = 0.0
        result = fit(*args, **kwargs)
        rest = whole.seconds - training.seconds - copies.seconds
        line = {"bookkeeping": rest, "copies": copies.seconds, "training": training.seconds}
        print(json.dumps(line), file=sys.stderr, flush=True)
        return result

    worker.fit_trial = told
    worker.main()


if __name__ == "__main__":
    main()
