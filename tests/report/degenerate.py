"""Studies in which hardly anything can be compared; each function fills an empty one."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from harness.core import files
from harness.core.records import TrialFailure
from harness.data.splits.splits import write_split
from tests.report.studies import Builder

Fill = Callable[[Builder], None]


def nothing(study: Builder) -> None:
    """No trial at all."""


def failed(study: Builder) -> None:
    failure = TrialFailure(cause="diverged", message="train/loss is nan")
    for number in range(3):
        study.trial(number, [], params(number), state="failed", failure=failure)


def running(study: Builder) -> None:
    study.trial(0, [], params(0), state="running")


def pruned(study: Builder) -> None:
    for number in range(4):
        study.trial(number, [0.9, 0.8], params(number), state="pruned")


def one(study: Builder) -> None:
    study.trial(0, [0.6, 0.5], params(0), skill=0.5)


def some(study: Builder, **more: Any) -> None:
    for number in range(4):
        study.trial(number, [0.6, 0.5 - number / 50], params(number), skill=0.5, **more)


def without_parameters(study: Builder) -> None:
    for number in range(3):
        study.trial(number, [0.6, 0.5 + number / 10], skill=0.5)


def equal_values(study: Builder) -> None:
    for number in range(12):
        study.trial(number, [0.5, 0.5], params(number), skill=0.5 if number < 3 else None)


def equal_configurations(study: Builder) -> None:
    for number in range(6):
        study.trial(number, [0.5, 0.4 + number / 50], params(0))


def nothing_to_find(study: Builder) -> None:
    """No validation image has a pixel of the foreground."""
    rows = []
    for row in study.rows:
        path = study.data_root / row.mask
        if row.role == "val":
            cv2.imwrite(str(path), np.zeros((40, 50), np.uint8))
        rows.append(replace(row, mask_sha256=files.file_sha256(path)))
    write_split(study.paths.split_csv, rows)
    some(study)


def nan_metrics(study: Builder) -> None:
    """Epochs with NaN: the objective of the first, all of one trial, Dice and loss everywhere."""
    some(study)
    for number in range(4):
        path = study.paths.trial(number).epochs_jsonl
        epochs = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for epoch in epochs:
            epoch |= {"val/dice": float("nan"), "train/loss": float("nan")}
            if number == 1 or epoch["epoch"] == 1:
                epoch["val/dice_loss"] = float("nan")
        lines = "".join(json.dumps(epoch) + "\n" for epoch in epochs)
        path.write_text(lines, encoding="utf-8")


def no_costs(study: Builder) -> None:
    some(study, costs={})


def no_scores(study: Builder) -> None:
    some(study)
    for number in range(4):
        study.paths.trial(number).scores_csv.unlink()


def no_predictions(study: Builder) -> None:
    some(study)
    for number in range(4):
        shutil.rmtree(study.paths.trial(number).probabilities)


def no_split(study: Builder) -> None:
    some(study)
    study.paths.split_csv.unlink()


def no_epochs(study: Builder) -> None:
    some(study)
    for number in range(4):
        study.paths.trial(number).epochs_jsonl.unlink()


def hardly_a_file(study: Builder) -> None:
    """Empty logs of epochs, no configurations, no space."""
    some(study)
    for number in range(4):
        study.paths.trial(number).epochs_jsonl.write_text("", encoding="utf-8")
        study.paths.trial(number).config_yaml.unlink()
    study.paths.space_yaml.unlink()


def imported(study: Builder) -> None:
    for number in range(3):
        study.trial(number, [0.5 - number / 20], params(number), imported=f"old/{number}")


def no_data(study: Builder) -> None:
    some(study)
    shutil.rmtree(study.data_root)


def params(number: int) -> dict[str, Any]:
    """Parameters that all grow, or repeat, with the number."""
    return {
        "model.arch": ("Unet", "Linknet", "FPN")[number % 3],
        "model.encoder_name": ("mobilenet_v2", "resnet18")[number % 2],
        "model.encoder_depth": 3 + number % 3,
        "optim.lr": 1e-4 * (number + 1),
        "loss.dice": 0.1 * (number % 9),
        "loss.bce": 0.5,
    }
