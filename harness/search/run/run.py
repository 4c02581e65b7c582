"""Run of a defined study: open its database, start mirror and workers, train until it stops."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage

from harness.config.progress import ProgressReporter
from harness.core.environment import last_trained_trial, read_environment
from harness.core.errors import StudyInterrupted
from harness.core.paths import Workspace
from harness.core.records import count_ended_trials, read_records
from harness.core.text import count
from harness.data.splits.splits import SplitRow
from harness.execution.gpu_packing import PackingLimits
from harness.execution.local_executor import LocalExecutor
from harness.execution.prestart import PrestartedWorker
from harness.execution.protocol import Executor
from harness.execution.slots import Slot
from harness.search.definition.cluster_access import ClusterAccess
from harness.search.definition.data_setup import fill_caches
from harness.search.definition.definition import StudyDefinition, record_trial_budget
from harness.search.definition.network_library import NetworkLibrary, may_use_weights
from harness.search.definition.trial_plan import plan_line
from harness.search.pruning.curve_control import control_arm_line
from harness.search.run.budget import BudgetUsage
from harness.search.run.cluster_inputs import TaskInputBuilder
from harness.search.run.controller import Controller
from harness.search.run.disk_space import MIN_FREE_BYTES, DiskSpaceGuard
from harness.search.run.retention import remove_spare_checkpoints
from harness.search.run.second_chances import reopen_stopped_trials
from harness.search.run.stop_conditions import StopConditions, StopReason
from harness.search.run.trial_packing import TrialPacking
from harness.search.run.trials import TrialContext
from harness.search.storage.location import StorageLocation
from harness.search.storage.rebuild import load_or_rebuild_study
from harness.search.storage.storage import open_storage, stop_on_database_error
from harness.tracking.mirror import Mirror
from harness.tracking.uri import TrackingStore

# For MLflow to catch up at the end. After a signal it has a second: a scheduler that pre-empts this
# process kills it soon, and the next run of the study sends the rest.
MIRROR_TIMEOUT_S, MIRROR_TIMEOUT_AFTER_SIGNAL_S = 60.0, 1.0
RefusalRule = Callable[[Mapping[str, Any]], str | None]


@dataclass(frozen=True)
class StudyRun:
    """A study that is ready to run in this process, which holds its lock.

    Attributes:
        trials: total number of finished trials that the user requested.
        slots: places for workers, one trial each; () on a cluster.
        packing: limits of the trials on each GPU; None: every slot is used.
        device: description of the first device, for messages; None: the nodes choose theirs.
        refuse: reason why a configuration that the space allows must not be sampled, or None.
        stop_conditions: reasons to end the study early.
        storage: the database of the Optuna study.
        tracking_store: the MLflow store that mirrors the study.
        more_splits: further splits that its trials are trained on, if it has folds.
        networks: the network libraries.
        cluster: trains the trials; None: this machine.
    """

    workspace: Workspace
    definition: StudyDefinition
    context: TrialContext
    split: Sequence[SplitRow]
    trials: int
    slots: Sequence[Slot]
    device: str | None
    refuse: RefusalRule
    stop_conditions: StopConditions
    storage: StorageLocation
    tracking_store: TrackingStore
    networks: NetworkLibrary
    more_splits: Sequence[Sequence[SplitRow]] = ()
    cluster: ClusterAccess | None = None
    packing: PackingLimits | None = None


def run_trials(
    run: StudyRun, progress: ProgressReporter, early: PrestartedWorker | None = None
) -> None:
    """Train until the requested trials are finished, or something stops the study.

    Args:
        early: a worker that was started while the study was being defined.

    Raises:
        StudyStoppedError: three trials in a row failed for the same cause.
        StudyInterrupted: a signal arrived; the study can be continued.
    """
    paths, config = run.context.paths, run.definition.config
    storage = open_storage(run.storage, progress.stage)
    with stop_on_database_error(run.storage):
        study = load_or_rebuild_study(storage, paths, run.definition, progress.stage)
    record_trial_budget(paths, config, run.trials)
    run.stop_conditions.budget_usage = BudgetUsage(paths, config)
    environment = read_environment(run.workspace.root)
    if (changed := environment.describe_changes(last_trained_trial(paths), run.device)) is not None:
        progress.stage(changed)
    mirror = Mirror(run.tracking_store, paths, config, progress.stage)
    executor = _open_executor(run, early, progress)
    disk_guard = _make_disk_guard(run, progress)
    progress.objective(config.objective.metric)
    build_controller = partial(
        Controller,
        storage=storage,
        definition=run.definition,
        context=run.context,
        executor=executor,
        progress=progress,
        mirror=mirror,
        environment=environment,
        refuse=run.refuse,
        stop_conditions=run.stop_conditions,
        disk_guard=disk_guard,
        packing=_pack_trials(run, executor, progress),
    )
    with _closing(executor.close):
        controller = build_controller(study)
        n_finished = controller.count_finished()
        progress.stage(plan_line(n_finished, run.trials, run.definition.space))
        if not n_finished:  # an unusable MLflow store is worth stopping for only before any result
            run.stop_conditions.checks.append(mirror.check)
        if n_finished < run.trials:
            root = run.context.data_root
            for split in (run.split, *run.more_splits):
                disk_guard.retry_when_full(
                    partial(fill_caches, run.definition, run.workspace, root, split, progress)
                )

        def run_trials_to_end() -> StopReason | None:
            stop = controller.run(run.trials)
            if stop is not None:
                return stop
            return _run_second_chances(run, storage, build_controller, progress)

        stop = _run_until_stopped(run, run_trials_to_end, executor, mirror, progress)
    if (line := control_arm_line(paths, config)) is not None:
        progress.stage(line)
    if stop is not None:
        n_finished = count_ended_trials(paths)
        progress.stage(f"{n_finished} of {run.trials} trials are finished")
        if stop.signal is not None:
            raise StudyInterrupted(stop.signal)


def _open_executor(
    run: StudyRun, early: PrestartedWorker | None, progress: ProgressReporter
) -> Executor:
    paths = run.context.paths
    if run.cluster is None:
        return LocalExecutor(paths.worker_log, slots=run.slots, prestarted=early)
    study_id = str(run.definition.config.id)
    inputs = TaskInputBuilder(
        paths,
        study_id,
        run.context.cache,
        run.cluster.open_store(study_id),
        uses_weights=may_use_weights(run.definition, run.networks),
        weight_files=run.networks.weight_files,
    )
    return run.cluster.open_executor(inputs, study_id=study_id, say=progress.stage)


def _pack_trials(
    run: StudyRun, executor: Executor, progress: ProgressReporter
) -> TrialPacking | None:
    if run.packing is None:
        return None
    assert isinstance(executor, LocalExecutor), "--per-gpu is refused on a cluster"
    records = read_records(run.context.paths)
    return TrialPacking(run.packing, records, run.device, executor.limit_per_gpu, progress.stage)


def _make_disk_guard(run: StudyRun, progress: ProgressReporter) -> DiskSpaceGuard:
    """Guard the folders to which the study writes; spare checkpoints are dispensable."""
    folders = [run.context.paths.root, run.workspace.root]
    if isinstance(run.storage, Path) and run.storage.parent not in folders:
        folders.append(run.storage.parent)
    free_up = partial(remove_spare_checkpoints, run.context.paths)
    return DiskSpaceGuard(folders, MIN_FREE_BYTES, progress, run.stop_conditions, free_up=free_up)


def _run_second_chances(
    run: StudyRun,
    storage: RDBStorage,
    build_controller: Callable[[optuna.Study], Controller],
    progress: ProgressReporter,
) -> StopReason | None:
    """Continue the most promising stopped trials, then remove the checkpoints of the others."""
    paths = run.context.paths
    reopened = reopen_stopped_trials(paths, run.definition.config)
    stop = None
    if reopened:
        numbers = ", ".join(str(record.number) for record in reopened)
        trials = count(len(reopened), "stopped trial")
        progress.stage(f"second chances: {trials} of the best values continue ({numbers})")
        study = load_or_rebuild_study(storage, paths, run.definition, lambda line: None)
        stop = build_controller(study).run(run.trials)
    if stop is None:
        remove_spare_checkpoints(paths)
    return stop


def _run_until_stopped(
    run: StudyRun,
    run_trials_to_end: Callable[[], StopReason | None],
    executor: Executor,
    mirror: Mirror,
    progress: ProgressReporter,
) -> StopReason | None:
    stop = None
    try:
        # Only while trials run is there something to save;
        # before that a signal ends the command directly.
        with run.stop_conditions.defer_first_signal(), stop_on_database_error(run.storage):
            stop = run_trials_to_end()
    finally:
        # Before the mirror finishes: the workers' last files are among those that it copies.
        executor.close()
        by_signal = stop is not None and stop.signal is not None
        timeout_s = MIRROR_TIMEOUT_AFTER_SIGNAL_S if by_signal else MIRROR_TIMEOUT_S
        mirror_message = mirror.finish(timeout_s)
        if mirror_message:
            progress.stage(mirror_message)
    return stop


@contextmanager
def _closing(close: Callable[[], None]) -> Iterator[None]:
    try:
        yield
    finally:
        close()
