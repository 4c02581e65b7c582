"""Kill nodes and workers of a cluster study at seeded moments, and compare it with a local one.

    python -m benchmarks.cluster_chaos [--seeds 0 1 2 3 4] [--trials 12] [--epochs 20]
                                       [--nodes 4] [--node-kills 3] [--worker-kills 25]

Needs root on Linux: the cluster lives in a network namespace of this machine, and its nodes see
nothing of the workspace. Prints one line for each seed, after the seconds until the trial of a
killed and of a silent node trains again.
"""

import argparse
import os
import tempfile
from pathlib import Path

from tests.execution.cluster.chaos import (
    local_study,
    measure_failover,
    run_with_kills,
    write_space,
)
from tests.execution.cluster.machines import ray_machines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--node-kills", type=int, default=3)
    parser.add_argument("--worker-kills", type=int, default=25)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = write_space(folder / "long", 1000, 0.05)
        with ray_machines(folder / "lost", nodes=3) as machines:
            failover = measure_failover(machines, options)
        print(
            f"first new epoch {failover.dead_s:.1f} s after the kill of a node, "
            f"{failover.silent_s:.1f} s after a node was stopped, at load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
        run(folder, args)


def run(folder: Path, args: argparse.Namespace) -> None:
    """Run the local study once, and the disturbed one for each seed; print what differs."""
    options = write_space(folder / "space", args.epochs, 0.05)
    local, n_epochs = local_study(args.epochs, args.trials), args.trials * args.epochs
    for seed in args.seeds:
        with ray_machines(folder / f"far{seed}", nodes=args.nodes) as machines:
            report = run_with_kills(
                machines,
                options,
                trials=args.trials,
                epochs=args.epochs,
                node_kills=args.node_kills,
                worker_kills=args.worker_kills,
                seed=seed,
            )
        n_whole = sum(len(row["curve"]) == args.epochs for row in report.results)
        print(
            f"seed {seed}: exit {report.exit_code}, {len(report.results)} rows, {n_whole} whole "
            f"curves, equal to the local study: {report.results == local.results}, "
            f"{report.node_kills} nodes and {report.worker_kills} workers killed, "
            f"{report.repeated(local.passes, n_epochs):.1f} epochs trained again, "
            f"{report.seconds:.0f} s at load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
        if report.exit_code or report.results != local.results:
            print(report.output, flush=True)


if __name__ == "__main__":
    main()
