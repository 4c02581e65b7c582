"""Trainings whose images lie on the device; here the device is the CPU."""

import json
from itertools import count
from pathlib import Path
from typing import Any

import albumentations as A  # noqa: N812 (its own convention)
import pytest
import torch

from harness.config.study import ObjectiveConfig
from harness.core.paths import TrialPaths
from harness.core.records import TrialResult
from harness.data.loading.epoch_order import EpochOrder
from harness.data.loading.image_cache import ImageCache
from harness.training.loop.fit import fit_trial
from harness.training.loop.setup import TrainingInputs
from harness.training.on_device import device_images
from harness.training.on_device.device_images import DeviceImageStore
from harness.training.on_device.placement import DevicePlacement
from tests.training.conftest import Pictures, settings
from tests.training.loop.test_resume import numbers

CPU = torch.device("cpu")


def placement(notices: list[str], device: torch.device = CPU) -> DevicePlacement:
    return DevicePlacement(DeviceImageStore(), device, notices.append)


def train(
    pictures: Pictures, folder: Path, on_device: DevicePlacement | None, halt: int = -1, **s: Any
) -> TrialResult:
    """Train, and stop after `halt` steps."""
    config, steps = settings(**s), count(1)
    inputs = TrainingInputs(
        config,
        pictures.cache(size=config.data.height_width, fit=config.data.fit),
        pictures.names,
        TrialPaths(folder),
        seed=1,
        device=CPU,
        precision="fp32",
        on_device=on_device,
    )
    return fit_trial(
        inputs,
        ObjectiveConfig(),
        lambda _: "continue",
        should_stop=lambda: next(steps) == halt,
    )


def test_numbers_are_those_of_the_cpu_path_where_nothing_is_interpolated(
    pictures: Pictures, tmp_path: Path
) -> None:
    notices: list[str] = []
    train(pictures, tmp_path / "cpu", None, data__augment="light", train__epochs=2)
    train(pictures, tmp_path / "device", placement(notices), data__augment="light", train__epochs=2)
    assert numbers(tmp_path / "device") == numbers(tmp_path / "cpu")
    assert notices == []


def test_stopped_training_goes_on_bit_by_bit(pictures: Pictures, tmp_path: Path) -> None:
    changes = {
        "data__augment": "strong",
        "data__normalize": "per_image",
        "data__fit": "pad",
        "train__epochs": 2,
    }
    train(pictures, tmp_path / "whole", placement([]), **changes)
    stopped = train(pictures, tmp_path / "parts", placement([]), halt=2, **changes)
    assert stopped.outcome == "stopped" and not numbers(tmp_path / "parts")
    assert train(pictures, tmp_path / "parts", placement([]), **changes).outcome == "complete"
    assert numbers(tmp_path / "parts") == numbers(tmp_path / "whole")


def test_images_stay_from_trial_to_trial_and_give_way_to_another_cache(pictures: Pictures) -> None:
    store, small, large = DeviceImageStore(), pictures.cache(), pictures.cache(size=(40, 48))
    first = store.load(small, CPU)
    assert store.load(small, CPU) is first
    assert first.images.shape == (len(small.train), 32, 32, 3)
    assert store.load(large, CPU).images.shape[1:] == (40, 48, 3)
    assert store.load(small, CPU) is not first
    images, masks = first.gather(small.train[[3, 0, 3]])
    assert torch.equal(images[0], torch.from_numpy(small.images[int(small.train[3])].copy()))
    assert torch.equal(masks[1], torch.from_numpy(small.masks[int(small.train[0])].copy()))


def build(cache: ImageCache, notices: list[str], folder: Path | None = None, **s: Any) -> Any:
    device = torch.device(s.pop("device", "cpu"))
    order = EpochOrder(cache.train, 1)
    config = settings(**s)
    return placement(notices, device).build_batches(config, cache, order, folder, 1)


def save(folder: Path, name: str, *steps: Any) -> None:
    A.save(A.Compose(list(steps)), str(folder / name), data_format="yaml")


def test_file_of_known_steps_is_used_on_the_device(pictures: Pictures, tmp_path: Path) -> None:
    notices: list[str] = []
    save(tmp_path, "own.yaml", A.OneOf([A.Affine(rotate=(-9, 9)), A.GaussianBlur()], p=0.5))
    assert build(pictures.cache(), notices, tmp_path, data__augment="own.yaml") is not None
    assert notices == []


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (A.ElasticTransform(p=0.5), "ElasticTransform of data.augment own.yaml"),
        (A.Affine(rotate=9, border_mode=4, p=0.5), "Affine of data.augment own.yaml"),
        (A.SomeOf([A.HorizontalFlip()], n=1, p=1.0), "SomeOf of data.augment own.yaml"),
        (A.Affine(rotate=9, fill_mask=9, p=0.5), "data.augment own.yaml fills masks with a value"),
    ],
)
def test_other_steps_are_left_to_the_cpu_with_a_sentence(
    pictures: Pictures, tmp_path: Path, step: Any, reason: str
) -> None:
    notices: list[str] = []
    save(tmp_path, "own.yaml", step)
    assert build(pictures.cache(), notices, tmp_path, data__augment="own.yaml") is None
    assert len(notices) == 1 and notices[0].startswith(f"--data-on-device: {reason}")
    assert notices[0].endswith("; batches are made on the CPU")


def test_tiles_and_other_devices_are_left_to_the_cpu(pictures: Pictures) -> None:
    notices: list[str] = []
    assert build(pictures.cache(), notices, data__tile__size=32) is None
    assert build(pictures.cache(), notices, device="mps") is None
    assert "tiles are read from images at their own size" in notices[0]
    assert "not supported on mps" in notices[1]


def test_images_that_do_not_fit_stay_on_the_cpu_and_training_goes_on(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """11 images of 32 x 32 x (3 + 1) bytes: 45 kB."""
    n_bytes = len(pictures.cache().train) * 32 * 32 * 4
    notices: list[str] = []
    monkeypatch.setattr(device_images, "free_memory_bytes", lambda _: 4 * n_bytes)
    assert build(pictures.cache(), notices) is not None
    monkeypatch.setattr(device_images, "free_memory_bytes", lambda _: 4 * n_bytes - 1)
    result = train(pictures, tmp_path, placement(notices), train__epochs=1)
    assert result.outcome == "complete"
    assert notices == [
        "--data-on-device: the training images need 0 MB, more than 25% of the free memory of cpu; "
        "batches are made on the CPU"
    ]
    assert json.loads((tmp_path / "epochs.jsonl").read_text())["epoch"] == 1


def test_memory_that_runs_out_while_copying_is_no_error(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    notices: list[str] = []
    monkeypatch.setattr(device_images, "_copy_rows", fail)
    assert build(pictures.cache(), notices) is None
    assert len(notices) == 1
