"""Probabilities at an image's own size, against torch, OpenCV and smp alone."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import nn

from harness.config.data import StudyDataConfig
from harness.config.study import TrialConfig
from harness.models.build import build_network
from harness.models.serialization import save_network
from harness.training.metrics.native_size import (
    NativePredictor,
    load_predictors,
    mean_probabilities,
    render_decision_png,
)

CPU = torch.device("cpu")
SHAPES = ((40, 50), (70, 33), (32, 48))


def config_of(**settings: object) -> TrialConfig:
    return TrialConfig.from_flat(
        {
            "model.encoder_name": "resnet18",
            "model.encoder_weights": None,
            "model.encoder_depth": 3,
            "data.image_size": [32, 48],
            "train.batch_size": 2,
            **settings,
        }
    )


def saved(folder: Path, config: TrialConfig, classes: int = 1, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    network = build_network(config.model, classes=classes, in_channels=3)
    folder.mkdir()
    save_network(network, folder)
    return folder


def pictures() -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in SHAPES]


@cache
def loaded(folder: Path) -> nn.Module:
    return smp.from_pretrained(folder).eval()


def by_hand(
    folder: Path, image: NDArray[np.uint8], *, pad: bool, per_image: bool = False
) -> torch.Tensor:
    """Logits of one RGB image at its own size."""
    height, width = image.shape[:2]
    h, w = 32, 48
    if pad:
        scale = min(32 / height, 48 / width)
        h, w = round(height * scale), round(width * scale)
    how = cv2.INTER_AREA if h * w < height * width else cv2.INTER_LINEAR
    small = np.zeros((32, 48, 3), np.uint8)
    small[:h, :w] = cv2.resize(image, (w, h), interpolation=how)
    x = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    if per_image:  # padding is 0
        std, mean = torch.std_mean(x[0, :, :h, :w], dim=(1, 2), correction=0)
    x = (x - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    if per_image:
        x[:, :, h:], x[:, :, :, w:] = 0, 0
    with torch.no_grad():
        logits = loaded(folder)(x)[:, :, :h, :w]
    return F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)


@pytest.mark.parametrize("fit", ["stretch", "pad"])
@pytest.mark.parametrize("normalize", ["imagenet", "per_image"])
def test_probabilities_are_those_of_a_recomputation(
    tmp_path: Path, fit: str, normalize: str
) -> None:
    config = config_of(**{"data.fit": fit, "data.normalize": normalize})
    folder = saved(tmp_path / "model", config)
    answers = NativePredictor(folder, config, StudyDataConfig(), CPU)(pictures())
    for p, image in zip(answers, pictures(), strict=True):
        per_image = normalize == "per_image"
        logits = by_hand(folder, image, pad=fit == "pad", per_image=per_image)
        expected = torch.sigmoid(logits)[0].numpy()
        assert p.dtype == np.float32 and p.shape == (1, *image.shape[:2])
        np.testing.assert_allclose(p, expected, rtol=0, atol=1e-6)


def test_several_classes_are_softmaxed_at_their_own_size(tmp_path: Path) -> None:
    config = config_of()
    folder = saved(tmp_path / "model", config, classes=3)
    data = StudyDataConfig(task="multiclass", classes=("a", "b", "c"))
    (p,) = NativePredictor(folder, config, data, CPU)(pictures()[:1])
    expected = torch.softmax(by_hand(folder, pictures()[0], pad=False), dim=1)[0].numpy()
    np.testing.assert_allclose(p, expected, rtol=0, atol=1e-6)


def test_flips_and_networks_are_averaged_as_probabilities(tmp_path: Path) -> None:
    config = config_of()
    folders = [saved(tmp_path / str(k), config, seed=k) for k in range(2)]
    predictors = [NativePredictor(folder, config, StudyDataConfig(), CPU) for folder in folders]
    image = pictures()[1]
    (p,) = mean_probabilities(predictors, [image], tta=True)
    parts = []
    for folder in folders:
        for axes in ((), (0,), (1,), (0, 1)):
            logits = by_hand(folder, np.ascontiguousarray(np.flip(image, axes)), pad=False)
            parts.append(np.flip(torch.sigmoid(logits)[0, 0].numpy(), axes))
    np.testing.assert_allclose(p[0], np.mean(parts, axis=0), rtol=0, atol=1e-6)


class Ramp:
    """A network that sees a gradient from left to right and from top to bottom in every image."""

    def __call__(self, images: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        return [self.of(*image.shape[:2]) for image in images]

    def of(self, height: int, width: int) -> NDArray[np.float32]:
        y, x = np.mgrid[:height, :width] / max(height, width)
        return (0.5 * x + 0.25 * y * x)[None].astype(np.float32)


def test_each_flip_is_turned_back_before_the_mean() -> None:
    """What a network sees at one side alone, the four flips see at all sides alike."""
    (p,) = mean_probabilities([Ramp()], [np.zeros((3, 5, 3), np.uint8)], tta=True)  # type: ignore[list-item]
    ramp = Ramp().of(3, 5)[0].astype(np.float64)
    sides = [ramp, ramp[:, ::-1], ramp[::-1], ramp[::-1, ::-1]]
    np.testing.assert_allclose(p[0], sum(sides) / 4, atol=1e-7)
    assert not np.allclose(p[0], ramp)
    (plain,) = mean_probabilities([Ramp()], [np.zeros((3, 5, 3), np.uint8)])  # type: ignore[list-item]
    assert np.array_equal(plain[0], ramp.astype(np.float32))


def test_the_mean_of_networks_is_of_probabilities() -> None:
    low, high = (lambda images, v=v: [np.full((1, 2, 2), v, np.float32)] for v in (0.2, 0.9))
    (p,) = mean_probabilities([low, high], [np.zeros((2, 2, 3), np.uint8)])  # type: ignore[list-item]
    assert p == pytest.approx(np.full((1, 2, 2), 0.55), abs=1e-7)


class Counted(Ramp):
    """Counts its calls."""

    n_calls = 0

    def __call__(self, images: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        self.n_calls += 1
        return super().__call__(images)


def test_copies_of_a_network_count_but_are_computed_once() -> None:
    twice, flat = Counted(), lambda images: [np.full((1, 3, 5), 0.9, np.float32)]
    image = np.zeros((3, 5, 3), np.uint8)
    (p,) = mean_probabilities([twice, flat, twice], [image])  # type: ignore[list-item]
    expected = (2 * twice.of(3, 5).astype(np.float64) + np.float32(0.9)) / 3
    np.testing.assert_allclose(p, expected, rtol=0, atol=1e-7)
    assert twice.n_calls == 1
    (alone,) = mean_probabilities([twice, twice], [image])  # type: ignore[list-item]
    assert np.array_equal(alone, twice.of(3, 5)) and twice.n_calls == 2


def test_copies_of_a_network_are_loaded_once(tmp_path: Path) -> None:
    config = config_of()
    folders = [saved(tmp_path / str(k), config, seed=k) for k in range(2)]
    members = [(folders[k], config) for k in (0, 1, 0)]
    first, second, third = load_predictors(members, StudyDataConfig(), CPU)
    assert first is third is not second


def test_answers_do_not_depend_on_the_company_of_an_image(tmp_path: Path) -> None:
    config = config_of()
    predictor = NativePredictor(saved(tmp_path / "m", config), config, StudyDataConfig(), CPU)
    together = predictor(pictures())
    for k, image in enumerate(pictures()):
        np.testing.assert_allclose(predictor([image])[0], together[k], rtol=0, atol=1e-6)


def test_a_picture_of_decisions_is_small_and_a_png() -> None:
    image = np.zeros((1000, 400, 3), np.uint8)
    mask = np.zeros((1000, 400), np.uint8)
    mask[:500] = 1
    p = np.full((1, 1000, 400), 0.9, np.float32)
    data = render_decision_png(image, mask, p, StudyDataConfig())
    drawn = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert drawn is not None and drawn.shape == (480, 192, 3)


def test_pictures_of_several_classes_show_truth_and_decision_side_by_side() -> None:
    image, p = np.zeros((20, 30, 3), np.uint8), np.full((2, 20, 30), 0.6, np.float32)
    classes = StudyDataConfig(task="multiclass", classes=("a", "b"))
    labels = StudyDataConfig(task="multilabel", classes=("a", "b"))
    for mask, data in ((np.zeros((20, 30), np.uint8), classes), (np.zeros((20, 30, 2)), labels)):
        drawn = render_decision_png(image, mask.astype(np.uint8), p, data)
        decoded = cv2.imdecode(np.frombuffer(drawn, np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None and decoded.shape == (20, 30 + 4 + 30, 3)
