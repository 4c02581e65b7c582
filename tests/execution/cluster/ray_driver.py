"""A controller without Optuna: gives the trials of the writing worker to a Ray executor.

    python -m tests.execution.cluster.ray_driver FOLDER OPTIONS

OPTIONS is JSON: fields of `ClusterSettings`, and trials, epochs, seed. Each event is a line of JSON
on standard output, each line for the user one that begins with "say". It ends with the last trial.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from harness.core import files
from harness.execution.cluster.cluster_settings import ClusterSettings
from harness.execution.cluster.messages import NodeFacts, TaskInputs
from harness.execution.cluster.node_facts import own_versions
from harness.execution.cluster.ray_cluster import ClusterNode, RayCluster
from harness.execution.cluster.ray_executor import RayExecutor
from harness.execution.protocol import (
    EpochReport,
    Event,
    TrialFailed,
    TrialFinished,
    TrialTask,
    WorkerDied,
)
from tests.execution.cluster.plain import STUDY_ID, plain_inputs, plain_task, resumable

MODULE = "tests.execution.cluster.writing_worker"
FULL_S = 0.5  # before a trial that met a full disk is started again


class PlainInputs:
    """Inputs without images; building them fails while there is a file `full`."""

    uses_weights = False

    def __init__(self, study: Path) -> None:
        self.study = study

    def build(self, task: TrialTask) -> TaskInputs:
        files.write_bytes(self.study / "input", b"x" * 1000)
        folder = task.trial_dir
        inputs = plain_inputs(folder, files=resumable(folder))
        return inputs.model_copy(update={"task": task})

    def close(self) -> None:
        """Nothing was written for its own use."""


class TrustedNodes(RayCluster):
    """A cluster whose nodes are not asked for their GPUs: they only claim to have them."""

    def nodes(self) -> list[ClusterNode]:
        nodes = super().nodes()
        for node in nodes:
            self.facts[node.id] = NodeFacts(
                host=node.host,
                versions=own_versions(),
                devices=("cuda (none)",),
                precision="fp32",
                memory=0,
                cpus=1,
                pid=0,
            )
        return nodes


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def make_task(folder: Path, number: int, attempt: int, epochs: int, seed: int) -> TrialTask:
    trial_dir = folder / f"{number:04d}"
    trial_dir.mkdir(parents=True, exist_ok=True)
    task = plain_task(trial_dir, number=number, attempt=attempt, seed=seed)
    train = task.config.train.model_copy(update={"epochs": epochs})
    config = task.config.model_copy(update={"train": train})
    return task.model_copy(update={"config": config})


def drive(executor: RayExecutor, folder: Path, trials: int, epochs: int, seed: int) -> None:
    attempts = dict.fromkeys(range(trials), 1)

    def start(number: int) -> None:
        executor.start(make_task(folder, number, attempts[number], epochs, seed))

    for number in attempts:
        start(number)
    while attempts:
        event: Event | None = executor.next_event(0.5)
        if event is None:
            continue
        tell(event.model_dump_json())
        if isinstance(event, EpochReport):
            executor.answer(event.number, "continue")
        elif isinstance(event, TrialFinished):
            del attempts[event.number]
        elif isinstance(event, TrialFailed | WorkerDied):
            if isinstance(event, TrialFailed):
                time.sleep(FULL_S)
            attempts[event.number] += 1
            start(event.number)


def main() -> None:
    folder, options = Path(sys.argv[1]), json.loads(sys.argv[2])
    trials: dict[str, Any] = {name: options.pop(name) for name in ("trials", "epochs", "seed")}
    settings = ClusterSettings("ray", "127.0.0.1:6379", **options)

    def say(line: str) -> None:
        tell(f"say {line}")

    cluster = TrustedNodes(settings, say)
    tell(f"say {cluster.describe()}")
    executor = RayExecutor(cluster, PlainInputs(folder), study_id=STUDY_ID, say=say, module=MODULE)
    try:
        drive(executor, folder, **trials)
    finally:
        executor.close()
        cluster.close()


if __name__ == "__main__":
    main()
