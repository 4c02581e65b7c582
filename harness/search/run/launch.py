"""From what the user asked for to a running study: settle, check everything, write, run.

Nothing is written before every check has passed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from harness.config.progress import ProgressReporter
from harness.config.study import objective_override
from harness.config.user_code import register_packages
from harness.core.errors import UserError
from harness.core.paths import StudyPaths
from harness.core.plurals import count
from harness.core.records import read_records
from harness.core.study_lock import hold_study_lock, refuse_if_locked
from harness.data.datasets.sources import find_data, source_folder
from harness.data.splits.splits import SplitRow
from harness.execution.prestart import PrestartedWorker
from harness.execution.slots import VISIBLE_DEVICES, Slot
from harness.models.weights import ensure_weights
from harness.preflight.network_key import PreflightSetting
from harness.preflight.network_table import NetworkChecker, check_network_table
from harness.search.definition.component_checks import (
    check_augments,
    check_losses,
    check_networks,
    delayed_bar,
    legal_names,
    possible_values,
    pretrained_models,
)
from harness.search.definition.data_setup import load_or_make_split
from harness.search.definition.definition import (
    StudyDefinition,
    resolve_definition,
    study_is_started,
    write_definition,
)
from harness.search.definition.user_code import load_study_parts, parts_override
from harness.search.imports.copy_trials import copy_imports
from harness.search.imports.imports import check_import_names, log_import_plans, plan_imports
from harness.search.run.disk_space import check_disk_space, needed_bytes
from harness.search.run.request import (
    StudyRequest,
    choose_study_name,
    plan_request_slots,
    resolve_space,
)
from harness.search.run.run import RefusalRule, StudyRun, run_trials
from harness.search.run.stop_conditions import StopConditions, StopSignals
from harness.search.run.trials import TrialContext
from harness.search.storage.name_check import check_name_is_free
from harness.search.storage.storage import resolve_storage
from harness.tracking.uri import TrackingStore, resolve_tracking_store
from harness.training.hardware.device import DeviceFacts, resolve_precision
from harness.training.hardware.device_probe import resolve_devices

DEFAULT_TRIALS = 20


def launch(
    request: StudyRequest, progress: ProgressReporter, early: PrestartedWorker | None = None
) -> StudyPaths:
    """Run or continue a study until it has as many finished trials as were asked for.

    Args:
        early: a worker that was started already.

    Raises:
        UserError: something must be changed first; nothing was written.
        StudyStoppedError: the same cause failed three trials in a row.
        StudyInterrupted: a signal arrived; the study can be continued.
    """
    signals = StopSignals()
    with signals.handle_signals():
        stop_conditions = StopConditions(signals=signals, timeout_s=request.timeout_s)
        return _launch_study(request, progress, stop_conditions, early)


def _launch_study(
    request: StudyRequest,
    progress: ProgressReporter,
    stop_conditions: StopConditions,
    early: PrestartedWorker | None,
) -> StudyPaths:
    space = resolve_space(request)
    paths = request.workspace.study(choose_study_name(request, space))
    refuse_if_locked(paths)
    for problem in register_packages():
        progress.stage(problem)
    parts = load_study_parts(paths, request.parts)
    definition = resolve_definition(
        paths,
        space=space,
        overrides=dict(request.overrides)
        | parts_override(parts)
        | objective_override(request.objective),
        fixed=request.fixed,
        legal=legal_names(),
        label=request.label,
        ignore=request.ignore,
    )
    if not definition.is_started:
        _refuse_orphan_trials(paths)
    config = definition.config
    n_rows = len(definition.space.rows)
    trials = request.trials or config.budget.trials or n_rows or DEFAULT_TRIALS
    tracking_store = _tracking_store(request, paths, definition)
    storage = resolve_storage(request.workspace, request.storage)
    slots, devices = resolve_devices(plan_request_slots(request))
    source = find_data(config.data.root, request.workspace)
    root = source_folder(source)
    check_losses(definition)
    augments = check_augments(definition, request.workspace, paths)
    precision_settings = possible_values(definition, "train.precision")
    precisions = dict.fromkeys(
        resolve_precision(p, device) for p in precision_settings for device in devices
    )
    progress.stage(
        f"study {paths.name} · data {source} · device {device_line(devices)}, "
        f"{' or '.join(precisions)}{workers_line(slots)} · workspace {request.workspace.root}"
    )
    split = load_or_make_split(
        request.workspace, paths, definition, source, progress, skip_bad=request.skip_bad
    )
    progress.stage(split_line(split))
    refuse = run_preflight(definition, split, paths, trials, len(slots), progress, request.space)
    definition = _add_imports(request, paths, definition, split, augments, progress)
    if not definition.is_started:
        check_name_is_free(
            storage, tracking_store, paths.name, str(definition.config.id), progress.stage
        )
    with hold_study_lock(paths):
        if not definition.is_started:
            _refuse_concurrent_start(paths)
            write_definition(paths, definition, split, augments, parts)
        copy_imports(paths, definition)
        context = TrialContext(paths, root, request.workspace.cache, slots[0].device)
        run = StudyRun(
            workspace=request.workspace,
            definition=definition,
            context=context,
            split=split,
            trials=trials,
            slots=slots,
            device=devices[0].description,
            refuse=refuse,
            stop_conditions=stop_conditions,
            storage=storage,
            tracking_store=tracking_store,
        )
        run_trials(run, progress, early)
    return paths


def run_preflight(
    definition: StudyDefinition,
    split: Sequence[SplitRow],
    paths: StudyPaths,
    trials: int,
    n_slots: int,
    progress: ProgressReporter,
    space: str | Mapping[str, Any] | None,
) -> RefusalRule:
    """Build every network before trial 0 and fetch all weights; what refuses the impossible."""
    n_train = sum(row.role == "train" for row in split)
    if _count_finished(paths) >= trials:
        return NetworkChecker(
            definition.space, PreflightSetting.from_data(definition.config.data, n_train)
        ).config_refusal
    table = check_networks(definition, n_train, delayed_bar(progress))
    check_network_table(table)
    max_parameters = max(
        (entry.build_result.n_parameters or 0 for entry in table.possible), default=0
    )
    n_val = sum(row.role == "val" for row in split)
    check_disk_space(paths, needed_bytes(definition.config, max_parameters, n_val, n_slots))
    option = f"--space {space}" if isinstance(space, str) else f"--study {paths.study.name}"
    hint = f": harness check {option} shows them" if table.impossible else ""
    progress.stage(f"{table.summary_line()}{hint}")
    ensure_weights(pretrained_models(table))
    return table.checker.config_refusal


def _count_finished(paths: StudyPaths) -> int:
    own = (record for record in read_records(paths) if record.imported is None)
    return sum(record.state != "running" for record in own)


def _tracking_store(
    request: StudyRequest, paths: StudyPaths, definition: StudyDefinition
) -> TrackingStore:
    return resolve_tracking_store(
        request.workspace,
        paths,
        str(definition.config.id),
        uri=request.tracking_uri,
        experiment=request.experiment,
    )


def _add_imports(
    request: StudyRequest,
    paths: StudyPaths,
    definition: StudyDefinition,
    split: Sequence[SplitRow],
    augments: Sequence[Path],
    progress: ProgressReporter,
) -> StudyDefinition:
    """The definition with what it takes over from earlier studies; nothing is written."""
    config = definition.config
    if definition.is_started:
        check_import_names(request.import_from, paths, config)
        return definition
    names = request.import_from or [plan.study for plan in config.imports]
    plans = plan_imports(names, paths, definition, split, augments)
    log_import_plans(plans, progress)
    return replace(definition, config=config.model_copy(update={"imports": plans}))


def _refuse_orphan_trials(paths: StudyPaths) -> None:
    """Trials without their definition would be entered into the new study as its own."""
    if any(paths.all_trials()):
        raise UserError(
            f"{paths.root} holds trials, but no study.yaml with an id and space.yaml: put these "
            "back, or move the folder away, or choose another --study"
        )


def _refuse_concurrent_start(paths: StudyPaths) -> None:
    if study_is_started(paths):
        raise UserError(f"study {paths.name} was begun by another process just now; run it again")


def split_line(split: Sequence[SplitRow]) -> str:
    """How many images each role has."""
    n_by_role = {role: sum(row.role == role for row in split) for role in ("train", "val", "test")}
    return f"split {', '.join(f'{n} {role}' for role, n in n_by_role.items())} images"


def device_line(devices: Sequence[DeviceFacts]) -> str:
    """The devices, each kind once, and on a CPU its threads."""
    threads = f" ({count(torch.get_num_threads(), 'thread')})" if devices[0].device == "cpu" else ""
    return " and ".join(dict.fromkeys(device.description for device in devices)) + threads


def workers_line(slots: Sequence[Slot]) -> str:
    """How many workers there are, and where; "" for one."""
    if len(slots) == 1:
        return ""
    gpus = dict.fromkeys(
        slot.environment[VISIBLE_DEVICES] for slot in slots if VISIBLE_DEVICES in slot.environment
    )
    return f" · {count(len(slots), 'worker')}" + (f" on GPUs {', '.join(gpus)}" if gpus else "")
