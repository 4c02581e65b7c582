from typing import Any

import numpy as np
import pytest
import torch

from harness.config.data import StudyDataConfig
from harness.training.hardware.normalizer import ImageNormalizer, build_normalizer
from tests.training.conftest import settings

CPU = torch.device("cpu")
RGB = StudyDataConfig()
PICTURE = np.array([[[0, 51, 255], [255, 51, 0]]], np.uint8)[None]  # one image of 1 x 2 pixels


def test_images_become_channels_first_on_the_scale_of_the_statistics() -> None:
    got = ImageNormalizer((0.5, 0.2, 0.0), (0.5, 0.1, 2.0))(PICTURE, CPU)
    assert got.dtype == torch.float32 and got.shape == (1, 3, 1, 2)
    expected = [[[-1.0, 1.0]], [[0.0, 0.0]], [[0.5, 0.0]]]
    np.testing.assert_allclose(got[0].numpy(), expected, atol=1e-6)


def test_per_image_uses_each_channels_own_mean_and_deviation() -> None:
    """A channel of one value becomes 0, not a division by zero."""
    got = ImageNormalizer(None, None)(np.concatenate([PICTURE, PICTURE // 5]), CPU)
    expected = [[[-1.0, 1.0]], [[0.0, 0.0]], [[1.0, -1.0]]]
    np.testing.assert_allclose(got[0].numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(got[1].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", ImageNormalizer((0, 0, 0), (1, 1, 1))),
        ("imagenet", ImageNormalizer((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
        ("per_image", ImageNormalizer(None, None)),
    ],
)
def test_configuration_names_the_statistics(name: str, expected: ImageNormalizer) -> None:
    assert build_normalizer(settings(data__normalize=name), RGB) == expected


def test_encoder_statistics_are_those_of_its_weights() -> None:
    changes = {"model__encoder_name": "tu-vit_tiny_patch16_224", "data__normalize": "encoder"}
    pretrained = settings(**changes, model__encoder_weights="imagenet")
    assert build_normalizer(pretrained, RGB) == ImageNormalizer((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert build_normalizer(settings(**changes), RGB) == build_normalizer(settings(), RGB)


def test_read_only_maps_are_copied() -> None:
    picture = PICTURE.copy()
    picture.flags.writeable = False
    ImageNormalizer((0, 0, 0), (1, 1, 1))(picture, CPU).zero_()
    assert picture[0, 0, 0, 2] == 255


def test_sixteen_bits_are_scaled_by_the_declared_range() -> None:
    """Values above 32767 are not taken for negative ones; beyond the range are its ends."""
    picture = np.array([[[0], [1000], [33000], [65535]]], np.uint16)[None]
    got = ImageNormalizer((0.0,), (1.0,), (1000.0, 65000.0))(picture, CPU)
    expected = [0.0, 0.0, 32000 / 64000, 1.0]
    assert got.shape == (1, 1, 1, 4) and got.dtype == torch.float32
    np.testing.assert_allclose(got[0, 0, 0].numpy(), expected, atol=1e-6)


def test_eight_bits_are_scaled_by_the_declared_range() -> None:
    got = ImageNormalizer((0.0,), (1.0,), (55.0, 155.0))(np.array([[[[55], [105]]]], np.uint8), CPU)
    np.testing.assert_allclose(got.flatten().numpy(), [0.0, 0.5], atol=1e-6)


def test_floats_are_on_the_scale_already() -> None:
    picture = np.array([[[[0.25], [1.0]]]], np.float32)
    got = ImageNormalizer((0.5,), (0.25,), (0.0, 65535.0))(picture, CPU)
    np.testing.assert_allclose(got.flatten().numpy(), [-1.0, 2.0], atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_other_channels_get_the_mean_of_the_colours_statistics(channels: int) -> None:
    data = StudyDataConfig(channels=channels, range=(0.0, 4095.0))
    normalise = build_normalizer(settings(), data)
    assert normalise.mean == pytest.approx((0.449,) * channels)
    assert normalise.std == pytest.approx((0.226,) * channels)
    assert normalise.range == (0.0, 4095.0)
    picture = np.full((2, 3, 4, channels), 4095, np.uint16)
    assert normalise(picture, CPU).shape == (2, channels, 3, 4)


def test_per_image_sees_the_differences_of_a_few_sixteen_bit_steps() -> None:
    picture = np.array([[[[1000], [1002]]]], np.uint16)
    got = ImageNormalizer(None, None, (0.0, 65535.0))(picture, CPU)
    np.testing.assert_allclose(got.flatten().numpy(), [-1.0, 1.0], atol=1e-3)


def padded(content: Any, size: int = 8) -> tuple[Any, Any, Any]:
    """Images (N, size, size, C) with content at the top left, where it is, and its boxes."""
    images = np.zeros((len(content), size, size, content[0].shape[2]), content[0].dtype)
    inside = np.zeros(images.shape[:3], np.bool_)
    for image, where, one in zip(images, inside, content, strict=True):
        image[: one.shape[0], : one.shape[1]] = one
        where[: one.shape[0], : one.shape[1]] = True
    boxes = np.array([[0, 0, *one.shape[:2]] for one in content], np.int64)
    return images, inside, boxes


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_per_image_statistics_are_those_of_the_content(kind: Any) -> None:
    """By numpy, image by image and channel by channel; padding becomes 0."""
    random = np.random.default_rng(1)
    scale = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[kind]
    shapes = [(8, 8, 2), (4, 8, 2), (8, 3, 2)]
    content = [(random.random(shape) * scale).astype(kind) for shape in shapes]
    images, inside, boxes = padded(content)
    normalise = ImageNormalizer(None, None, (0.0, float(scale)))
    for got in (normalise(images, CPU, inside), normalise.normalize_in_boxes(images, CPU, boxes)):
        for answer, one, where in zip(got.numpy(), content, inside, strict=True):
            values = one.astype(np.float64) / scale
            expected = (values - values.mean((0, 1))) / values.std((0, 1))
            np.testing.assert_allclose(
                answer[:, where], expected.reshape(-1, 2).T, rtol=1e-3, atol=1e-4
            )
            assert (answer[:, ~where] == 0).all()


def test_padded_picture_of_one_colour_becomes_0_and_so_does_one_without_content() -> None:
    images, inside, _ = padded([np.full((3, 8, 3), 255, np.uint8), np.full((8, 8, 3), 9, np.uint8)])
    inside[1] = False
    assert (ImageNormalizer(None, None)(images, CPU, inside) == 0).all()


def test_fixed_statistics_take_padding_as_black() -> None:
    images, _, boxes = padded([np.full((3, 8, 3), 255, np.uint8)])
    got = ImageNormalizer((0.5,) * 3, (0.5,) * 3).normalize_in_boxes(images, CPU, boxes)
    assert (got[:, :, :3] == 1).all() and (got[:, :, 3:] == -1).all()
