"""Each step on torch's CPU tensors against albumentations, with the same drawn parameters."""

import random
from typing import Any

import albumentations as A  # noqa: N812 (its own convention)
import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from harness.config.data import StudyDataConfig
from harness.data.loading.augment import build_augmentation, load_steps
from harness.data.loading.augment_draws import AugmentationDraws
from harness.training.on_device.hsv import hsv_to_rgb, rgb_to_hsv
from harness.training.on_device.step_functions import AugmentedBatch, apply_step

HEIGHT, WIDTH = 40, 48
AFFINE = {"scale": (0.6, 1.4), "translate_percent": (-0.1, 0.1), "rotate": (-180, 180), "p": 1.0}
STEPS: dict[str, tuple[type, dict[str, Any]]] = {
    "flip": (A.HorizontalFlip, {"p": 1.0}),
    "flip down": (A.VerticalFlip, {"p": 1.0}),
    "affine": (A.Affine, {**AFFINE, "fill": 0, "fill_mask": 255}),
    "affine filled": (A.Affine, {**AFFINE, "fill": 90, "fill_mask": 1, "shear": (-20, 20)}),
    "grid": (A.GridDistortion, {"distort_limit": 0.25, "fill_mask": 255, "p": 1.0}),
    "brightness": (A.RandomBrightnessContrast, {"p": 1.0}),
    "hue": (A.HueSaturationValue, {"p": 1.0}),
    "gaussian": (A.GaussianBlur, {"sigma_limit": (0.5, 1.5), "p": 1.0}),
    "motion": (A.MotionBlur, {"blur_limit": (3, 7), "p": 1.0}),
    "holes": (A.CoarseDropout, {"num_holes_range": (1, 4), "fill": 7, "p": 1.0}),
}


def images_and_masks(n: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Smooth pictures with all grey levels, and masks of smooth regions."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (n, HEIGHT, WIDTH, 3), np.uint8)
    blurred = np.stack([cv2.GaussianBlur(image, (0, 0), 2.5) for image in noise]).astype(float)
    images = np.clip(3 * (blurred - 127) + 127, 0, 255).astype(np.uint8)
    fields = rng.random((n, HEIGHT, WIDTH))
    masks = np.stack([cv2.GaussianBlur(field, (0, 0), 5) > 0.5 for field in fields])
    return images, masks.astype(np.uint8)


def augment_on_device(
    steps: list[Any], images: NDArray[np.uint8], masks: NDArray[np.uint8]
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Image i gets seed i."""
    seeds = list(range(len(images)))
    batch = AugmentedBatch(
        torch.from_numpy(images).permute(0, 3, 1, 2).float(),
        torch.from_numpy(masks.copy())[:, None],
        None,
        seeds,
    )
    for step in AugmentationDraws(steps, 1.0, images.shape[1:])(seeds):
        apply_step(batch, step)
    return batch.images.permute(0, 2, 3, 1).double().numpy(), batch.masks[:, 0].numpy()


@pytest.mark.parametrize("name", STEPS)
def test_step_equals_that_of_albumentations(name: str) -> None:
    """Grey levels to rounding, masks to pixels half way between two others."""
    images, masks = images_and_masks(24)
    step_class, arguments = STEPS[name]
    compose = A.Compose([step_class(**arguments)])
    expected = []
    for seed, (image, mask) in enumerate(zip(images, masks, strict=True)):
        compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        expected.append(compose(image=image, mask=mask))
    result, result_masks = augment_on_device([step_class(**arguments)], images, masks)
    differences = result - np.stack([pair["image"] for pair in expected])
    # OpenCV computes hue and saturation in integers; a level of hue may move a colour by several.
    assert np.abs(differences).max() <= (8 if name == "hue" else 1)
    assert np.abs(differences).mean() <= (0.15 if name == "hue" else 0.01)
    masks_differ = result_masks != np.stack([pair["mask"] for pair in expected])
    assert masks_differ.mean() <= 0.001
    assert np.abs(result - images).mean() > 0.5  # the step has acted


@pytest.mark.parametrize("name", ["light", "medium", "strong"])
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_preset_has_the_outputs_of_the_cpu_path(name: str, task: Any) -> None:
    """Images without noise agree in their pixels, those with noise in mean and deviation."""
    images, masks = images_and_masks(150)
    data = StudyDataConfig() if task == "binary" else StudyDataConfig(task="multiclass")
    pipeline = build_augmentation(name, data=data)
    expected = [pipeline(images[i], masks[i], i) for i in range(len(images))]
    steps, _ = load_steps(name, None, data)
    result, result_masks = augment_on_device(steps, images, masks)
    assert np.mean(result_masks != np.stack([mask for _, mask in expected])) < 0.001
    assert set(np.unique(result_masks)) <= ({0, 1} if task == "binary" else {0, 1, 255})
    expected_images = np.stack([image for image, _ in expected]).astype(float)
    pixel_error = np.abs(result - expected_images).mean(axis=(1, 2, 3))
    n_noisy = int((pixel_error > 1).sum())
    assert (0 < n_noisy < 35) if name == "strong" else n_noisy == 0
    assert np.median(pixel_error) < 0.2
    for statistic in (np.mean, np.std):
        ours, theirs = (statistic(a, axis=(1, 2, 3)) for a in (result, expected_images))
        np.testing.assert_allclose(ours, theirs, atol=1.2)


def test_noise_has_the_distribution_of_albumentations() -> None:
    """Grey images: far from 0 and 255, all that differs is the noise."""
    images = np.full((200, 16, 16, 3), 128, np.uint8)
    masks = np.zeros((200, 16, 16), np.uint8)
    compose = A.Compose([A.GaussNoise(std_range=(0.02, 0.08), p=1.0)])
    expected = []
    for seed, image in enumerate(images):
        compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        expected.append(compose(image=image)["image"].astype(float))
    result, _ = augment_on_device([A.GaussNoise(std_range=(0.02, 0.08), p=1.0)], images, masks)
    theirs = np.stack(expected)
    # Each image has the standard deviation that was drawn for it: 768 values know it to 5 %.
    np.testing.assert_allclose(result.std(axis=(1, 2, 3)), theirs.std(axis=(1, 2, 3)), rtol=0.15)
    assert abs(result.mean() - theirs.mean()) < 0.2
    assert stats.ks_2samp(result.ravel()[::7], theirs.ravel()[::7]).pvalue > 0.001
    assert len({image.tobytes() for image in result}) == 200


def test_colours_are_those_of_opencv() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV).astype(float)
    result = torch.stack(rgb_to_hsv(torch.from_numpy(pixels).permute(2, 0, 1)[None].float()), -1)
    assert np.abs(result[0].numpy() - hsv).max() <= 1
    assert np.mean(result[0].numpy() != hsv) < 0.02
    hue, saturation, value = torch.from_numpy(hsv).float()[None].unbind(-1)
    back = hsv_to_rgb(hue, saturation, value)[0].permute(1, 2, 0).numpy()
    expected = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)
    assert np.abs(back - expected).max() <= 1
    assert np.mean(back != expected) < 0.02
