"""Measure the executor on a Ray cluster: efficiency, controller, memory, bytes over the link.

    python -m benchmarks.cluster [--workers 8] [--seconds 20] [--epochs 20] [--rounds 3]

Workers sleep instead of training, and send their epochs from nodes that see nothing of the
workspace. Efficiency is the share of their time in which the workers sleep, from the moment when
all agents are ready. Needs root on Linux: the cluster lives in a network namespace.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.many_trials import definition_of
from benchmarks.replaying import Silence
from harness.config.progress import LineProgress
from harness.core.environment import read_environment
from harness.core.paths import Workspace
from harness.execution.cluster.cluster_settings import ClusterSettings
from harness.execution.cluster.messages import TaskInputs
from harness.execution.cluster.ray_cluster import RayCluster
from harness.execution.cluster.ray_executor import RayExecutor
from harness.execution.protocol import TrialTask
from harness.search.definition.definition import write_definition
from harness.search.run.controller import Controller
from harness.search.run.trials import TrialContext
from harness.search.storage.rebuild import load_or_rebuild_study
from harness.search.storage.storage import open_storage
from tests.execution.cluster.machines import ADDRESS, QUIET, ROOT, ray_machines

WORKER = "benchmarks.sleeping_worker"
STUDY_ID = "0" * 32
READY_S = 900.0
CPUS_PER_NODE = 16


class PlainInputs:
    """Inputs of tasks that need no files but their record."""

    def build(self, task: TrialTask) -> TaskInputs:
        record = (task.trial_dir / "trial.json").read_text(encoding="utf-8")
        return TaskInputs(task=task, study_id=STUDY_ID, record=record)

    def close(self) -> None: ...


class SilentProgress(LineProgress):
    """Show nothing but what goes wrong."""

    def stage(self, text: str) -> None:
        print(text, file=sys.stderr)

    def began(self, *args: object, **options: object) -> None: ...

    def epoch(self, *args: object) -> None: ...

    def ended(self, *args: object) -> None: ...

    def trials(self, *args: object) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20.0, help="of a trial")
    parser.add_argument("--epochs", type=int, default=20, help="of a trial")
    parser.add_argument("--rounds", type=int, default=3, help="trials of each worker")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside is not None:
        measure(args.inside, args)
        return
    sleep = {"HARNESS_BENCH_SECONDS": str(args.seconds), "HARNESS_BENCH_EPOCHS": str(args.epochs)}
    n_nodes = -(-args.workers // CPUS_PER_NODE)
    with tempfile.TemporaryDirectory() as name:
        workspace = Path(name) / "far"
        cpus = min(args.workers, CPUS_PER_NODE)
        with ray_machines(workspace, nodes=n_nodes, cpus=cpus, **sleep) as machines:
            enter = ["ip", "netns", "exec", machines.namespace, sys.executable, "-m"]
            words = [*enter, "benchmarks.cluster", *sys.argv[1:], "--inside", str(workspace)]
            environment = os.environ | QUIET | {"PYTHONPATH": str(ROOT)}
            subprocess.run(words, env=environment, cwd=ROOT, check=True)


def measure(root: Path, args: argparse.Namespace) -> None:
    """Run a study of sleeping trials on the cluster of this namespace and print its cost."""
    args.sampler, workspace = "random", Workspace(root)
    paths, definition = workspace.study("many"), definition_of(args)
    write_definition(paths, definition, [], [], None)
    storage, progress = open_storage(workspace.optuna_db), SilentProgress()
    study = load_or_rebuild_study(storage, paths, definition, progress.stage)
    cluster = RayCluster(ClusterSettings("ray", ADDRESS, workers=args.workers), progress.stage)
    cluster.check_nodes()
    started = time.monotonic()
    executor = RayExecutor(
        cluster, PlainInputs(), study_id=STUDY_ID, say=progress.stage, module=WORKER
    )
    while executor.slots < args.workers and time.monotonic() - started < READY_S:
        time.sleep(0.2)
    ready_s = time.monotonic() - started
    print(f"{executor.slots} agents are ready after {ready_s:.1f} s")
    controller = Controller(
        study,
        storage,
        definition,
        TrialContext(paths, root, workspace.cache, "cpu"),
        executor,
        progress=progress,
        mirror=Silence(),
        environment=read_environment(root),
    )
    n_trials, cpu_s = args.rounds * args.workers, _cpu_seconds()
    started = time.monotonic()
    controller.run(n_trials)
    elapsed_s, cpu_s = time.monotonic() - started, _cpu_seconds() - cpu_s
    agents, workers = _memory_mb("ray::AgentActor"), _memory_mb(WORKER)
    n_bytes = executor.n_bytes
    executor.close()
    cluster.close()
    efficiency = n_trials * args.seconds / (args.workers * elapsed_s)
    print(
        f"{args.workers} workers, {n_trials} trials of {args.seconds:g} s with {args.epochs} epochs"
        f": {elapsed_s:.1f} s, efficiency {efficiency:.3f} at load {os.getloadavg()[0]:.1f}\n"
        f"controller {1000 * cpu_s / n_trials:.0f} ms of processor time per trial\n"
        f"memory {statistics.median(agents):.0f} MB an agent, {statistics.median(workers):.0f} MB "
        f"its sleeping worker\n"
        f"{n_bytes / (n_trials * args.epochs):.0f} bytes per epoch over the link"
    )


def _cpu_seconds() -> float:
    times = psutil.Process().cpu_times()
    return times.user + times.system


def _memory_mb(name: str) -> list[float]:
    """Resident memory of all processes with this word in their command line."""
    sizes = []
    for process in psutil.process_iter(["cmdline", "memory_info"]):
        if any(name in word for word in process.info["cmdline"] or []):
            sizes.append(process.info["memory_info"].rss / 2**20)
    return sizes or [0.0]


if __name__ == "__main__":
    main()
