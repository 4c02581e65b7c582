"""Measure a report over many trials: seconds, MB and peak memory, without training anything.

    python benchmarks/big_report.py [--trials 10000] [--epochs 20] [--keep FOLDER]

The study is generated: random configurations of a conditional space with curves that fall towards a
value that depends on the configuration; a third of the trials are pruned, a few failed.
"""

import argparse
import json
import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from harness.config.study import StudyConfig
from harness.core import strict_yaml
from harness.core.paths import StudyPaths, TrialPaths
from harness.core.records import TrialFailure, TrialRecord
from harness.report.page.page import write_report

ARCHS = {"Unet": 0.0, "UnetPlusPlus": -0.01, "Linknet": 0.02, "FPN": 0.01}
ENCODERS = {"resnet18": 0.02, "resnet34": 0.0, "mobilenet_v2": 0.01, "efficientnet-b0": -0.01}
ATTENTION = "model.options.decoder_attention_type"
DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "model.arch": CategoricalDistribution(list(ARCHS)),
    "model.encoder_name": CategoricalDistribution(list(ENCODERS)),
    "model.encoder_depth": IntDistribution(3, 5),
    ATTENTION: CategoricalDistribution([None, "scse"]),
    "optim.lr": FloatDistribution(1e-5, 1e-2, log=True),
    "loss.dice": FloatDistribution(0.05, 1.0),
    "loss.bce": FloatDistribution(0.05, 1.0),
}
SHAPES = {key: json.loads(distribution_to_json(one)) for key, one in DISTRIBUTIONS.items()}
SPACE = {
    "parameters": {
        "model.arch": {"choices": list(ARCHS)},
        ATTENTION: {"choices": [None, "scse"], "when": {"model.arch": ["Unet", "UnetPlusPlus"]}},
    }
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--keep", type=Path, help="folder to leave the study in")
    asked = parser.parse_args()
    folder = asked.keep or Path(tempfile.mkdtemp())
    try:
        begin = time.perf_counter()
        paths = generate(folder / "studies" / "big", asked.trials, asked.epochs)
        print(f"{asked.trials} trials of {asked.epochs} epochs, "
              f"generated in {time.perf_counter() - begin:.1f} s")  # fmt: skip
        begin = time.perf_counter()
        report = write_report(paths, None)
        seconds = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"report: {seconds:.1f} s, {report.stat().st_size / 1e6:.1f} MB, "
              f"peak memory {peak:.0f} MB")  # fmt: skip
    finally:
        if asked.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def generate(root: Path, n_trials: int, n_epochs: int, seed: int = 0) -> StudyPaths:
    """Write a study with this many trials into `root`, as a controller and its workers would."""
    paths, rng = StudyPaths(root), np.random.default_rng(seed)
    paths.trials.mkdir(parents=True)
    config = StudyConfig.from_mapping(
        {"id": "0" * 32, "data": {"root": "none"}, "budget": {"trials": n_trials}}
    )
    paths.study_yaml.write_text(strict_yaml.dump_yaml(config.model_dump(mode="json")))
    paths.space_yaml.write_text(strict_yaml.dump_yaml(SPACE))
    for number in range(n_trials):
        write_trial(paths.trial(number), number, n_epochs, rng)
    return paths


def write_trial(paths: TrialPaths, number: int, n_epochs: int, rng: np.random.Generator) -> None:
    params = draw(rng)
    seconds = 5.0 + 3.0 * list(ENCODERS).index(params["model.encoder_name"]) + rng.uniform()
    values = curve(params, n_epochs, rng)
    state = str(rng.choice(["complete", "pruned", "failed"], p=[0.62, 0.35, 0.03]))
    done = n_epochs if state == "complete" else int(rng.integers(1, max(n_epochs // 2, 2)))
    lines = [
        {"epoch": e, "time_ms": 1_790_000_000_000 + 1000 * e, "seconds": seconds}
        | {"train/loss": value + 0.1, "val/dice_loss": value, "val/dice": 1 - value}
        for e, value in enumerate(values[:done], start=1)
    ]
    paths.root.mkdir()
    paths.epochs_jsonl.write_text("".join(json.dumps(line) + "\n" for line in lines))
    best = int(np.argmin(values[:done]))
    size = 5e6 * (1 + list(ENCODERS).index(str(params["model.encoder_name"])))
    failure = (
        TrialFailure(cause="diverged", message="train/loss is nan") if state == "failed" else None
    )
    record = TrialRecord.model_validate(
        {"study": "big", "number": number, "state": state, "params": params}
        | {"distributions": {key: SHAPES[key] for key in params}, "epochs": n_epochs}
        | {"seed": number, "value": values[best], "best_epoch": best + 1, "failure": failure}
        | {"best": {"best/dice_loss": values[best], "best/dice": 1 - values[best]}}
        | {"costs": costs(size, params, seconds * done, rng), "device": "cpu", "precision": "fp32"}
    )
    paths.trial_json.write_text(json.dumps(record.model_dump(mode="json"), indent=1) + "\n")


def draw(rng: np.random.Generator) -> dict[str, Any]:
    params: dict[str, Any] = {
        "model.arch": str(rng.choice(list(ARCHS))),
        "model.encoder_name": str(rng.choice(list(ENCODERS))),
        "model.encoder_depth": int(rng.integers(3, 6)),
        "optim.lr": float(10 ** rng.uniform(-5, -2)),
        "loss.dice": float(rng.uniform(0.05, 1.0)),
        "loss.bce": float(rng.uniform(0.05, 1.0)),
    }
    if params["model.arch"].startswith("Unet"):
        params[ATTENTION] = "scse" if rng.random() < 0.5 else None
    return params


def curve(params: dict[str, Any], n_epochs: int, rng: np.random.Generator) -> list[float]:
    """Noisy curve from about 0.8 towards the final value of the configuration."""
    reach = 0.15 + ARCHS[params["model.arch"]] + ENCODERS[params["model.encoder_name"]]
    reach += 0.03 * (np.log10(params["optim.lr"]) + 3.3) ** 2 + 0.03 * params["loss.bce"]
    reach += 0.01 * (5 - params["model.encoder_depth"]) + rng.normal(0, 0.01)
    epochs = np.arange(1, n_epochs + 1)
    values = reach + (0.8 - reach) * np.exp(-epochs / 4) + rng.normal(0, 0.008, n_epochs)
    return [float(value) for value in np.clip(values, 0.01, 0.99)]


def costs(
    size: float, params: dict[str, Any], seconds: float, rng: np.random.Generator
) -> dict[str, float]:
    noise = float(rng.uniform(0.9, 1.1))
    return {
        "cost/parameters": size * (1 + 0.2 * params["model.encoder_depth"]),
        "cost/gflops": size / 1e6 * noise,
        "cost/seconds": seconds,
        "cost/peak_mb": 500 + size / 1e5 * noise,
        "cost/ms_per_image": size / 2e6 * noise,
    }


if __name__ == "__main__":
    main()
