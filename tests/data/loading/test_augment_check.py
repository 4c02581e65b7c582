"""Augmentations are tried at a study's own sizes, types and mask values, rare steps as well."""

from pathlib import Path
from typing import Any

import albumentations as A  # noqa: N812
import cv2
import numpy as np
import pytest

from harness.config.data import StudyDataConfig
from harness.core.errors import ConfigError
from harness.data.loading.augment import PRESETS, build_augmentation
from harness.data.loading.augment_check import check_augmentation
from tests.data.loading.test_augment_file import saved, written
from tests.data.make import picture, square

TWO = StudyDataConfig()
THREE = StudyDataConfig(task="multiclass", classes=("sky", "road", "car"))
LABELS = StudyDataConfig(task="multilabel", classes=("cell", "wall"))
DEEP = StudyDataConfig(range=(0.0, 65535.0))
TURNED = {"rotate": (30, 45), "border_mode": cv2.BORDER_CONSTANT, "p": 1.0}


def tried(
    folder: Path, *steps: Any, size: tuple[int, int] = (64, 64), data: StudyDataConfig = TWO
) -> None:
    check_augmentation(saved(folder, *steps), folder=folder, data=data, sizes=[size])


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("data", [TWO, THREE, LABELS, DEEP])
def test_presets_pass_in_every_task(name: str, data: StudyDataConfig) -> None:
    check_augmentation(name, folder=None, data=data, sizes=[(64, 96)])


def test_steps_on_colour_refuse_other_numbers_of_channels() -> None:
    with pytest.raises(ConfigError, match=r"medium cannot take images of 5 channels .* Hue"):
        check_augmentation(
            "medium", folder=None, data=StudyDataConfig(channels=5), sizes=[(64, 64)]
        )
    check_augmentation("light", folder=None, data=StudyDataConfig(channels=5), sizes=[(64, 64)])


@pytest.mark.parametrize(
    ("step", "size"),
    [
        (A.RandomResizedCrop(size=(96, 96)), (96, 96)),
        (A.RandomResizedCrop(size=(64, 96)), (64, 96)),
        (A.PadIfNeeded(min_height=64, min_width=64), (96, 96)),
        (A.RandomRotate90(p=0.5), (96, 96)),
        (A.D4(p=1.0), (64, 64)),
        (A.RGBShift(p=0.5), (64, 64)),
        (A.Affine(rotate=(-9, 9), fill_mask=1, p=0.5), (64, 64)),
    ],
)
def test_steps_that_fit_the_size_pass(
    tmp_path: Path, step: A.BasicTransform, size: tuple[int, int]
) -> None:
    tried(tmp_path, step, size=size)


@pytest.mark.parametrize(
    ("step", "size", "message"),
    [
        (
            A.RandomResizedCrop(size=(64, 64)),
            (96, 96),
            "RandomResizedCrop gives 64 x 64",
        ),
        (A.RandomCrop(16, 16, p=1e-6), (64, 64), "RandomCrop gives 16 x 16 .* 64 x 64"),
        (A.RandomRotate90(p=0.1), (64, 96), "RandomRotate90 gives 96 x 64 .* square"),
        (A.D4(p=1.0), (64, 96), "D4 gives 96 x 64"),
        (A.Transpose(p=0.01), (96, 64), "Transpose gives 64 x 96 .* 96 x 64"),
        (A.PadIfNeeded(min_height=128, min_width=64), (96, 96), "PadIfNeeded gives 128 x 96"),
        (
            A.OneOf([A.HorizontalFlip(p=0.99), A.RandomRotate90(p=0.001)], p=0.01),
            (64, 96),
            "RandomRotate90 gives 96 x 64",
        ),
        (
            A.SomeOf([A.HorizontalFlip(p=1), A.VerticalFlip(p=1), A.Transpose(p=0.01)], n=2, p=1),
            (64, 96),
            "Transpose gives 96 x 64",
        ),
        (A.Sequential([A.Transpose(p=0.01)], p=0.1), (64, 96), "Transpose gives 96 x 64"),
        (A.ToFloat(p=0.01), (64, 64), "ToFloat turns uint8 images .* into float32"),
        (A.CoarseDropout(fill_mask=7, p=0.01), (64, 64), r"CoarseDropout writes 7 .*are 0, 1\)"),
        (A.Affine(fill_mask=255, **TURNED), (64, 64), "Affine writes 255 into masks"),
    ],
)
def test_the_step_and_what_it_does_are_named(
    tmp_path: Path, step: A.BasicTransform, size: tuple[int, int], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"data.augment: mine.yaml: {message}"):
        tried(tmp_path, step, size=size)


