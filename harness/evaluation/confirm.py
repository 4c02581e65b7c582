"""`harness confirm`: the best configurations of a search, trained again on fresh seeds or folds.

The confirming trials are a study of their own, `<name>.confirm`, in the folder of the one that
they confirm: a listed space, without pruning, run by the same controller under the same lock.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import files, strict_yaml
from harness.config import BudgetConfig, PrunerConfig, SamplerConfig
from harness.data.sources import find_data, source_folder
from harness.data.splits import SplitRow, read_split, verify_split, write_split
from harness.errors import UserError
from harness.evaluation.confirm_folds import deal
from harness.evaluation.confirm_plan import (
    Plan,
    labels_of,
    make_plan,
    read_plan,
    space_of,
    unconfirmed,
    write_plan,
)
from harness.execution.devices import settle_devices
from harness.parts_files import load_packages
from harness.paths import StudyPaths
from harness.records import read_records
from harness.search.checks import legal_names
from harness.search.definition import Definition, settle
from harness.search.earlier import check_begun_or_written, read_config
from harness.search.images import LOOKS
from harness.search.launch import (
    Request,
    device_line,
    preflighted,
    slots_line,
    slots_of,
    split_line,
)
from harness.search.lock import leading, refuse_if_led
from harness.search.names import refuse_taken
from harness.search.parts import take_parts
from harness.search.progress import Progress
from harness.search.running import Begun, run_trials
from harness.search.stopping import Signals, Stops
from harness.search.storage import Where, find_storage, forget_study
from harness.search.tracker import find_tracker
from harness.search.trials import Place
from harness.wording import count, plural


@dataclass(frozen=True)
class Wanted:
    """What to confirm, and how; None: as it was, else 5 configurations on 3 seeds."""

    top: int | None = None
    seeds: int | None = None
    folds: int | None = None


def confirm(request: Request, wanted: Wanted, progress: Progress) -> StudyPaths:
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
    signals = Signals()
    with signals.caught():
        return _confirm(
            request, wanted, progress, Stops(signals=signals, timeout_s=request.timeout_s)
        )


def _confirm(request: Request, wanted: Wanted, progress: Progress, stops: Stops) -> StudyPaths:
    paths, definition = _opened(request, progress)
    config = definition.config
    before = read_plan(paths)
    plan = make_plan(paths, definition, top=wanted.top, seeds=wanted.seeds, folds=wanted.folds)
    _tell(plan, wanted, paths, definition, progress)
    storage = find_storage(request.workspace, request.storage)
    slots, devices = settle_devices(slots_of(request))
    source = find_data(config.data.root, request.workspace)
    root = source_folder(source)
    progress.stage(
        f"study {paths.confirm.name} · data {source} · device {device_line(devices)}"
        f"{slots_line(slots)} · workspace {request.workspace.root}"
    )
    split = read_split(paths.split_csv)
    verify_split(split, root)
    splits = _splits(plan, before, paths, definition, split, root, request, progress)
    confirming = _definition(plan, paths, definition)
    refuse = preflighted(
        confirming, splits[0], paths.confirm, len(plan.runs), len(slots), progress, None
    )
    tracker = find_tracker(
        request.workspace,
        paths,
        str(config.id),
        uri=request.tracking_uri,
        experiment=request.experiment,
    )
    if before is None:
        refuse_taken(storage, tracker, paths.name, str(config.id), progress.stage)
    with leading(paths):
        if read_plan(paths) != before:
            raise UserError(f"{paths.name} was confirmed by another process just now; try again")
        _write(plan, before, paths, confirming, splits, storage, progress)
        begun = Begun(
            workspace=request.workspace,
            definition=confirming,
            place=Place(paths.confirm, root, request.workspace.cache, slots[0].device),
            split=splits[0],
            trials=len(plan.runs),
            slots=slots,
            device=devices[0].description,
            refuse=refuse,
            stops=stops,
            storage=storage,
            tracker=tracker,
            more_splits=splits[1:],
        )
        run_trials(begun, progress)
    return paths


def _opened(request: Request, progress: Progress) -> tuple[StudyPaths, Definition]:
    """The search, as it was defined."""
    paths = request.workspace.study(request.study or "")
    check_begun_or_written(paths)
    refuse_if_led(paths)
    for problem in load_packages():
        progress.stage(problem)
    take_parts(paths, None)
    definition = settle(paths, space=None, asked={}, fixed={}, legal=legal_names())
    if not definition.begun:
        raise UserError(f"study {paths.name} has not begun; there is nothing to confirm")
    return paths, definition


def _tell(
    plan: Plan, wanted: Wanted, paths: StudyPaths, definition: Definition, progress: Progress
) -> None:
    """What is confirmed, and where that is not quite what was asked for."""
    trials = ", ".join(str(number) for number in plan.trials)
    what = count(plan.parts, plan.kind) + ("" if plan.folds is None else " of train and val")
    progress.stage(
        f"confirms {count(len(plan.trials), 'configuration')} of {paths.name} "
        f"({plural('trial', len(plan.trials))} {trials}) on {what}: "
        f"{count(len(plan.runs), 'training')}"
    )
    if len(plan.trials) < plan.top:
        progress.stage(f"{plan.top} were asked for; the search has no more that are different")
    if (wanted.top or plan.top) < plan.top or (wanted.seeds or plan.parts) < plan.parts:
        progress.stage("that is what was begun with; a confirmation only grows")
    minimized = definition.config.objective.direction == "minimize"
    new = unconfirmed(plan, read_records(paths), minimized=minimized)
    if new:
        named = ", ".join(str(number) for number in new)
        progress.stage(
            f"the search has come to better ones since then (trials {named}): "
            f"--top {len(plan.trials) + len(new)} confirms them too"
        )


def _splits(
    plan: Plan,
    before: Plan | None,
    paths: StudyPaths,
    definition: Definition,
    split: list[SplitRow],
    root: Path,
    request: Request,
    progress: Progress,
) -> list[list[SplitRow]]:
    """The split of the study; of a confirmation on folds one for each."""
    if plan.folds is None:
        progress.stage(split_line(split))
        return [split]
    if before is not None:
        return [read_split(path) for path in _fold_files(plan, paths)]
    n_used = sum(row.role != "test" for row in split)
    return deal(
        split,
        plan.folds,
        seed=definition.config.split.seed,
        data=definition.config.data,
        root=root,
        max_pixels=definition.config.limits.max_pixels,
        looks=request.workspace.cache / LOOKS,
        bar=progress.bar(f"dealing {n_used} train and val images to {plan.folds} folds"),
    )


def _fold_files(plan: Plan, paths: StudyPaths) -> list[Path]:
    """`split-<fold>.csv` of each fold, in order."""
    return [paths.confirm.split_of({"fold": str(fold)}) for fold in range(plan.folds or 0)]


def _definition(plan: Plan, paths: StudyPaths, definition: Definition) -> Definition:
    """The confirming study."""
    records = {record.number: record for record in read_records(paths)}
    space = space_of(plan, definition, records)
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
    return Definition(config, space, begun=True)


def _recorded_id(paths: StudyPaths) -> str | None:
    """The id of the confirming study that has begun."""
    return None if read_plan(paths) is None else read_config(paths.confirm).id


def _write(
    plan: Plan,
    before: Plan | None,
    paths: StudyPaths,
    confirming: Definition,
    splits: Sequence[list[SplitRow]],
    storage: Where,
    progress: Progress,
) -> None:
    """The files of the confirming study; the plan last, as it says that all of them are there."""
    place = paths.confirm
    if before is None:
        if any(place.all_trials()):
            raise UserError(f"{place.root} holds trials, but no confirm.yaml; move it away")
        if forget_study(storage, place.name):
            progress.stage(f"{place.name}, whose folder is gone, was taken out of the index")
        for path, rows in zip(_fold_files(plan, paths), splits, strict=False):
            write_split(path, rows)
    else:
        _check_records(plan, place)
    text = strict_yaml.dump(confirming.recorded.as_dict())
    files.write_text(place.study_yaml, strict_yaml.dump(confirming.config.model_dump(mode="json")))
    files.write_text(place.space_yaml, text)
    write_plan(paths, plan)


def _check_records(plan: Plan, place: StudyPaths) -> None:
    """Refuse a plan that was edited: its runs are told apart by their place alone."""
    for record in read_records(place):
        runs = plan.runs[record.number : record.number + 1]
        if [labels_of(plan, run) for run in runs] != [record.labels]:
            raise UserError(
                f"{place.confirm_yaml}: run {record.number} is not what was trained; put the file "
                f"back, or move {place.root} away and begin anew"
            )
