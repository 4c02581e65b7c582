"""Every setting of a trial changes its training, or stands on the short list of those that do not.

Each is given a second value; the trained weights and the log must differ from those without it.
"""

from pathlib import Path
from typing import Any

import pytest

from harness.config import trial_keys
from tests.training.conftest import Pictures
from tests.training.test_fit import run
from tests.training.test_resume import leftovers, numbers

SECOND: dict[str, Any] = {
    "data.image_size": 40,
    "data.fit": "pad",
    "data.augment": "strong",
    "data.normalize": "per_image",
    "data.subset": 0.5,
    "model.arch": "Unet",
    "model.encoder_name": "resnet18",
    "model.encoder_depth": 4,
    "loss.dice": 0.5,
    "loss.bce": 0.5,
    "loss.focal": 1.0,
    "loss.jaccard": 1.0,
    "loss.tversky": 1.0,
    "loss.lovasz": 1.0,
    "loss.focal_gamma": 0.5,
    "loss.tversky_alpha": 0.9,
    "loss.label_smoothing": 0.1,
    "optim.name": "sgd",
    "optim.lr": 2e-3,
    "optim.encoder_lr": 2e-3,
    "optim.encoder_lr_scale": 0.1,
    "optim.decoder_lr": 2e-3,
    "optim.weight_decay": 0.5,
    "optim.momentum": 0.5,
    "optim.schedule": "constant",
    "optim.warmup_epochs": 1.0,
    "optim.grad_clip": 0.01,
    "train.epochs": 3,
    "train.batch_size": 2,
    "train.patience": 1,
    "train.freeze_encoder_epochs": 1,
    "train.ema_decay": 0.9,
}
# What else must be set for a key to act.
WITH: dict[str, dict[str, Any]] = {
    "loss.focal_gamma": {"loss.focal": 1.0},
    "loss.tversky_alpha": {"loss.tversky": 1.0},
    "optim.momentum": {"optim.name": "sgd"},
    "train.patience": {"optim.lr": 10.0, "train.epochs": 6, "optim.grad_clip": None},
}
ELSEWHERE = {
    "model.encoder_weights",  # tests/models/test_build.py
    "train.precision",  # resolved by the caller: test_trainer.py
    "train.compile",  # speed: test_trainer.py
    "train.checkpoint_s",  # test_resume.py
    "loss.ce",  # multiclass tasks: test_tasks.py
    "loss.class_weights",  # multiclass and multilabel tasks: test_tasks.py
    "train.seed",  # resolved by the caller: test_trainer.py
}
BASE: dict[str, Any] = {"train.epochs": 1}


def outcome(pictures: Pictures, folder: Path, values: dict[str, Any]) -> object:
    changes = {key.replace(".", "__"): value for key, value in values.items()}
    run(pictures, folder, **changes)
    return numbers(folder), leftovers(folder)["best/model/model.safetensors"]


@pytest.fixture(scope="module")
def known() -> dict[str, object]:
    """Outcomes by their settings, so that each is trained once."""
    return {}


def test_every_setting_is_on_one_list() -> None:
    assert sorted([*SECOND, *ELSEWHERE]) == sorted(trial_keys())


@pytest.mark.parametrize("key", SECOND)
def test_setting_acts(
    pictures: Pictures, tmp_path: Path, known: dict[str, object], key: str
) -> None:
    values = BASE | WITH.get(key, {})
    if repr(values) not in known:
        known[repr(values)] = outcome(pictures, tmp_path / "without", values)
    assert outcome(pictures, tmp_path / "with", values | {key: SECOND[key]}) != known[repr(values)]


def test_settings_that_change_speed_only_change_no_number(
    pictures: Pictures, tmp_path: Path
) -> None:
    plain = outcome(pictures, tmp_path / "without", BASE)
    assert outcome(pictures, tmp_path / "with", BASE | {"train.checkpoint_s": 0.0}) == plain
