"""Compare `Study.predict` with a plain loop over the same files: images per second.

    python -m benchmarks.predict [--data data/kvasir-seg] [--images 1000] [--size 256]

The plain loop is what a user would write: decode, resize, network at batch 1, resize, decide by the
same rule (threshold and clean-up), write. Both arms run in this process, in turn, on the same parts
of the images.
"""

import argparse
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch
import torch.nn.functional as F  # noqa: N812

import harness
from harness.config.decision_rule import DecisionRule
from harness.config.progress import LineProgress
from harness.core.paths import TrialPaths
from harness.data.files.decide import decide_mask
from harness.deploy.predict.run import PredictionRequest, predict_files
from harness.deploy.predictor import Predictor

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(os.environ.get("HARNESS_DATA_DIR", "data")) / "kvasir-seg"
    parser.add_argument("--data", type=Path, default=default, help="folder with images/ and masks/")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--parts", type=int, default=5, help="parts in which the arms take turns")
    parser.add_argument("--arch", default="Unet")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--weights", help="pretrained weights of the encoder, e.g. imagenet")
    parser.add_argument("--size", type=int, default=256, help="pixels")
    args = parser.parse_args()
    if not (args.data / "images").is_dir():
        raise SystemExit(f"{args.data}: no images/; name a data set with --data")
    with tempfile.TemporaryDirectory() as folder:
        compare(args, Path(folder))


def compare(args: argparse.Namespace, folder: Path) -> None:
    files = sorted((args.data / "images").iterdir())[: args.images]
    study = train(args, folder)
    predictor = study.predictor()
    rule = predictor.deployment.rule.rule
    network = harness.load_model(TrialPaths(study.paths.trial(0).root).model).eval()
    policy = os.environ.get("OMP_WAIT_POLICY", "default")
    load = os.getloadavg()[0]
    print(
        f"{len(files)} images, {torch.get_num_threads()} threads, OMP_WAIT_POLICY {policy}, "
        f"load {load:.1f}"
    )
    print(f"decision rule: {rule.classes[0]}")
    print("part   plain loop   harness predict   ratio   (images per second; ms of CPU an image)")
    ratios, cpu = [], []
    step = -(-len(files) // args.parts)
    for k, start in enumerate(range(0, len(files), step)):
        part = files[start : start + step]
        arms = (
            partial(plain_loop, network, part, folder / f"plain-{k}", args.size, rule),
            partial(ours, predictor, part, folder / f"ours-{k}"),
        )
        seconds, cpu_ms = [0.0, 0.0], [0.0, 0.0]
        # The other arm begins in every second part: disk and processor may have become warm.
        for arm in (0, 1) if k % 2 == 0 else (1, 0):
            begin, cpu_begin = time.perf_counter(), time.process_time()
            arms[arm]()
            seconds[arm] = time.perf_counter() - begin
            cpu_ms[arm] = 1000 * (time.process_time() - cpu_begin) / len(part)
        ratios.append(seconds[0] / seconds[1])
        cpu.append(cpu_ms)
        columns = [f"{len(part) / seconds[arm]:6.1f} ({cpu_ms[arm]:4.0f} ms)" for arm in (0, 1)]
        print(f"{k:4} {columns[0]:>17} {columns[1]:>17} {ratios[-1]:7.2f}", flush=True)
    plain_ms, own_ms = (statistics.median(pair[arm] for pair in cpu) for arm in (0, 1))
    print(f"median of CPU time: {plain_ms:.0f} ms and {own_ms:.0f} ms an image")
    print(f"median ratio {statistics.median(ratios):.2f}, load {os.getloadavg()[0]:.1f}")
    print(f"equal pixels {equal_share(folder, files, step):.6f}")


def train(args: argparse.Namespace, folder: Path) -> Any:
    """A study of one short trial: speed does not depend on what the network has learned."""
    fixed = {
        "model.arch": args.arch,
        "model.encoder_name": args.encoder,
        "model.encoder_weights": args.weights,
        "data.image_size": args.size,
        "data.subset": 0.3,
        "train.epochs": 1,
    }
    space = {"parameters": {"optim.lr": {"low": 1e-3, "high": 1.001e-3}}, "fixed": fixed}
    data = str(args.data.resolve())
    return harness.run_study(
        "speed", space=space, data=data, trials=1, workspace=folder, device="cpu"
    )


def ours(predictor: Predictor, files: list[Path], out: Path) -> None:
    predict_files(lambda: predictor, PredictionRequest(files, out), Quiet())


class Quiet(LineProgress):
    """Prints nothing."""

    def stage(self, text: str) -> None: ...


def plain_loop(
    network: torch.nn.Module, files: list[Path], out: Path, size: int, rule: DecisionRule
) -> None:
    out.mkdir()
    for path in files:
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        shrinks = size * size < image.shape[0] * image.shape[1]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        small = cv2.resize(image, (size, size), interpolation=how)
        with torch.inference_mode():
            x = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255
            logits = network((x - MEAN) / STD)
            resized = F.interpolate(logits, image.shape[:2], mode="bilinear", align_corners=False)
            mask = decide_mask(torch.sigmoid(resized)[0].numpy(), rule)
        cv2.imwrite(str(out / f"{path.stem}.png"), mask * 255)


def equal_share(folder: Path, files: list[Path], step: int) -> float:
    """Share of pixels that both arms decided alike."""
    n_equal = n_pixels = 0
    for k, path in enumerate(files):
        part, name = k // step, f"{path.stem}.png"
        pair = (folder / f"plain-{part}" / name, folder / f"ours-{part}" / "masks" / name)
        plain, own = (cv2.imread(str(file), cv2.IMREAD_UNCHANGED) for file in pair)
        n_equal += int((plain == own).sum())
        n_pixels += plain.size
    return n_equal / n_pixels


if __name__ == "__main__":
    main()
