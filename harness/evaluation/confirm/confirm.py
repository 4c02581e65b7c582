"""`harness confirm`: train the best configurations of a search again on fresh seeds or folds.

The confirming trials form a separate study, `<name>.confirm`, inside the folder of the study that
they confirm: a listed space without pruning, run by the same controller under the same lock.
"""

from contextlib import closing
from dataclasses import dataclass

from harness.config.progress import ProgressReporter
from harness.config.study_files import read_study_config, require_study_yaml
from harness.core.errors import UserError
from harness.core.paths import StudyPaths, TrialPaths, Workspace
from harness.core.records import TrialRecord, read_records
from harness.core.study_lock import hold_study_lock, refuse_if_locked
from harness.core.text import count, plural
from harness.data.datasets.sources import find_data, source_folder
from harness.data.splits.splits import read_split
from harness.evaluation.confirm.confirming_study import (
    build_confirming_definition,
    make_confirmation_splits,
    write_confirming_study,
)
from harness.evaluation.confirm.load_confirmation import load_confirmation
from harness.evaluation.confirm.plan import (
    ConfirmationPlan,
    extend_confirmation_plan,
    find_unconfirmed,
    read_confirmation_plan,
)
from harness.evaluation.decision.frozen_rule import describe_choice, load_or_choose_rule
from harness.evaluation.held_out.images import EvaluationImages, check_images_unchanged
from harness.evaluation.held_out.measure import ImageEvaluator
from harness.evaluation.held_out.weights import TrialWeights, confirmed_weights
from harness.search.definition.context import StudyContext, open_context
from harness.search.definition.definition import StudyDefinition
from harness.search.definition.options import RunOptions
from harness.search.run.launch import build_study_run, run_preflight, summary_line
from harness.search.run.run import run_trials
from harness.search.run.stop_conditions import StopConditions, stop_on_signals
from harness.search.storage.name_check import check_name_is_free
from harness.training.metrics.image_scores import write_scores


@dataclass(frozen=True)
class ConfirmationSize:
    """Requested size of a confirmation.

    None keeps the size of an existing confirmation; a new one has 5 configurations on 3 seeds.
    """

    top: int | None = None
    seeds: int | None = None
    folds: int | None = None


def run_confirmation(
    options: RunOptions, size: ConfirmationSize, progress: ProgressReporter
) -> StudyPaths:
    """Train the best configurations again until every planned run has ended.

    Args:
        options: name of the study, and where to train; the other search options are not used.

    Returns:
        The study's folder.

    Raises:
        UserError: the user must change something first; nothing was written.
        StudyStoppedError: the same cause failed three trials in a row.
        StudyInterrupted: a signal arrived; the confirmation can be continued.
    """
    with stop_on_signals(options.compute.timeout_s) as stop_conditions:
        context = _open_search(options, progress)
        with closing(context):
            _run_confirmation(context, size, progress, stop_conditions)
    return context.paths


def _run_confirmation(
    context: StudyContext,
    size: ConfirmationSize,
    progress: ProgressReporter,
    stop_conditions: StopConditions,
) -> None:
    paths, definition = context.paths, context.definition
    previous_plan = read_confirmation_plan(paths)
    plan = extend_confirmation_plan(
        paths, definition, top=size.top, seeds=size.seeds, folds=size.folds
    )
    _log_plan(plan, size, paths, definition, progress)
    storage, n_workers = context.storage, context.n_workers
    progress.stage(summary_line(context, paths.confirm))
    splits = make_confirmation_splits(plan, previous_plan, context, progress)
    confirming = build_confirming_definition(plan, paths, definition)
    # One fold stands for all: they have the same images, only with other roles.
    refuse = run_preflight(
        context.networks, confirming, splits[0], paths.confirm, len(plan.runs), n_workers, progress
    )
    # The search's own store: its confirming trials go into the same experiment.
    tracking_store = context.tracking_store
    if previous_plan is None:
        study_id = str(definition.config.id)
        check_name_is_free(storage, tracking_store, paths.name, study_id, progress.stage)
    require_study_yaml(paths)  # renamed or deleted since it was opened
    with hold_study_lock(paths):
        # Planning and preflight ran without the lock, so another process may have written a plan.
        if read_confirmation_plan(paths) != previous_plan:
            raise UserError(
                f"study {paths.name}: another process has just changed its confirmation; "
                "run the command again"
            )
        write_confirming_study(plan, previous_plan, paths, confirming, splits, storage, progress)
        study_run = build_study_run(
            context,
            confirming,
            paths.confirm,
            splits,
            len(plan.runs),
            refuse=refuse,
            stops=stop_conditions,
        )
        run_trials(study_run, progress)


