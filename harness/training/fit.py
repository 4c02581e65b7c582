"""Train one trial: from its configuration to the best weights, their scores and what they cost.

Neither Optuna nor MLflow is known here: after each epoch `on_epoch` says whether to go on.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from harness.config import ObjectiveConfig, TrialConfig
from harness.data.cache import ImageCache
from harness.paths import TrialPaths
from harness.training import artifacts
from harness.training.clerk import Clerk, Decision
from harness.training.cost import peak_memory_mb, reset_peak_memory
from harness.training.device import Precision
from harness.training.errors import DivergedError, StaleAttemptError
from harness.training.fence import Fence
from harness.training.memory import Memory, release_memory, retried
from harness.training.metrics import write_scores
from harness.training.part_metrics import metrics_of_study
from harness.training.resume import Line, identity, read_resumable
from harness.training.session import Session
from harness.training.setup import Setup, prepare

__all__ = ["Decision", "DivergedError", "FitResult", "Outcome", "fit"]

Outcome = Literal["complete", "pruned", "stopped"]
_OUTCOMES: dict[Decision, Outcome] = {"prune": "pruned", "stop": "stopped"}


@dataclass(frozen=True)
class FitResult:
    """How a training ended.

    Attributes:
        outcome: "stopped" can be continued by calling `fit` again.
        best_epoch: from 1; None if no epoch was finished.
        best: metrics of the best epoch, keys `best/…`.
        value: the objective metric of the best epoch.
        costs: keys `cost/…`; `cost/peak_mb` is absent where it cannot be measured.
        class_weights: by class, where they were worked out from the training masks.
    """

    outcome: Outcome
    best_epoch: int | None
    best: dict[str, float]
    value: float | None
    costs: dict[str, float]
    class_weights: dict[str, float]


def fit(
    config: TrialConfig,
    images: ImageCache,
    *,
    names: Mapping[int, str],
    paths: TrialPaths,
    seed: int,
    device: torch.device,
    precision: Precision,
    objective: ObjectiveConfig,
    on_epoch: Callable[[Line], Decision],
    augments: Path | None = None,
    attempt: int | None = None,
    micro_batch: int | None = None,
    on_micro_batch: Callable[[int], None] = lambda _: None,
    halt: Callable[[], bool] = lambda: False,
) -> FitResult:
    """Train a trial, or continue it from the checkpoint in its folder.

    On continuing, the log is cut to the checkpoint, the epochs it holds are reported again as
    they were logged, and the numbers are those of an undisturbed training (on the CPU: the same
    bits, for the same number of threads).

    Where a GPU's memory runs out, fewer images go through the network at once and training goes on
    with the same batches and losses; see `harness.training.gradients` for what differs.

    Args:
        names: image names by row of split.csv.
        augments: the folder of the files that `data.augment` may name.
        halt: asked after each step whether to stop there, to be continued.
        on_epoch: gets each epoch's line of epochs.jsonl, on a thread of its own while the next
            epoch is begun; its answer ends the training or not.
        attempt: nothing is written once trial.json names another; None: whatever it says.
        micro_batch: images at once that an earlier attempt came down to; None: whole batches.
        on_micro_batch: told each smaller number that it comes down to.

    Raises:
        ConfigError: parts of the configuration that do not fit together.
        WeightsError: pretrained weights that are not in the local cache.
        DataError: no validation image has anything to find.
        DivergedError: loss or metrics are not finite numbers.
        OSError: a file could not be written, e.g. on a full disk.
        TooLargeError: the device's memory does not hold the training of the smallest part.
        StaleAttemptError: another attempt has begun.
    """
    fence = Fence(paths, attempt)
    fence.check()
    release_memory()  # of trials before, in a warm worker
    peak_is_ours = reset_peak_memory(device)
    resumed = read_resumable(paths, identity(config, seed))
    setup = retried(
        lambda: prepare(
            config,
            images,
            names,
            paths,
            seed=seed,
            device=device,
            precision=precision,
            pretrained=resumed is None,
            metrics=metrics_of_study(images.data, objective),
            augments=augments,
            memory=Memory(config.train.batch_size, micro_batch, on_micro_batch),
        )
    )
    with (
        Clerk(on_epoch) as clerk,
        Session(setup, config, objective, paths, resumed, fence, clerk) as session,
    ):
        outcome = _reported(session, on_epoch) or _train(session, clerk, halt)
    fence.check()
    if outcome != "stopped":
        _write_best(session, setup, paths, with_model=outcome == "complete")
    return _result(outcome, session, setup, peak_is_ours)


def _reported(session: Session, on_epoch: Callable[[Line], Decision]) -> Outcome | None:
    """Report the epochs that were done before, until one of them ends the training."""
    for line in session.log:
        if (decision := on_epoch(line)) != "continue":
            return _OUTCOMES[decision]
    return None


def _train(session: Session, clerk: Clerk, halt: Callable[[], bool]) -> Outcome:
    """Train the epochs that are left; save what is to be continued.

    The next epoch is begun before the answer to the last one is there. What goes wrong in it counts
    only where the answer is to go on, so that pruned or failed is no question of time.
    """
    try:
        while not session.is_over and session.next_epoch(lambda: halt() or clerk.has_ended_it()):
            pass
    except StaleAttemptError:  # nobody answers it any more
        raise
    except Exception:
        if (decision := clerk.answer()) == "continue":
            raise
        return _OUTCOMES[decision]  # nothing is saved: the state is that of a broken epoch
    outcome = _OUTCOMES.get(clerk.answer(), "complete" if session.is_over else "stopped")
    if outcome == "stopped":
        session.save()
    return outcome


def _write_best(session: Session, setup: Setup, paths: TrialPaths, *, with_model: bool) -> None:
    """Write what the best epoch leaves; of a pruned trial only its scores."""
    best = session.best
    assert best is not None
    write_scores(paths.scores_csv, best.scores)
    if not with_model:
        return
    network = setup.trainer.judged
    network.load_state_dict(best.weights)
    kept = artifacts.kept_indices(setup.images)
    judged = setup.validate(kept, keep=kept)
    artifacts.write_probabilities(paths, judged.probabilities, judged.decisions)
    artifacts.write_model(paths, network)


def _result(outcome: Outcome, session: Session, setup: Setup, peak_is_ours: bool) -> FitResult:
    best = session.best
    line = {} if best is None else best.line
    costs = {
        "cost/parameters": float(setup.n_parameters),
        "cost/gflops": setup.gflops,
        "cost/seconds": math.fsum(line["seconds"] for line in session.log),
    }
    if not math.isnan(session.ms_per_image):  # no epoch was finished
        costs["cost/ms_per_image"] = session.ms_per_image
    if peak_is_ours:
        costs["cost/peak_mb"] = peak_memory_mb(setup.device)
    return FitResult(
        outcome=outcome,
        best_epoch=None if best is None else best.epoch,
        best={
            f"best/{key.removeprefix('val/')}": value
            for key, value in line.items()
            if key.startswith("val/")
        },
        value=None if best is None else session.value(best.line),
        costs=costs,
        class_weights=setup.class_weights,
    )