def test_a_crop_after_its_padding_must_always_follow_it(tmp_path: Path) -> None:
    pad, crop = A.PadIfNeeded(96, 96, p=1.0), A.RandomCrop(64, 64, p=1.0)
    tried(tmp_path, pad, crop)
    with pytest.raises(ConfigError, match="PadIfNeeded gives 96 x 96"):
        tried(tmp_path, pad, A.RandomCrop(64, 64, p=0.9))


def test_the_size_is_the_last_that_a_chain_gives(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Resize gives 32 x 32"):
        tried(tmp_path, A.RandomCrop(48, 48, p=1.0), A.Resize(32, 32, p=1.0))


def test_a_choice_of_nothing_does_nothing(tmp_path: Path) -> None:
    tried(tmp_path, A.OneOf([], p=1.0))


def test_steps_that_need_further_images_are_refused(tmp_path: Path) -> None:
    """Their own description of themselves raises; no dump of a traceback."""
    step = "{__class_fullname__: FDA, metadata_key: m, p: 0.1}"
    with pytest.raises(ConfigError, match=r"mine\.yaml cannot take images .*: FDA: FDA requires"):
        check_augmentation(
            written(tmp_path, step).name, folder=tmp_path, data=TWO, sizes=[(64, 64)]
        )


def test_the_type_is_the_last_that_a_chain_gives(tmp_path: Path) -> None:
    tried(tmp_path, A.ToFloat(p=1.0), A.RandomGamma(p=0.5), A.FromFloat(dtype="uint8", p=1.0))
    with pytest.raises(ConfigError, match="ToFloat turns uint8 images"):
        tried(tmp_path, A.ToFloat(p=1.0), A.FromFloat(dtype="uint8", p=0.9))


def test_the_argument_that_a_step_has_is_named(tmp_path: Path) -> None:
    """PixelDropout takes no fill_mask: that advice would be refused."""
    with pytest.raises(ConfigError, match=r"PixelDropout writes 4 .* set mask_drop_value to one"):
        tried(tmp_path, A.PixelDropout(mask_drop_value=4, p=0.01))
    tried(tmp_path, A.PixelDropout(mask_drop_value=1, p=0.01))


def test_what_is_written_into_objects_alone_is_a_filling(tmp_path: Path) -> None:
    """A mask without objects does not show it, and nothing is interpolated."""

    def dropout(fill: int) -> A.BasicTransform:
        return A.ConstrainedCoarseDropout(mask_indices=[2], fill_mask=fill, p=0.1)

    tried(tmp_path, dropout(1), data=THREE)
    with pytest.raises(ConfigError, match=r"ConstrainedCoarseDropout writes 8 .* set fill_mask"):
        tried(tmp_path, dropout(8), data=THREE)


def test_every_size_is_tried(tmp_path: Path) -> None:
    name = saved(tmp_path, A.RandomResizedCrop(size=(96, 96)))
    with pytest.raises(ConfigError, match=r"96 x 96 pixels .* is 64 x 64"):
        check_augmentation(name, folder=tmp_path, data=TWO, sizes=[(96, 96), (64, 64)])


def test_sixteen_bits_are_tried_as_they_are_given(tmp_path: Path) -> None:
    """They are float32 in [0, 1]: normalised by a step, they would be normalised twice."""
    tried(tmp_path, A.Equalize(p=0.1), data=DEEP)
    with pytest.raises(ConfigError, match=r"Normalize gives values from -2\.1.* data\.normalize"):
        tried(tmp_path, A.Normalize(p=0.1), data=DEEP)
    with pytest.raises(ConfigError, match=r"FromFloat turns float32 images .* into uint8"):
        tried(tmp_path, A.FromFloat(dtype="uint8", p=0.1), data=DEEP)


def test_a_step_that_warns_that_it_has_no_effect_is_refused(tmp_path: Path) -> None:
    grey = StudyDataConfig(channels=1)
    with pytest.raises(ConfigError, match="HueSaturationValue: hue_shift and sat_shift are not"):
        tried(tmp_path, A.HueSaturationValue(p=0.1), data=grey)


IGNORING = StudyDataConfig(ignore_index=128)
THREE_IGNORING = THREE.model_copy(update={"ignore_index": 9})


@pytest.mark.parametrize(
    ("data", "fill", "message"),
    [
        (TWO, 1, None),
        (TWO, 255, r"writes 255 .* \(there are 0, 1\)"),
        (IGNORING, 128, None),
        (IGNORING, 255, None),
        (THREE, 2, None),
        (THREE, 255, None),  # void, as where masks are padded
        (THREE, 3, r"writes 3 .* \(there are 0, 1, 2, 255\)"),
        (THREE_IGNORING, 9, None),
        (LABELS, 1, None),
        (LABELS, 255, r"writes 255 .* \(there are 0, 1\)"),
    ],
)
def test_values_of_no_class_are_refused_unless_pixels_may_count_nowhere(
    tmp_path: Path, data: StudyDataConfig, fill: int, message: str | None
) -> None:
    step = A.Affine(fill_mask=fill, **TURNED)
    if message is None:
        tried(tmp_path, step, data=data)
        return
    with pytest.raises(ConfigError, match=message):
        tried(tmp_path, step, data=data)


@pytest.mark.parametrize("data", [THREE, IGNORING])
def test_masks_must_not_be_interpolated(tmp_path: Path, data: StudyDataConfig) -> None:
    """Between classes 0 and 2 lies 1, between 1 and void 128: neither was ever drawn."""
    step = A.Affine(rotate=(30, 45), mask_interpolation=cv2.INTER_LINEAR, p=0.3)
    with pytest.raises(ConfigError, match="Affine mixes the values of masks; set mask_interp"):
        tried(tmp_path, step, data=data)
    tried(tmp_path, A.Affine(rotate=(30, 45), p=0.3), data=data)


def test_training_refuses_what_no_class_has(tmp_path: Path) -> None:
    """Targets of 255 made a two-class loss of -16."""
    name = saved(tmp_path, A.Affine(fill_mask=255, **TURNED))
    augment = build_augmentation(name, folder=tmp_path)
    with pytest.raises(ConfigError, match=r"data.augment: mine.yaml writes 255 into masks, which"):
        augment(picture(0, 32, 32), square(32, 32), 0)
    with pytest.raises(ConfigError, match="writes 255"):
        build_augmentation(name, folder=tmp_path, data=LABELS)(
            picture(0, 32, 32), np.dstack([square(32, 32)] * 2), 0
        )


@pytest.mark.parametrize("fill", [128, 255, 7])
def test_training_ignores_it_where_pixels_may_count_nowhere(tmp_path: Path, fill: int) -> None:
    name = saved(tmp_path, A.Affine(fill_mask=fill, **TURNED))
    augment = build_augmentation(name, folder=tmp_path, data=IGNORING)
    _, mask = augment(picture(0, 32, 32), np.ones((32, 32), np.uint8), 0)
    assert set(np.unique(mask)) == {1, 255}


@pytest.mark.parametrize("step", [A.RandomCrop(16, 16, p=1.0), A.ToFloat(p=1.0)])
def test_training_refuses_other_sizes_and_types(tmp_path: Path, step: A.BasicTransform) -> None:
    augment = build_augmentation(saved(tmp_path, step), folder=tmp_path)
    with pytest.raises(ConfigError, match=r"mine\.yaml turns uint8 .* sizes and types must stay"):
        augment(picture(0, 32, 32), square(32, 32), 0)
