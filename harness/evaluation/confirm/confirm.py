"""`harness confirm`: the best configurations of a search, trained again on fresh seeds or folds.

The confirming trials are a study of their own, `<name>.confirm`, in the folder of the one that
they confirm: a listed space, without pruning, run by the same controller under the same lock.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.config.progress import ProgressReporter
from harness.config.study import BudgetConfig, PrunerConfig, SamplerConfig
from harness.config.study_files import read_study_config, require_study_yaml
from harness.config.user_code import register_packages
from harness.core import files, strict_yaml
from harness.core.errors import UserError
from harness.core.paths import StudyPaths
from harness.core.plurals import count, plural
from harness.core.records import read_records
from harness.core.study_lock import hold_study_lock, refuse_if_locked
from harness.data.datasets.sources import find_data, source_folder
from harness.data.splits.splits import SplitRow, read_split, verify_split, write_split
from harness.evaluation.confirm.folds import make_fold_splits
from harness.evaluation.confirm.plan import (
    ConfirmationPlan,
    confirmation_space,
    extend_confirmation_plan,
    find_unconfirmed,
    read_confirmation_plan,
    run_labels,
    write_confirmation_plan,
)
from harness.search.definition.component_checks import legal_names
from harness.search.definition.data_setup import SCAN_CACHE_FOLDER
from harness.search.definition.definition import StudyDefinition, resolve_definition
from harness.search.definition.user_code import load_study_parts
from harness.search.run.launch import device_line, run_preflight, split_line, workers_line
from harness.search.run.request import StudyRequest, plan_request_slots
from harness.search.run.run import StudyRun, run_trials
from harness.search.run.stop_conditions import StopConditions, StopSignals
from harness.search.run.trials import TrialContext
from harness.search.storage.name_check import check_name_is_free
from harness.search.storage.storage import StorageLocation, delete_optuna_study, resolve_storage
from harness.tracking.uri import resolve_tracking_store
from harness.training.hardware.device_probe import resolve_devices


@dataclass(frozen=True)
class ConfirmationSize:
    """What to confirm, and how; None: as it was, else 5 configurations on 3 seeds."""

    top: int | None = None
    seeds: int | None = None
    folds: int | None = None


def run_confirmation(
    request: StudyRequest, size: ConfirmationSize, progress: ProgressReporter
) -> StudyPaths:
    """Train the best configurations again until every planned run has ended.

    Args:
        request: the study, and where to train. What a study's definition holds is not asked for.

    Returns:
        The study's folder.

    Raises:
        UserError: something must be changed first; nothing was written.
        StudyStoppedError: the same cause failed three trials in a row.
        StudyInterrupted: a signal arrived; the confirmation can be continued.
    """
    signals = StopSignals()
    with signals.handle_signals():
        return _run_confirmation(
            request, size, progress, StopConditions(signals=signals, timeout_s=request.timeout_s)
        )


def _run_confirmation(
    request: StudyRequest, size: ConfirmationSize, progress: ProgressReporter, stops: StopConditions
) -> StudyPaths:
    paths, definition = _open_search(request, progress)
    config = definition.config
    previous_plan = read_confirmation_plan(paths)
    plan = extend_confirmation_plan(
        paths, definition, top=size.top, seeds=size.seeds, folds=size.folds
    )
    _log_plan(plan, size, paths, definition, progress)
    storage = resolve_storage(request.workspace, request.storage)
    slots, devices = resolve_devices(plan_request_slots(request))
    source = find_data(config.data.root, request.workspace)
    root = source_folder(source)
    progress.stage(
        f"study {paths.confirm.name} · data {source} · device {device_line(devices)}"
        f"{workers_line(slots)} · workspace {request.workspace.root}"
    )
    split = read_split(paths.split_csv)
    verify_split(split, root)
    splits = _make_splits(plan, previous_plan, paths, definition, split, root, request, progress)
    confirming = _confirming_definition(plan, paths, definition)
    refuse = run_preflight(
        confirming, splits[0], paths.confirm, len(plan.runs), len(slots), progress, None
    )
    tracker = resolve_tracking_store(
        request.workspace,
        paths,
        str(config.id),
        uri=request.tracking_uri,
        experiment=request.experiment,
    )
    if previous_plan is None:
        check_name_is_free(storage, tracker, paths.name, str(config.id), progress.stage)
    with hold_study_lock(paths):
        if read_confirmation_plan(paths) != previous_plan:
            raise UserError(f"{paths.name} was confirmed by another process just now; try again")
        _write_confirming_study(plan, previous_plan, paths, confirming, splits, storage, progress)
        study_run = StudyRun(
            workspace=request.workspace,
            definition=confirming,
            context=TrialContext(paths.confirm, root, request.workspace.cache, slots[0].device),
            split=splits[0],
            trials=len(plan.runs),
            slots=slots,
            device=devices[0].description,
            refuse=refuse,
            stop_conditions=stops,
            storage=storage,
            tracking_store=tracker,
            more_splits=splits[1:],
        )
        run_trials(study_run, progress)
    return paths


def _open_search(
    request: StudyRequest, progress: ProgressReporter
) -> tuple[StudyPaths, StudyDefinition]:
    """The search, as it was defined."""
    paths = request.workspace.study(request.study or "")
    require_study_yaml(paths)
    refuse_if_locked(paths)
    for problem in register_packages():
        progress.stage(problem)
    load_study_parts(paths, None)
    definition = resolve_definition(paths, space=None, overrides={}, fixed={}, legal=legal_names())
    if not definition.is_started:
        raise UserError(f"study {paths.name} has not begun; there is nothing to confirm")
    return paths, definition


def _log_plan(
    plan: ConfirmationPlan,
    size: ConfirmationSize,
    paths: StudyPaths,
    definition: StudyDefinition,
    progress: ProgressReporter,
) -> None:
    """What is confirmed, and where that is not quite what was asked for."""
    trials = ", ".join(str(number) for number in plan.trials)
    repetitions = count(plan.parts, plan.kind) + ("" if plan.folds is None else " of train and val")
    progress.stage(
        f"confirms {count(len(plan.trials), 'configuration')} of {paths.name} "
        f"({plural('trial', len(plan.trials))} {trials}) on {repetitions}: "
        f"{count(len(plan.runs), 'training')}"
    )
    if len(plan.trials) < plan.top:
        progress.stage(f"{plan.top} were asked for; the search has no more that are different")
    if (size.top or plan.top) < plan.top or (size.seeds or plan.parts) < plan.parts:
        progress.stage("that is what was begun with; a confirmation only grows")
    minimized = definition.config.objective.direction == "minimize"
    better_trials = find_unconfirmed(plan, read_records(paths), minimized=minimized)
    if better_trials:
        numbers = ", ".join(str(number) for number in better_trials)
        progress.stage(
            f"the search has come to better ones since then (trials {numbers}): "
            f"--top {len(plan.trials) + len(better_trials)} confirms them too"
        )


def _make_splits(
    plan: ConfirmationPlan,
    previous_plan: ConfirmationPlan | None,
    paths: StudyPaths,
    definition: StudyDefinition,
    split: list[SplitRow],
    root: Path,
    request: StudyRequest,
    progress: ProgressReporter,
) -> list[list[SplitRow]]:
    """The split of the study; of a confirmation on folds one for each."""
    if plan.folds is None:
        progress.stage(split_line(split))
        return [split]
    if previous_plan is not None:
        return [read_split(path) for path in _fold_files(plan, paths)]
    n_used = sum(row.role != "test" for row in split)
    return make_fold_splits(
        split,
        plan.folds,
        seed=definition.config.split.seed,
        data=definition.config.data,
        root=root,
        max_pixels=definition.config.limits.max_pixels,
        scan_cache=request.workspace.cache / SCAN_CACHE_FOLDER,
        on_progress=progress.bar(f"dealing {n_used} train and val images to {plan.folds} folds"),
    )


def _fold_files(plan: ConfirmationPlan, paths: StudyPaths) -> list[Path]:
    """`split-<fold>.csv` of each fold, in order."""
    return [paths.confirm.split_for({"fold": str(fold)}) for fold in range(plan.folds or 0)]


def _confirming_definition(
    plan: ConfirmationPlan, paths: StudyPaths, definition: StudyDefinition
) -> StudyDefinition:
    """The confirming study."""
    records = {record.number: record for record in read_records(paths)}
    space = confirmation_space(plan, definition, records)
    n_runs = len(plan.runs)
    config = definition.config.model_copy(
        update={
            "id": _recorded_id(paths) or uuid.uuid4().hex,
            "question": None,
            "space": None,
            "sampler": SamplerConfig(name="grid"),
            "pruner": PrunerConfig(name="none"),
            "budget": BudgetConfig(trials=n_runs, keep=n_runs),
            "fixed": space.fixed,
            "taken": {},
            "imports": (),
        }
    )
    return StudyDefinition(config, space, is_started=True)


def _recorded_id(paths: StudyPaths) -> str | None:
    """The id of the confirming study that has begun."""
    return None if read_confirmation_plan(paths) is None else read_study_config(paths.confirm).id


def _write_confirming_study(
    plan: ConfirmationPlan,
    previous_plan: ConfirmationPlan | None,
    paths: StudyPaths,
    confirming: StudyDefinition,
    splits: Sequence[list[SplitRow]],
    storage: StorageLocation,
    progress: ProgressReporter,
) -> None:
    """The files of the confirming study; the plan last, as it says that all of them are there."""
    confirm_paths = paths.confirm
    if previous_plan is None:
        if any(confirm_paths.all_trials()):
            raise UserError(f"{confirm_paths.root} holds trials, but no confirm.yaml; move it away")
        if delete_optuna_study(storage, confirm_paths.name):
            progress.stage(
                f"{confirm_paths.name}, whose folder is gone, was taken out of the index"
            )
        for path, rows in zip(_fold_files(plan, paths), splits, strict=False):
            write_split(path, rows)
    else:
        _check_records(plan, confirm_paths)
    space_text = strict_yaml.dump_yaml(confirming.recorded_space.as_dict())
    files.write_text(
        confirm_paths.study_yaml, strict_yaml.dump_yaml(confirming.config.model_dump(mode="json"))
    )
    files.write_text(confirm_paths.space_yaml, space_text)
    write_confirmation_plan(paths, plan)


def _check_records(plan: ConfirmationPlan, confirm_paths: StudyPaths) -> None:
    """Refuse a plan that was edited: its runs are told apart by their place alone."""
    for record in read_records(confirm_paths):
        runs = plan.runs[record.number : record.number + 1]
        if [run_labels(plan, run) for run in runs] != [record.labels]:
            raise UserError(
                f"{confirm_paths.confirm_yaml}: run {record.number} is not what was trained; put "
                "the file "
                f"back, or move {confirm_paths.root} away and begin anew"
            )
