"""Measure training steps beside a busy neighbour, by how OpenMP's threads wait for each other.

    python -m benchmarks.busy_machine [--repeats 3] [--seconds 8]

Each arm is a process with the environment of a worker, which trains steps on the CPU: first on an
idle machine, then beside as many endless loops as it has threads. The fair share of a process is
then half of the machine, so half of the steps of the idle machine. The arms take turns.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from harness.core.processors import SPIN_COUNT, available_processors
from harness.execution.prestart import ALLOCATOR_ENVIRONMENT

ARMS: dict[str, dict[str, str]] = {
    "OpenMP's default": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "harness": {"GOMP_SPINCOUNT": str(SPIN_COUNT)},
}
CHOSEN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")
LOOP = "while True: pass"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--steps", action="store_true", help="train here, and print steps a second")
    args = parser.parse_args()
    if args.steps:
        print(train(args.seconds))
        return
    idle = measure(args)
    with neighbours(available_processors()):
        busy = measure(args)
    default, *_ = ARMS
    print("| waiting | idle, steps/s | beside loops, steps/s | share of the fair half |")
    print("|---|---|---|---|")
    for arm in ARMS:
        share = busy[arm] / (0.5 * idle[default])
        cost = idle[arm] / idle[default]
        print(f"| {arm} | {idle[arm]:.2f} ({cost:.2f}) | {busy[arm]:.2f} | {share:.2f} |")
    print(f"harness / default beside loops: {busy['harness'] / busy[default]:.2f}")


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Median of each arm's steps a second; the arms take turns."""
    rates: dict[str, list[float]] = {arm: [] for arm in ARMS}
    command = [sys.executable, "-m", "benchmarks.busy_machine", "--steps"]
    for _ in range(args.repeats):
        for arm, settings in ARMS.items():
            inherited = {key: value for key, value in os.environ.items() if key not in CHOSEN}
            done = subprocess.run(
                [*command, "--seconds", str(args.seconds)],
                env=inherited | ALLOCATOR_ENVIRONMENT | settings,
                capture_output=True,
                text=True,
                check=True,
            )
            rates[arm].append(float(done.stdout))
    return {arm: statistics.median(of_arm) for arm, of_arm in rates.items()}


@contextmanager
def neighbours(n: int) -> Iterator[None]:
    """Endless loops in processes of their own."""
    loops = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(n)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def train(seconds: float) -> float:
    """Steps a second of U-Net with mobilenet_v2, 16 images of 96 px."""
    import torch  # noqa: PLC0415  # in the measured process alone
    from torch.nn.functional import binary_cross_entropy_with_logits  # noqa: PLC0415

    from harness.config.study import ModelConfig  # noqa: PLC0415
    from harness.models.build import build_network  # noqa: PLC0415

    torch.manual_seed(0)
    config = ModelConfig(arch="Unet", encoder_name="mobilenet_v2", encoder_weights=None)
    network = build_network(config).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    images = torch.randn(16, 3, 96, 96).to(memory_format=torch.channels_last)
    masks = (torch.rand(16, 1, 96, 96) > 0.5).float()

    def step() -> None:
        loss = binary_cross_entropy_with_logits(network(images), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    for _ in range(3):  # these allocate memory
        step()
    begun, n_steps = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        step()
        n_steps += 1
    return n_steps / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
