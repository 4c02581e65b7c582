"""A tiny study, and agents that see nothing of its folders but what they are sent."""

import json
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from harness.config.data import SplitConfig, StudyDataConfig
from harness.config.study import ObjectiveConfig, TrialConfig
from harness.core.paths import TrialPaths, Workspace
from harness.core.records import TrialRecord, read_epochs, write_record
from harness.data.datasets.sources import open_dataset
from harness.data.scan.scan import scan_dataset_strict
from harness.data.splits.split_file import write_split
from harness.data.splits.splits import make_split
from harness.execution.cluster.file_receiver import ControllerFiles
from harness.execution.cluster.messages import TaskInputs
from harness.execution.cluster.node_agent import NodeAgent
from harness.execution.prestart import MODULE
from harness.execution.protocol import (
    Decision,
    EpochReport,
    Event,
    TrialFailed,
    TrialFinished,
    TrialTask,
    WorkerDied,
)
from harness.execution.slots import Slot
from harness.search.run.cluster_inputs import TaskInputBuilder

WAIT_S = 120.0
STUDY_ID = "0123456789abcdef0123456789abcdef"
DATA = StudyDataConfig(eval_size=32)
TINY: dict[str, Any] = {
    "data.image_size": 32,
    "data.augment": "light",
    "model.arch": "Linknet",
    "model.encoder_name": "mobilenet_v2",
    "model.encoder_weights": None,
    "model.encoder_depth": 3,
    "train.epochs": 3,
    "train.batch_size": 4,
    "train.checkpoint_s": 0.0,
}


@dataclass
class TinyStudy:
    """A study of generated images, with the controller's side of its files."""

    workspace: Workspace
    data_root: Path
    files: ControllerFiles = field(default_factory=ControllerFiles)

    def __post_init__(self) -> None:
        self.paths = self.workspace.study("tiny")
        self.paths.root.mkdir(parents=True, exist_ok=True)
        if not self.paths.split_csv.exists():
            dataset = open_dataset(self.data_root, DATA, max_pixels=1e6)
            split = SplitConfig(fractions=(0.6, 0.3, 0.1), seed=1)
            rows = make_split(dataset, scan_dataset_strict(dataset), split)
            write_split(self.paths.split_csv, rows)
        self.builder = TaskInputBuilder(self.paths, STUDY_ID, self.workspace.cache)

    def trial(self, number: int) -> TrialPaths:
        return self.paths.trial(number)

    def task(self, number: int = 0, attempt: int = 1, **changes: Any) -> TrialTask:
        """A task whose record is written; changes with __ for the dot."""
        settings = TINY | {key.replace("__", "."): value for key, value in changes.items()}
        config = TrialConfig.from_flat(settings)
        record = TrialRecord(
            study="tiny",
            number=number,
            state="running",
            params={},
            distributions={},
            epochs=config.train.epochs,
            seed=7,
            attempt=attempt,
        )
        write_record(self.trial(number), record)
        return TrialTask(
            number=number,
            attempt=attempt,
            config=config,
            seed=7,
            objective=ObjectiveConfig(),
            trial_dir=self.trial(number).root,
            data_root=self.data_root,
            split_csv=self.paths.split_csv,
            cache=self.workspace.cache,
            augments=self.paths.augments,
            data=DATA,
            max_pixels=1e6,
            device="cpu",
        )

    def inputs(self, task: TrialTask) -> TaskInputs:
        """Registered inputs as an agent far away receives them: no path of them exists."""
        inputs = self.builder.build(task)
        self.files.register(inputs)
        return far_away(inputs)


def far_away(inputs: TaskInputs) -> TaskInputs:
    """The same with every path of the controller moved to where nothing is."""
    plain = json.loads(inputs.model_dump_json())
    for owner, key in [
        *((plain["task"], key) for key in ("trial_dir", "data_root", "split_csv", "cache")),
        (plain["task"], "augments"),
        *([(plain["task"], "parts")] if plain["task"]["parts"] else []),
        *((folder, "root") for folder in plain["folders"]),
        *((folder["probe"], "path") for folder in plain["folders"] if folder["probe"]),
        (plain["shared_probe"], "path"),
    ]:
        owner[key] = "/far-away" + owner[key]
    return TaskInputs.model_validate_json(json.dumps(plain))


def start_agent(scratch: Path, link: Any, **options: Any) -> NodeAgent:
    slot = Slot("cpu", {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})
    return NodeAgent(scratch, link, **{"slot": slot, **options})


def drive(
    agent: NodeAgent, number: int, on_epoch: Callable[[int], Decision] = lambda _: "continue"
) -> list[Event]:
    """Answer each epoch of a trial until it ends; its events."""
    events: list[Event] = []
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        report = agent.next_report(0.5)
        if report is None or report.event is None:
            continue
        events.append(report.event)
        if isinstance(report.event, EpochReport):
            agent.answer(number, on_epoch(report.event.epoch))
        if isinstance(report.event, TrialFinished | TrialFailed | WorkerDied):
            return events
    raise AssertionError(f"no end came after {events}")


def kill_worker(module: str = MODULE) -> None:
    """SIGKILL to the workers below this process that run a module."""
    for child in live_workers(module):
        with suppress(psutil.NoSuchProcess):
            child.send_signal(signal.SIGKILL)


def live_workers(module: str = MODULE) -> list[psutil.Process]:
    """Workers below this process that run a module; a zombie is dead."""
    workers = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # also the base of ZombieProcess
            if module in " ".join(child.cmdline()):
                workers.append(child)
    return workers


def curve(trial: TrialPaths) -> list[dict[str, float]]:
    """The log of a trial without what the clock decides."""
    return [
        {key: value for key, value in line.items() if key not in ("time_ms", "seconds")}
        for line in read_epochs(trial)
    ]
