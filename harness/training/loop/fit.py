"""Training of one trial: from its configuration to the best weights, their scores and costs.

Nothing here depends on Optuna or MLflow: after each epoch `on_epoch` returns the decision.
"""

import math
from collections.abc import Callable

from harness.config.study import ObjectiveConfig
from harness.core.records import Outcome, TrialResult
from harness.execution.protocol import Decision
from harness.training.hardware.batch_splitting import MicroBatcher, release_memory, retry_on_oom
from harness.training.hardware.cost import peak_memory_mb, reset_peak_memory
from harness.training.loop import artifacts
from harness.training.loop.async_reporter import AsyncEpochReporter
from harness.training.loop.attempt_guard import AttemptGuard
from harness.training.loop.errors import StaleAttemptError
from harness.training.loop.resume import EpochLine, checkpoint_identity, read_resumable
from harness.training.loop.setup import TrainingInputs, TrainingSetup, prepare_training
from harness.training.loop.training_run import StepCallback, TrainingRun
from harness.training.metrics.custom_metrics import study_metrics
from harness.training.metrics.image_scores import write_scores

_OUTCOMES: dict[Decision, Outcome] = {"prune": "pruned", "stop": "stopped"}


def fit_trial(
    inputs: TrainingInputs,
    objective: ObjectiveConfig,
    on_epoch: Callable[[EpochLine], Decision],
    *,
    attempt: int | None = None,
    micro_batch: int | None = None,
    on_micro_batch: Callable[[int], None] = lambda _: None,
    on_step: StepCallback | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrialResult:
    """Train a trial, or continue it from the checkpoint in its folder.

    A continued training cuts the log to the checkpoint and reports the logged epochs again. Its
    numbers are those of an uninterrupted training (on the CPU: the same bits, for the same number
    of threads).

    If a GPU's memory runs out, fewer images go through the network together and training continues
    with the same batches and losses; see `harness.training.loop.gradients` for what differs.

    Args:
        on_epoch: receives each epoch's line of epochs.jsonl, on a thread of its own while the next
            epoch is trained; its answer continues or ends the training.
        attempt: number of this attempt; nothing is written once trial.json names another one.
            None: trial.json is not consulted.
        micro_batch: images per pass that an earlier attempt came down to; None: whole batches.
        on_micro_batch: receives each smaller number of images per pass.
        on_step: receives epoch, steps, all steps of the epoch and mean loss every few seconds.
        should_stop: called after each step; True stops there, to be continued.

    Raises:
        ConfigError: parts of the configuration that do not fit together.
        WeightsError: pretrained weights that are not in the local cache.
        DataError: no validation image has any foreground.
        DivergedError: loss or metrics are not finite numbers.
        OSError: a file could not be written, e.g. on a full disk.
        TooLargeError: the device's memory does not hold the training of the smallest part.
        StaleAttemptError: another attempt has begun.
    """
    guard = AttemptGuard(inputs.paths, attempt)
    guard.check_current()
    release_memory()  # of trials before, in a warm worker
    peak_is_measurable = reset_peak_memory(inputs.device)
    resumed = read_resumable(inputs.paths, checkpoint_identity(inputs.config, inputs.seed))
    micro_batcher = MicroBatcher(inputs.config.train.batch_size, micro_batch, on_micro_batch)
    setup = retry_on_oom(
        lambda: prepare_training(
            inputs,
            pretrained=resumed is None,
            metrics=study_metrics(inputs.images.data, objective),
            micro_batcher=micro_batcher,
        )
    )
    with (
        AsyncEpochReporter(on_epoch) as reporter,
        TrainingRun(setup, objective, resumed, guard, reporter, on_step) as run,
    ):
        outcome = _replay_logged_epochs(run, on_epoch) or _train_remaining_epochs(
            run, reporter, should_stop
        )
        energy_wh = run.energy_wh()
    guard.check_current()
    seam_index = None
    if outcome != "stopped":
        seam_index = _write_best_epoch(run, setup, with_model=outcome == "complete")
    result = _make_result(outcome, run, setup, peak_is_measurable, energy_wh)
    return result.model_copy(update={"seam_index": seam_index})


def _replay_logged_epochs(
    run: TrainingRun, on_epoch: Callable[[EpochLine], Decision]
) -> Outcome | None:
    """Report the logged epochs of earlier attempts, until a decision ends the training."""
    for line in run.log:
        if (decision := on_epoch(line)) != "continue":
            return _OUTCOMES[decision]
    return None


def _train_remaining_epochs(
    run: TrainingRun, reporter: AsyncEpochReporter, should_stop: Callable[[], bool]
) -> Outcome:
    """Train the remaining epochs; save the state if the training stops early.

    The next epoch starts before the decision about the last one has arrived. An exception in it
    counts only if that decision is "continue", so that timing cannot change pruned into failed.
    """
    try:
        while not run.is_finished and run.run_next_epoch(
            lambda: should_stop() or reporter.should_stop()
        ):
            pass
    except StaleAttemptError:  # no decision will arrive for this attempt
        raise
    except Exception:
        if (decision := reporter.wait_decision()) == "continue":
            raise
        return _OUTCOMES[decision]  # nothing is saved: the epoch has failed
    outcome = _OUTCOMES.get(reporter.wait_decision(), "complete" if run.is_finished else "stopped")
    if outcome == "stopped":
        run.save_checkpoint()
    elif outcome == "pruned":
        run.save_spare_checkpoint()
    return outcome


def _write_best_epoch(run: TrainingRun, setup: TrainingSetup, *, with_model: bool) -> float | None:
    """Write the files of the best epoch; of a pruned trial only its scores. Its seam index."""
    best, paths = run.best, setup.inputs.paths
    assert best is not None
    write_scores(paths.scores_csv, best.scores)
    if not with_model:
        return None
    network = setup.trainer.eval_model
    network.load_state_dict(best.weights)
    indices = artifacts.probability_indices(setup.inputs.images)
    validation = setup.validate_images(indices, keep_indices=indices)
    artifacts.write_probabilities(paths, validation.probabilities, validation.decisions)
    artifacts.write_model(paths, network)
    return validation.seam_index


def _make_result(
    outcome: Outcome,
    run: TrainingRun,
    setup: TrainingSetup,
    peak_is_measurable: bool,
    energy_wh: float | None,
) -> TrialResult:
    best = run.best
    line = {} if best is None else best.line
    costs = {
        "cost/parameters": float(setup.n_parameters),
        "cost/gflops": setup.gflops,
        # Of the log, not of this process: the epochs of earlier attempts count too.
        "cost/seconds": math.fsum(line["seconds"] for line in run.log),
    }
    if not math.isnan(run.ms_per_image):  # no epoch was finished
        costs["cost/ms_per_image"] = run.ms_per_image
    if peak_is_measurable:
        costs["cost/peak_mb"] = peak_memory_mb(setup.inputs.device)
    if energy_wh is not None:
        costs["cost/energy_wh"] = energy_wh
    return TrialResult(
        outcome=outcome,
        best_epoch=None if best is None else best.epoch,
        best={
            f"best/{key.removeprefix('val/')}": value
            for key, value in line.items()
            if key.startswith("val/")
        },
        value=None if best is None else run.objective_value(best.line),
        costs=costs,
        class_weights=setup.class_weights,
        draws=setup.draws,
    )
