import numpy as np
import pytest
import torch

from harness.training.normalise import Normalise, build_normalise
from tests.training.conftest import settings

CPU = torch.device("cpu")
PICTURE = np.array([[[0, 51, 255], [255, 51, 0]]], np.uint8)[None]  # one image of 1 x 2 pixels


def test_images_become_channels_first_on_the_scale_of_the_statistics() -> None:
    got = Normalise((0.5, 0.2, 0.0), (0.5, 0.1, 2.0))(PICTURE, CPU)
    assert got.dtype == torch.float32 and got.shape == (1, 3, 1, 2)
    expected = [[[-1.0, 1.0]], [[0.0, 0.0]], [[0.5, 0.0]]]
    np.testing.assert_allclose(got[0].numpy(), expected, atol=1e-6)


def test_per_image_uses_each_channels_own_mean_and_deviation() -> None:
    """A channel of one value becomes 0, not a division by zero."""
    got = Normalise(None, None)(np.concatenate([PICTURE, PICTURE // 5]), CPU)
    expected = [[[-1.0, 1.0]], [[0.0, 0.0]], [[1.0, -1.0]]]
    np.testing.assert_allclose(got[0].numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(got[1].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", Normalise((0, 0, 0), (1, 1, 1))),
        ("imagenet", Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
        ("per_image", Normalise(None, None)),
    ],
)
def test_configuration_names_the_statistics(name: str, expected: Normalise) -> None:
    assert build_normalise(settings(data__normalize=name)) == expected


def test_encoder_statistics_are_those_of_its_weights() -> None:
    changes = {"model__encoder_name": "tu-vit_tiny_patch16_224", "data__normalize": "encoder"}
    pretrained = settings(**changes, model__encoder_weights="imagenet")
    assert build_normalise(pretrained) == Normalise((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert build_normalise(settings(**changes)) == build_normalise(settings())


def test_read_only_maps_are_copied() -> None:
    picture = PICTURE.copy()
    picture.flags.writeable = False
    Normalise((0, 0, 0), (1, 1, 1))(picture, CPU).zero_()
    assert picture[0, 0, 0, 2] == 255
