"""Measure the executor on a Ray cluster: efficiency, controller, memory, bytes over the link.

    python -m benchmarks.cluster [--workers 8] [--seconds 20] [--epochs 20] [--rounds 3]
                                 [--studies 3] [--checkpoint-mb 0]

Workers sleep instead of training, and send their epochs from nodes that see nothing of the
workspace. Efficiency is the sum of the seconds that trials sleep, divided by the number of workers
and by the time from before the first trial is created until after the last one is recorded. The
agents are started once, before the studies; that time is printed beside it. Needs root on Linux:
the cluster lives in a network namespace.
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
from harness.execution.cluster.checkpoint_budget import LINK_SHARE
from harness.execution.cluster.cluster_settings import ClusterSettings
from harness.execution.cluster.messages import TaskInputs
from harness.execution.cluster.ray_cluster import RayCluster
from harness.execution.cluster.ray_executor import RayExecutor
from harness.execution.protocol import TrialTask
from harness.search.definition.write_definition import write_definition
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

    study = Path(os.devnull)
    uses_weights = False

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
    parser.add_argument("--checkpoint-mb", type=float, default=0.0, help="of each epoch; 0: none")
    parser.add_argument("--studies", type=int, default=3, help="one after the other")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside is not None:
        measure(args.inside, args)
        return
    sleep = {
        "RAY_worker_register_timeout_seconds": "600",  # all agents start at once, on few cores
        "HARNESS_BENCH_SECONDS": str(args.seconds),
        "HARNESS_BENCH_EPOCHS": str(args.epochs),
        "HARNESS_BENCH_CHECKPOINT_MB": str(args.checkpoint_mb),
    }
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
    """Run studies of sleeping trials on the cluster of this namespace and print their cost."""
    args.sampler, progress = "random", SilentProgress()
    cluster = RayCluster(ClusterSettings("ray", ADDRESS, workers=args.workers), progress.stage)
    cluster.check_nodes()
    started = time.monotonic()
    executor = RayExecutor(
        cluster, PlainInputs(), study_id=STUDY_ID, say=progress.stage, module=WORKER
    )
    while executor.slots < args.workers and time.monotonic() - started < READY_S:
        time.sleep(0.2)
    print(f"{executor.slots} agents are ready after {time.monotonic() - started:.1f} s", flush=True)
    efficiencies = [
        run_study(Workspace(root / str(i)), executor, args) for i in range(args.studies)
    ]
    agents, workers = _memory_mb("ray::AgentActor"), _memory_mb(WORKER)
    print(
        f"{args.workers} workers: efficiency {statistics.median(efficiencies):.3f}, the median of "
        f"{args.studies}\n"
        f"memory {statistics.median(agents):.0f} MB an agent, {statistics.median(workers):.0f} MB "
        f"its sleeping worker"
    )
    executor.close()
    cluster.close()


def run_study(workspace: Workspace, executor: RayExecutor, args: argparse.Namespace) -> float:
    """Run a study on the waiting agents, and print what it cost; its efficiency."""
    paths, definition = workspace.study("s"), definition_of(args)
    write_definition(paths, definition, [], [], None)
    storage, progress = open_storage(workspace.optuna_db), SilentProgress()
    study = load_or_rebuild_study(storage, paths, definition, progress.stage)
    controller = Controller(
        study,
        storage,
        definition,
        TrialContext(paths, workspace.root, workspace.cache, "cpu"),
        executor,
        progress=progress,
        mirror=Silence(),
        environment=read_environment(workspace.root),
    )
    n_trials, cpu_s, n_bytes = args.rounds * args.workers, _cpu_seconds(), executor.n_bytes
    started = time.monotonic()
    controller.run(n_trials)
    elapsed_s, cpu_s = time.monotonic() - started, _cpu_seconds() - cpu_s
    efficiency = n_trials * args.seconds / (args.workers * elapsed_s)
    print(
        f"{args.workers} workers, {n_trials} trials of {args.seconds:g} s with {args.epochs} epochs"
        f": {elapsed_s:.1f} s, efficiency {efficiency:.3f} at load {os.getloadavg()[0]:.1f}; "
        f"controller {1000 * cpu_s / n_trials:.0f} ms of processor time per trial; "
        f"{(executor.n_bytes - n_bytes) / (n_trials * args.epochs):.0f} bytes per epoch, "
        f"{(executor.n_bytes - n_bytes) / elapsed_s / 1e6:.2f} MB/s over the link"
        f"{_budget_text(executor.link_rate)}",
        flush=True,
    )
    return efficiency


def _budget_text(link_rate: float | None) -> str:
    """The rate that the budget leaves to checkpoints, from the last measurement of the link."""
    if link_rate is None:
        return ""
    return f", of which checkpoints may take {LINK_SHARE * link_rate / 1e6:.1f}"


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
