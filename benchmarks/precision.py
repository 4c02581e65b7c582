"""Measure the speed-up of a training step in bf16 against fp32 on this CPU.

    python -m benchmarks.precision [--batch-size 8] [--repeats 5]

Two columns: with autocast only, and as the harness trains, which keeps some convolutions in fp32
(`harness/training/hardware/device.py`). The arms take turns; medians of the ratios.
"""

import argparse
import copy
import os
import statistics
import sys
import time

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F  # noqa: N812

from harness.execution.prestart import ALLOCATOR_ENVIRONMENT
from harness.training.hardware.device import keep_depthwise_in_fp32, pick_precision

CPU = torch.device("cpu")
NETWORKS = (
    ("Unet", "mobilenet_v2", 96),
    ("Unet", "resnet34", 256),
    ("Unet", "resnext50_32x4d", 96),
    ("UnetPlusPlus", "mobilenet_v2", 96),
    ("Linknet", "efficientnet-b0", 96),
    ("FPN", "resnet18", 96),
    ("FPN", "tu-convnext_atto", 96),
    ("MAnet", "resnet34", 96),
    ("DeepLabV3Plus", "tu-mobilenetv3_large_100", 96),
    ("Segformer", "mit_b0", 128),
    ("DPT", "tu-vit_tiny_patch16_224", 224),
)
ARMS = ("fp32", "autocast", "harness")
TURN_S = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    if pick_precision("auto", CPU) != "bf16":
        print("this CPU has no bf16: the harness trains in fp32 here")
        sys.exit()
    if not ALLOCATOR_ENVIRONMENT.items() <= os.environ.items():  # read when a process begins
        again = [sys.executable, "-m", "benchmarks.precision", *sys.argv[1:]]
        os.execvpe(sys.executable, again, os.environ | ALLOCATOR_ENVIRONMENT)
    print("network, pixels                                autocast  harness")
    for arch, encoder, size in NETWORKS:
        name = f"{arch}/{encoder}, {size}"
        plain, ours = compare(arch, encoder, size, args)
        print(f"{name:47}{plain:7.2f}{ours:9.2f}", flush=True)


def compare(arch: str, encoder: str, size: int, args: argparse.Namespace) -> tuple[float, float]:
    torch.manual_seed(0)
    depth = {"encoder_depth": 4} if arch == "DPT" else {}
    network = smp.create_model(arch, encoder, encoder_weights=None, **depth)
    network = network.to(memory_format=torch.channels_last)
    networks = {arm: copy.deepcopy(network) for arm in ARMS}
    keep_depthwise_in_fp32(networks["harness"])
    inputs = torch.randn(args.batch_size, 3, size, size).contiguous(
        memory_format=torch.channels_last
    )
    target = (torch.rand(args.batch_size, 1, size, size) > 0.5).float()
    optimizers = {
        arm: torch.optim.AdamW(of_arm.parameters(), fused=True) for arm, of_arm in networks.items()
    }

    def seconds(arm: str) -> float:
        """Of a step, over steps of a second in all."""
        optimizer, begun, steps = optimizers[arm], time.perf_counter(), 0
        while steps < 2 or time.perf_counter() - begun < TURN_S:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=arm != "fp32"):
                logits = networks[arm](inputs)
            F.binary_cross_entropy_with_logits(logits.float(), target).backward()
            optimizer.step()
            steps += 1
        return (time.perf_counter() - begun) / steps

    turns = [{arm: seconds(arm) for arm in ARMS} for _ in range(args.repeats + 1)][1:]
    plain, ours = (
        statistics.median(turn["fp32"] / turn[arm] for turn in turns)
        for arm in ("autocast", "harness")
    )
    return plain, ours


if __name__ == "__main__":
    main()
