"""Progress of the studies that run now, from their records, their locks and the system."""

import itertools
import shutil
import socket
import statistics
import subprocess
import time
from dataclasses import dataclass

import psutil

from harness.config.progress import short_configuration
from harness.config.study_files import read_study_config
from harness.core.errors import UserError
from harness.core.paths import StudyPaths, Workspace
from harness.core.records import TrialRecord, read_epochs, read_records
from harness.core.study_lock import LockHolder, is_study_locked, read_lock_holder

_GPU_QUERY = "--query-gpu=index,name,utilization.gpu,memory.used,memory.total"
_GPU_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class TrialProgress:
    """A trial that trains.

    Attributes:
        epoch: number of complete epochs.
        value: objective of the last of them; None before the first one.
        seconds_left: at its own pace; None before the second epoch.
    """

    number: int
    configuration: str
    epoch: int
    epochs: int
    value: float | None
    seconds_left: float | None
    device: str | None


@dataclass(frozen=True)
class StudyProgress:
    """A study, or the confirmation of one, that a process works on.

    Attributes:
        process: its id; None: on another machine, or unknown.
        memory_bytes: resident memory of the process and its workers; None: unknown.
        trials_done, trials_asked: finished trials, and the number of the last run.
        seconds_left: at the mean pace of the trials so far; None before one has ended.
        problem: reason why its files cannot be read; the other facts are missing then.
    """

    name: str
    metric: str | None
    process: int | None
    memory_bytes: int | None
    trials_done: int
    trials_asked: int | None
    best: float | None
    seconds_left: float | None
    trials: tuple[TrialProgress, ...]
    problem: str | None = None


@dataclass(frozen=True)
class GpuUse:
    """Load in percent, and memory in 10^6 bytes, of one GPU of this machine."""

    index: str
    name: str
    load_percent: str
    used_mb: str
    total_mb: str


def running_studies(workspace: Workspace) -> list[StudyProgress]:
    """Studies whose lock a process holds; the confirmation where that one trains."""
    running = []
    for path in sorted(workspace.studies.glob("*/study.yaml")):
        paths = StudyPaths(path.parent)
        if is_study_locked(paths):
            holder = read_lock_holder(paths)
            try:
                running.append(_progress(paths, holder))
            except (UserError, OSError, UnicodeDecodeError) as error:
                # The other studies are shown, and a folder may be renamed or deleted just now.
                running.append(_unreadable(paths, holder, error))
    return running


def gpu_use() -> list[GpuUse]:
    """Load and memory of the GPUs of this machine, as nvidia-smi says; [] without it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        answer = subprocess.run(
            [program, _GPU_QUERY, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=_GPU_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in answer.stdout.splitlines()]
    return [GpuUse(*row) for row in rows if len(row) == 5]


def _progress(paths: StudyPaths, holder: LockHolder | None) -> StudyProgress:
    """Progress of the confirmation if it trains, otherwise that of the search."""
    confirms = any(record.state == "running" for record in read_records(paths.confirm))
    return _study_progress(paths.confirm if confirms else paths, holder)


def _unreadable(paths: StudyPaths, holder: LockHolder | None, error: Exception) -> StudyProgress:
    process = _local_process(holder)
    problem = " ".join(str(error).split())[:300]
    memory = None if process is None else _memory(process)
    return StudyProgress(paths.name, None, process, memory, 0, None, None, None, (), problem)


def _local_process(holder: LockHolder | None) -> int | None:
    """Id of a process on this machine; None for another machine."""
    is_here = holder is not None and holder.host == socket.gethostname()
    return holder.process if holder is not None and is_here else None


def _study_progress(paths: StudyPaths, holder: LockHolder | None) -> StudyProgress:
    config, records = read_study_config(paths), read_records(paths)
    own = [record for record in records if record.imported is None]
    ended = [record for record in own if record.state != "running"]
    trials = tuple(
        _trial_progress(paths, record, config.objective.metric)
        for record in own
        if record.state == "running"
    )
    best = config.objective.best(records)
    process = _local_process(holder)
    return StudyProgress(
        name=paths.name,
        metric=config.objective.metric,
        process=process,
        memory_bytes=None if process is None else _memory(process),
        trials_done=len(ended),
        trials_asked=config.budget.trials,
        best=None if best is None else best.value,
        seconds_left=_study_seconds_left(ended, trials, config.budget.trials),
        trials=trials,
    )


def _trial_progress(paths: StudyPaths, record: TrialRecord, metric: str) -> TrialProgress:
    epochs = read_epochs(paths.trial(record.number))
    return TrialProgress(
        number=record.number,
        configuration=short_configuration(record.params),
        epoch=len(epochs),
        epochs=record.epochs,
        value=epochs[-1].get(metric) if epochs else None,
        seconds_left=trial_seconds_left([e["time_ms"] for e in epochs], record.epochs),
        device=record.device,
    )


def trial_seconds_left(
    times_ms: list[float], n_epochs: int, now_ms: float | None = None
) -> float | None:
    """Estimate the rest of a trial from the times at which its epochs ended.

    The median is not misled by the pause before a trial was continued.

    Args:
        times_ms: milliseconds since 1970, one for each complete epoch.
        n_epochs: planned epochs.
        now_ms: present time; None: the clock.

    Returns:
        Seconds; None before the second epoch.
    """
    gaps = [later - earlier for earlier, later in itertools.pairwise(times_ms)]
    if not gaps:
        return None
    passed_ms = (time.time() * 1000 if now_ms is None else now_ms) - times_ms[-1]
    pace_ms = statistics.median(gaps)
    rest_ms = pace_ms * (n_epochs - len(times_ms))
    return max(0.0, rest_ms - min(max(passed_ms, 0.0), pace_ms)) / 1000


def _study_seconds_left(
    ended: list[TrialRecord], trials: tuple[TrialProgress, ...], n_asked: int | None
) -> float | None:
    costs = [record.costs["cost/seconds"] for record in ended if "cost/seconds" in record.costs]
    if not costs or n_asked is None:
        return None
    n_later = max(0, n_asked - len(ended) - len(trials))
    rest = [trial.seconds_left or statistics.mean(costs) for trial in trials]
    # Trials that run at the same time share what is left.
    return (n_later * statistics.mean(costs) + sum(rest)) / max(1, len(trials))


def _memory(process: int) -> int | None:
    """Resident memory of a process and all its children; None if it has ended."""
    try:
        parent = psutil.Process(process)
        family = [parent, *parent.children(recursive=True)]
        return sum(_resident(member) for member in family)
    except psutil.Error:
        return None


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # a worker has ended meanwhile
        return 0
