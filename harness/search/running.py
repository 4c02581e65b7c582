"""A study whose definition is settled: its index, its mirror and its workers, until it stops."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.data.splits import SplitRow
from harness.errors import StudyInterrupted
from harness.execution.early import Early
from harness.execution.local import LocalExecutor
from harness.execution.slots import Slot
from harness.paths import Workspace
from harness.search.budget import Spending
from harness.search.controller import Controller
from harness.search.curve_control import control_line
from harness.search.definition import Definition, with_budget
from harness.search.disk import LEAST_BYTES, Room
from harness.search.images import fill_caches
from harness.search.mirror import Mirror
from harness.search.progress import Progress
from harness.search.rebuild import open_index
from harness.search.retention import forget_failed
from harness.search.stamp import last_own, take_stamp
from harness.search.stopping import Stop, Stops
from harness.search.storage import Where, losing_none, open_storage
from harness.search.tracker import Tracker
from harness.search.trials import Place
from harness.space.schema import Space
from harness.wording import be, count

FAREWELL_S, HASTY_S = 60.0, 1.0  # for MLflow to catch up, at the end and after a signal
Refuse = Callable[[Mapping[str, Any]], str | None]


@dataclass(frozen=True)
class Begun:
    """A study that this process leads.

    Attributes:
        trials: finished ones in all, that are asked for.
        slots: where trials run at once.
        device: the first of them, for people and records.
        refuse: why a combination must not be drawn although the space allows it, or None.
        stops: what may end it early.
        storage: the database of Optuna's index.
        tracker: the MLflow store that mirrors it.
        more_splits: further ones that its trials are trained on, where it has folds.
    """

    workspace: Workspace
    definition: Definition
    place: Place
    split: Sequence[SplitRow]
    trials: int
    slots: Sequence[Slot]
    device: str
    refuse: Refuse
    stops: Stops
    storage: Where
    tracker: Tracker
    more_splits: Sequence[Sequence[SplitRow]] = ()


def run_trials(begun: Begun, progress: Progress, early: Early | None = None) -> None:
    """Train until so many trials are finished, or something stops the study.

    Args:
        early: a worker that was started while the study was still being settled.

    Raises:
        StudyStoppedError: the same cause failed three trials in a row.
        StudyInterrupted: a signal arrived; the study can be continued.
    """
    paths, config = begun.place.paths, begun.definition.config
    storage = open_storage(begun.storage, progress.stage)
    with losing_none(begun.storage):
        study = open_index(storage, paths, begun.definition, progress.stage)
    with_budget(paths, config, begun.trials)
    begun.stops.spending = Spending(paths, config)
    stamp = take_stamp(begun.workspace.root)
    if (changed := stamp.changes(last_own(paths), begun.device)) is not None:
        progress.stage(changed)
    mirror = Mirror(begun.tracker, paths, config, progress.stage)
    executor = LocalExecutor(paths.worker_log, slots=begun.slots, early=early)
    room = _room_for(begun, progress)
    progress.objective(config.objective.metric)
    with _closing(executor.close):
        controller = Controller(
            study,
            storage,
            begun.definition,
            begun.place,
            executor,
            progress=progress,
            notes=mirror,
            stamp=stamp,
            refuse=begun.refuse,
            stops=begun.stops,
            room=room,
        )
        done = controller.finished()
        progress.stage(plan_line(done, begun.trials, begun.definition.space))
        if not done:  # later nothing that MLflow says is worth stopping for
            begun.stops.checks.append(mirror.check)
        if done < begun.trials:
            root = begun.place.data_root
            for split in (begun.split, *begun.more_splits):
                room.patiently(
                    partial(fill_caches, begun.definition, begun.workspace, root, split, progress)
                )
        stop = _until_stopped(begun, controller, executor, mirror, progress)
    if (line := control_line(paths, config)) is not None:
        progress.stage(line)
    if stop is not None:
        progress.stage(f"{controller.finished()} of {begun.trials} trials are finished")
        if stop.signal is not None:
            raise StudyInterrupted(stop.signal)


def _room_for(begun: Begun, progress: Progress) -> Room:
    """Where the study writes, with what it can do without."""
    folders = [begun.place.paths.root, begun.workspace.root]
    if isinstance(begun.storage, Path) and begun.storage.parent not in folders:
        folders.append(begun.storage.parent)
    spare = partial(forget_failed, begun.place.paths)
    return Room(folders, LEAST_BYTES, progress, begun.stops, spare=spare)


def _until_stopped(
    begun: Begun,
    controller: Controller,
    executor: LocalExecutor,
    mirror: Mirror,
    progress: Progress,
) -> Stop | None:
    stop = None
    try:
        with begun.stops.asking(), losing_none(begun.storage):
            stop = controller.run(begun.trials)
    finally:
        executor.close()
        behind = mirror.finish(FAREWELL_S if stop is None or stop.signal is None else HASTY_S)
        if behind:
            progress.stage(behind)
    return stop


def plan_line(done: int, trials: int, space: Space) -> str:
    """What a run is about to do: its space, and how many of its trials are finished."""
    parameters, n_rows = f"space of {count(len(space.parameters), 'parameter')}", len(space.rows)
    if space.rows:
        rows = count(n_rows, "row")
        parameters = f"space of {rows}, each is trained once"
        if done >= n_rows:
            every = "all " if n_rows > 1 else ""
            return f"{every}{rows} of the space {be(n_rows)} trained: nothing to do"
        if trials > n_rows:
            parameters += (
                f" and then the study ends, though {count(trials, 'trial')} were asked for"
            )
            trials = n_rows
    if done >= trials:
        asked = f"{trials} {'was' if trials == 1 else 'were'} asked for"
        return f"{count(done, 'trial')} {be(done)} finished, {asked}: nothing to do"
    if done:
        return f"{parameters} · continues at {done} of {count(trials, 'trial')}"
    return f"{parameters} · {count(trials, 'trial')}"


@contextmanager
def _closing(close: Callable[[], None]) -> Iterator[None]:
    try:
        yield
    finally:
        close()
