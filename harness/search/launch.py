"""From what the user asked for to a running study: settle, check everything, write, run.

Nothing is written before every check has passed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from harness.config import asked_objective
from harness.data.sources import find_data, source_folder
from harness.data.splits import SplitRow
from harness.errors import ConfigError, UserError
from harness.execution.devices import settle_devices
from harness.execution.early import Early
from harness.execution.slots import VISIBLE, Slot, plan_slots, visible_gpus
from harness.models.weights import ensure_weights
from harness.parts_files import load_packages
from harness.paths import StudyPaths, Workspace, check_study_name
from harness.preflight.networks import Setting
from harness.preflight.verdicts import Verdicts, check_table
from harness.records import read_records
from harness.search.checks import (
    check_augments,
    check_losses,
    check_networks,
    late,
    legal_names,
    values_of,
    wanted_weights,
)
from harness.search.definition import Definition, has_begun, settle, write_definition
from harness.search.disk import check_room, needed_bytes
from harness.search.images import take_split
from harness.search.importing import bring_in, check_names, plan_imports, tell_plan
from harness.search.lock import leading, refuse_if_led
from harness.search.names import refuse_taken
from harness.search.parts import as_asked, take_parts
from harness.search.progress import Progress
from harness.search.running import Begun, Refuse, run_trials
from harness.search.stopping import Signals, Stops
from harness.search.storage import find_storage
from harness.search.tracker import Tracker, find_tracker
from harness.search.trials import Place
from harness.space.reading import find_space
from harness.training.device import DeviceFacts, precision_on
from harness.wording import count

DEFAULT_TRIALS = 20


@dataclass(frozen=True)
class Request:
    """What the user asked for; None means: as recorded, else the default."""

    workspace: Workspace
    study: str | None = None
    space: str | Mapping[str, Any] | None = None
    trials: int | None = None
    device: str = "auto"
    gpus: str | None = None
    per_gpu: int | None = None
    workers: int | None = None
    skip_bad: bool = False
    parts: Path | None = None
    objective: str | None = None  # the metric
    label: Sequence[str] = ()  # columns of a CSV space
    ignore: Sequence[str] = ()
    asked: Mapping[str, Any] = field(default_factory=dict)  # full keys of study.yaml
    fixed: Mapping[str, Any] = field(default_factory=dict)  # full keys of the trial configuration
    import_from: Sequence[str] = ()  # names of earlier studies
    timeout_s: float | None = None  # for this call
    storage: str | None = None  # address of another database than the workspace's optuna.db
    tracking_uri: str | None = None  # of another MLflow store than the workspace's own
    experiment: str | None = None  # name of the study's experiment there


def launch(request: Request, progress: Progress, early: Early | None = None) -> StudyPaths:
    """Run or continue a study until it has as many finished trials as were asked for.

    Args:
        early: a worker that was started already.

    Raises:
        UserError: something must be changed first; nothing was written.
        StudyStoppedError: the same cause failed three trials in a row.
        StudyInterrupted: a signal arrived; the study can be continued.
    """
    signals = Signals()
    with signals.caught():
        stops = Stops(signals=signals, timeout_s=request.timeout_s)
        return _launch(request, progress, stops, early)


def _launch(request: Request, progress: Progress, stops: Stops, early: Early | None) -> StudyPaths:
    space = space_of(request)
    paths = request.workspace.study(_name(request, space))
    refuse_if_led(paths)
    for problem in load_packages():
        progress.stage(problem)
    parts = take_parts(paths, request.parts)
    definition = settle(
        paths,
        space=space,
        asked=dict(request.asked) | as_asked(parts) | asked_objective(request.objective),
        fixed=request.fixed,
        legal=legal_names(),
        label=request.label,
        ignore=request.ignore,
    )
    if not definition.begun:
        _refuse_left_over(paths)
    config = definition.config
    listed = len(definition.space.rows)
    trials = request.trials or config.budget.trials or listed or DEFAULT_TRIALS
    tracker = _tracker(request, paths, definition)
    storage = find_storage(request.workspace, request.storage)
    slots, devices = settle_devices(slots_of(request))
    source = find_data(config.data.root, request.workspace)
    root = source_folder(source)
    check_losses(definition)
    augments = check_augments(definition, request.workspace, paths)
    wanted = values_of(definition, "train.precision")
    precisions = dict.fromkeys(precision_on(p, device) for p in wanted for device in devices)
    progress.stage(
        f"study {paths.name} · data {source} · device {device_line(devices)}, "
        f"{' or '.join(precisions)}{slots_line(slots)} · workspace {request.workspace.root}"
    )
    split = take_split(
        request.workspace, paths, definition, source, progress, skip_bad=request.skip_bad
    )
    progress.stage(split_line(split))
    refuse = preflighted(definition, split, paths, trials, len(slots), progress, request.space)
    definition = _with_imports(request, paths, definition, split, augments, progress)
    if not definition.begun:
        refuse_taken(storage, tracker, paths.name, str(definition.config.id), progress.stage)
    with leading(paths):
        if not definition.begun:
            _refuse_overtaken(paths)
            write_definition(paths, definition, split, augments, parts)
        bring_in(paths, definition)
        place = Place(paths, root, request.workspace.cache, slots[0].device)
        begun = Begun(
            workspace=request.workspace,
            definition=definition,
            place=place,
            split=split,
            trials=trials,
            slots=slots,
            device=devices[0].description,
            refuse=refuse,
            stops=stops,
            storage=storage,
            tracker=tracker,
        )
        run_trials(begun, progress, early)
    return paths


def preflighted(
    definition: Definition,
    split: Sequence[SplitRow],
    paths: StudyPaths,
    trials: int,
    n_slots: int,
    progress: Progress,
    space: str | Mapping[str, Any] | None,
) -> Refuse:
    """Build every network before trial 0 and fetch all weights; what refuses the impossible."""
    n_train = sum(row.role == "train" for row in split)
    if _n_finished(paths) >= trials:
        return Verdicts(definition.space, Setting.of(definition.config.data, n_train)).refusal
    table = check_networks(definition, n_train, late(progress))
    check_table(table)
    most = max((entry.verdict.parameters or 0 for entry in table.possible), default=0)
    n_val = sum(row.role == "val" for row in split)
    check_room(paths, needed_bytes(definition.config, most, n_val, n_slots))
    where = f"--space {space}" if isinstance(space, str) else f"--study {paths.study.name}"
    shown = f": harness check {where} shows them" if table.impossible else ""
    progress.stage(f"{table.line()}{shown}")
    ensure_weights(wanted_weights(table))
    return table.verdicts.refusal


def _n_finished(paths: StudyPaths) -> int:
    own = (record for record in read_records(paths) if record.imported is None)
    return sum(record.state != "running" for record in own)


def _tracker(request: Request, paths: StudyPaths, definition: Definition) -> Tracker:
    return find_tracker(
        request.workspace,
        paths,
        str(definition.config.id),
        uri=request.tracking_uri,
        experiment=request.experiment,
    )


def space_of(request: Request) -> Path | Mapping[str, Any] | None:
    """The space asked for: a name is looked for and becomes a path."""
    if isinstance(request.space, str):
        return find_space(request.space, request.workspace)
    return request.space


def _name(request: Request, space: Path | Mapping[str, Any] | None) -> str:
    if request.study is not None:
        return check_study_name(request.study)
    if isinstance(space, Path):
        return check_study_name(space.stem)
    raise ConfigError("the study needs a name: give --study, or a --space file to name it after")


def _with_imports(
    request: Request,
    paths: StudyPaths,
    definition: Definition,
    split: Sequence[SplitRow],
    augments: Sequence[Path],
    progress: Progress,
) -> Definition:
    """The definition with what it takes over from earlier studies; nothing is written."""
    config = definition.config
    if definition.begun:
        check_names(request.import_from, paths, config)
        return definition
    names = request.import_from or [plan.study for plan in config.imports]
    plans = plan_imports(names, paths, definition, split, augments)
    tell_plan(plans, progress)
    return replace(definition, config=config.model_copy(update={"imports": plans}))


def _refuse_left_over(paths: StudyPaths) -> None:
    """Trials without their definition would be entered into the new study as its own."""
    if any(paths.all_trials()):
        raise UserError(
            f"{paths.root} holds trials, but no study.yaml with an id and space.yaml: put these "
            "back, or move the folder away, or choose another --study"
        )


def _refuse_overtaken(paths: StudyPaths) -> None:
    if has_begun(paths):
        raise UserError(f"study {paths.name} was begun by another process just now; run it again")


def split_line(split: Sequence[SplitRow]) -> str:
    """How many images each role has."""
    count = {role: sum(row.role == role for row in split) for role in ("train", "val", "test")}
    return f"split {', '.join(f'{n} {role}' for role, n in count.items())} images"


def device_line(devices: Sequence[DeviceFacts]) -> str:
    """The devices, each kind once, and on a CPU its threads."""
    threads = f" ({count(torch.get_num_threads(), 'thread')})" if devices[0].device == "cpu" else ""
    return " and ".join(dict.fromkeys(device.description for device in devices)) + threads


def slots_of(request: Request) -> tuple[Slot, ...]:
    """Where trials are to run at once."""
    return plan_slots(
        device=request.device,
        gpus=request.gpus,
        per_gpu=request.per_gpu,
        workers=request.workers,
        visible=visible_gpus(torch.cuda.device_count()),
        threads=torch.get_num_threads(),
    )


def slots_line(slots: Sequence[Slot]) -> str:
    """How many workers there are, and where; "" for one."""
    if len(slots) == 1:
        return ""
    gpus = dict.fromkeys(slot.environment[VISIBLE] for slot in slots if VISIBLE in slot.environment)
    return f" · {count(len(slots), 'worker')}" + (f" on GPUs {', '.join(gpus)}" if gpus else "")