def _open_search(options: RunOptions, progress: ProgressReporter) -> StudyContext:
    """Open the search that is confirmed, with its recorded definition."""
    paths = options.stores.workspace.study(options.search.study or "")
    require_study_yaml(paths)
    # Opening and planning take a while, so a lock that
    # is held already ends the command before them.
    refuse_if_locked(paths)
    context = open_context(options, paths, progress)
    if not context.definition.is_started:
        raise UserError(
            f"study {paths.name} has not started, so there is nothing to confirm; "
            f"run it first: harness run --study {paths.name}"
        )
    return context


def _log_plan(
    plan: ConfirmationPlan,
    size: ConfirmationSize,
    paths: StudyPaths,
    definition: StudyDefinition,
    progress: ProgressReporter,
) -> None:
    """Report the plan and each difference from what the user requested."""
    trials = ", ".join(str(number) for number in plan.trials)
    repetitions = count(plan.parts, plan.kind) + ("" if plan.folds is None else " of train and val")
    progress.stage(
        f"confirms {count(len(plan.trials), 'configuration')} of {paths.name} "
        f"({plural('trial', len(plan.trials))} {trials}) on {repetitions}: "
        f"{count(len(plan.runs), 'training')}"
    )
    if len(plan.trials) < plan.top:
        progress.stage(
            f"{plan.top} were requested, but the search has only "
            f"{count(len(plan.trials), 'different configuration')}"
        )
    if (size.top or plan.top) < plan.top or (size.seeds or plan.parts) < plan.parts:
        progress.stage("an earlier confirmation was larger; its size is kept")
    better_trials = find_unconfirmed(plan, read_records(paths), definition.config.objective)
    if better_trials:
        numbers = ", ".join(str(number) for number in better_trials)
        progress.stage(
            f"the search has since found better configurations (trials {numbers}); "
            f"use --top {len(plan.trials) + len(better_trials)} to confirm them as well"
        )


def measure_native_size(
    workspace: Workspace, paths: StudyPaths, device: str, progress: ProgressReporter
) -> None:
    """Write `best/own-sizes.csv` of each complete confirming trial that lacks it.

    The file has the columns of scores.csv and the additional ones of a held-out test. Only
    validation images are opened, each by weights that were not trained on it.

    Raises:
        UserError, DataError: an image has changed or cannot be read; another process holds the
            study's lock.
    """
    with hold_study_lock(paths):
        for record in read_records(paths.confirm):
            trial = paths.confirm.trial(record.number)
            has_weights = record.state == "complete" and trial.model.is_dir()
            # The file is written atomically, so a pass that was
            # interrupted continues with the missing ones.
            if has_weights and not trial.native_size_csv.exists():
                _measure_trial(workspace, paths, record, trial, device, progress)


def _measure_trial(
    workspace: Workspace,
    paths: StudyPaths,
    record: TrialRecord,
    trial: TrialPaths,
    device: str,
    progress: ProgressReporter,
) -> None:
    from harness.training.hardware.device import pick_device  # noqa: PLC0415  # imports torch
    from harness.training.metrics.native_size import NativePredictor  # noqa: PLC0415  # imports torch

    config = read_study_config(paths)
    weights = TrialWeights(str(record.number), trial, paths.confirm.split_for(record.labels))
    images = EvaluationImages(
        f"val at their own sizes, confirming trial {record.number}",
        source_folder(find_data(config.data.root, workspace)),
        tuple(row for row in read_split(weights.split_csv) if row.role == "val"),
        config.data,
        config.limits.max_pixels,
    )
    # Before any network is loaded: these images must be the ones that the trial was validated on.
    check_images_unchanged(images)
    network = NativePredictor(trial.model, weights.config, config.data, pick_device(device))
    evaluator = ImageEvaluator([network], config.data, tta=False, progress=progress)
    write_scores(trial.native_size_csv, evaluator.score_images(images, None))


def freeze_confirmed_rule(options: RunOptions, progress: ProgressReporter) -> None:
    """Choose the decision rule of the confirmed choice on validation images, and freeze it.

    Does nothing without a choice; a rule that is frozen already is kept.

    Raises:
        UserError, DataError: an image has changed or cannot be read, the weights are gone; another
            process holds the study's lock.
    """
    paths = options.stores.workspace.study(options.search.study or "")
    confirmation = load_confirmation(paths)
    if confirmation is None or confirmation.choice is None:
        return
    with hold_study_lock(paths), closing(open_context(options, paths, progress)) as context:
        weights = confirmed_weights(paths, confirmation)
        frozen = load_or_choose_rule(context, weights, progress)
        data = context.config.data
    for line in describe_choice(frozen, data):
        progress.stage(line)
