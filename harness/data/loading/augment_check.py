"""Test the steps of an augmentation before any trial: sizes, types and mask values must stay."""

import copy
import itertools
import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import albumentations as A  # noqa: N812 (its own convention)
import numpy as np
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.core.errors import ConfigError
from harness.core.text import count
from harness.data.loading.augment import PRESETS, AllowedMaskValues, Image, load_steps
from harness.data.loading.augment_file import Step, summarize_error

Array8 = NDArray[np.uint8]
Size = tuple[int, int]
Chain = tuple[Step, ...]  # steps that are applied in order, each with certainty

_SEEDS: Final = 8  # a quarter turn (p = 1/2) is missed once in 2^8 = 256 checks
_SEEDS_LARGE: Final = 4
_LARGE_PX: Final = 600 * 600
_PRESET_SIZE: Final = (64, 64)  # presets keep every size; only the number of channels can fail
_CELL_PX: Final = 8
_FILLS: Final = (
    "fill_mask",
    "mask_drop_value",
)  # arguments for the value that is written into masks


class _SamplePair(NamedTuple):
    image: Image
    mask: Array8


@dataclass(frozen=True)
class _CheckCase:
    """Settings of one check: a chain is applied to one image."""

    name: str
    data: StudyDataConfig
    size: Size
    seed: int


def check_augmentation(
    name: str, *, folder: Path | None, data: StudyDataConfig, sizes: Sequence[Size]
) -> None:
    """Apply an augmentation to test images with the sizes, types and mask values of a study.

    Every step is forced to act, together with the others and alone, and so is each alternative of
    OneOf and similar steps, so that rare combinations are tested too.

    Args:
        folder: folder of files of steps.
        sizes: height and width of the images of the study.

    Raises:
        ConfigError: as `build_augmentation`; a step raises, changes the size or the type of an
            image or a mask, mixes the values of masks, or writes a value of no class.
    """
    steps, p = load_steps(name, folder, data)
    if p <= 0:
        return
    preset = name in PRESETS
    for size in [_PRESET_SIZE] if preset else dict.fromkeys(sizes):
        large = size[0] * size[1] > _LARGE_PX
        n_seeds = 1 if preset else _SEEDS_LARGE if large else _SEEDS
        for chain, seed in itertools.product(_test_chains(steps), range(n_seeds)):
            _check_chain(chain, _CheckCase(name, data, size, seed))


def _test_chains(steps: Sequence[Step]) -> list[Chain]:
    """Chains that cover the effects of these steps in this order.

    First all steps act; then each step takes each of its variants while the others act; then each
    variant acts while all optional steps are off.
    """
    variants = [_step_variants(step, certain=False) for step in steps]
    acting, inactive = (
        [variant[0] for variant in variants],
        [min(variant, key=len) for variant in variants],
    )
    combinations = [acting]
    for index, variant in enumerate(variants):
        combinations += [
            [*rest[:index], choice, *rest[index + 1 :]]
            for rest in (acting, inactive)
            for choice in variant
        ]
    chains = [tuple(step for variant in choice for step in variant) for choice in combinations]
    # By identity: albumentations defines no equality of steps, and two equal steps in one file are
    # two tests.
    return list({tuple(id(step) for step in chain): chain for chain in chains}.values())


def _step_variants(step: Step, *, certain: bool) -> list[Chain]:
    """Variants of one step as chains; it acts in the first variant, if it can act.

    Args:
        certain: True if the step acts whatever its own p is, as the alternatives of OneOf do.
    """
    if step.p <= 0 and not certain:
        return [()]
    inactive: list[Chain] = [] if certain or step.p >= 1 else [()]
    if isinstance(step, A.OneOf):
        likely = [inner for inner in step.transforms if inner.p > 0]
        return [*_variants_of_all(likely, certain=True), *inactive] or [()]
    if isinstance(step, A.OneOrOther):
        return [*_variants_of_all(step.transforms, certain=True), *inactive]
    if isinstance(step, A.SomeOf):  # RandomOrder is one
        alone = _variants_of_all(step.transforms, certain=False)
        together = _test_chains(step.transforms) if step.n > 1 else []
        return [*together[:1], *alone, *together[1:], *inactive]
    if isinstance(step, A.BaseCompose) and not isinstance(step, A.SelectiveChannelTransform):
        return [*_test_chains(step.transforms), *inactive]
    return [(step,), *inactive]


def _variants_of_all(steps: Sequence[Step], *, certain: bool) -> list[Chain]:
    return [variant for step in steps for variant in _step_variants(step, certain=certain)]


def _check_chain(chain: Chain, case: _CheckCase) -> None:
    """Apply a chain to an image step by step and compare the result with the input."""
    first = _test_pair(case)
    pair, resized_by, converted_by = first, None, ""
    values = AllowedMaskValues(case.data)
    allowed = {
        # The chequered mask holds the lowest and the highest class alone, so that any interpolation
        # between them shows as a value that neither has.
        *np.unique(first.mask).tolist(),
        *([IGNORE_INDEX] if IGNORE_INDEX in values.allowed else []),
    }
    rngs = np.random.default_rng(case.seed), random.Random(case.seed)  # noqa: S311
    prefix = f"data.augment: {case.name}"
    for number, step in enumerate(chain):
        before, step_name = pair, type(step).__name__
        pair = _apply_step(step, pair, rngs, case, warn="error")
        if (pair.image.dtype, pair.mask.dtype) != (before.image.dtype, before.mask.dtype):
            converted_by = step_name
        if pair.image.shape[:2] != before.image.shape[:2]:
            resized_by = step_name, pair.image.shape[:2]
        _check_range(f"{prefix}: {step_name}", pair, first)
        new_values = sorted(set(np.unique(pair.mask).tolist()) - allowed)
        if new_values:
            fill_values = _fill_values(chain[: number + 1], case)
            if set(new_values) - fill_values:
                raise ConfigError(
                    f"{prefix}: {step_name} mixes the values of masks; set mask_interpolation: 0 "
                    "(nearest) in the file"
                )
            _check_fills(f"{prefix}: {step_name}", new_values, values, case.data, step)
            allowed |= fill_values
    if (pair.image.dtype, pair.mask.dtype) != (first.image.dtype, first.mask.dtype):
        raise ConfigError(
            f"{prefix}: {converted_by} turns {first.image.dtype} images and {first.mask.dtype} "
            f"masks into {pair.image.dtype} and {pair.mask.dtype}; sizes and types must stay"
        )
    if pair.image.shape != first.image.shape or pair.mask.shape != first.mask.shape:
        raise ConfigError(_size_problem(prefix, resized_by, pair, first))


def _check_range(prefix: str, pair: _SamplePair, first: _SamplePair) -> None:
    """Refuse floating-point values outside 0 to 1, the range of images with 16 bits."""
    # uint8 cannot leave its range, and a changed type gets its own, clearer message later.
    if pair.image.dtype != first.image.dtype or pair.image.dtype == np.uint8:
        return
    # Negated, since a comparison with NaN is False: an image with NaN is refused too.
    if not (pair.image.min() >= 0 and pair.image.max() <= 1):
        raise ConfigError(
            f"{prefix} gives values from {pair.image.min():g} to {pair.image.max():g}; images of "
            "16 bits are 0 to 1 here, and data.normalize normalises them afterwards"
        )


def _size_problem(
    prefix: str,
    resized_by: tuple[str, tuple[int, ...]] | None,
    pair: _SamplePair,
    first: _SamplePair,
) -> str:
    if resized_by is None:
        return (
            f"{prefix}: turns images {first.image.shape} into {pair.image.shape} and masks "
            f"{first.mask.shape} into {pair.mask.shape}; sizes and types must stay"
        )
    step_name, (height, width) = resized_by
    old_height, old_width = first.image.shape[:2]
    remedy = "change its size, or remove it"
    if (height, width) == (old_width, old_height):
        remedy = "remove it, or train at a data.image_size that is square"
    return (
        f"{prefix}: {step_name} gives {height} x {width} pixels (height x width) where "
        f"data.image_size is {old_height} x {old_width}; sizes and types must stay: {remedy}"
    )


def _check_fills(
    prefix: str,
    new_values: Sequence[int],
    values: AllowedMaskValues,
    data: StudyDataConfig,
    step: Step,
) -> None:
    unknown = [value for value in new_values if value not in values.allowed]
    if (
        unknown and not data.has_ignored_pixels
    ):  # with void, `AugmentationPipeline` ignores such pixels
        argument = next((name for name in _FILLS if hasattr(step, name)), _FILLS[0])
        raise ConfigError(f"{prefix} {values.describe_invalid(unknown, argument)}")


def _fill_values(chain: Chain, case: _CheckCase) -> set[int]:
    """Values that steps write into a mask by themselves: those in a mask that was all 0.

    Some steps write only into objects, which that mask lacks; their arguments give the value.
    """
    image, mask = _test_pair(case)
    pair = _SamplePair(image, np.zeros_like(mask))
    rngs = np.random.default_rng(case.seed), random.Random(case.seed)  # noqa: S311
    for step in chain:
        pair = _apply_step(step, pair, rngs, case, warn="ignore")
    named = [getattr(step, name, None) for step in chain for name in _FILLS]
    declared = [np.unique(value).tolist() for value in named if value is not None]
    return set(np.unique(pair.mask).tolist()).union(*declared)


def _apply_step(
    step: Step,
    pair: _SamplePair,
    rngs: tuple[Any, Any],
    case: _CheckCase,
    *,
    warn: Literal["error", "ignore"],
) -> _SamplePair:
    chain = _certain_chain(step, rngs)
    try:
        with warnings.catch_warnings():  # e.g. about hue in an image without colours
            warnings.simplefilter(warn, UserWarning)
            result = chain(image=pair.image, mask=pair.mask)
    except Exception as error:  # a user-defined step can raise anything
        channels, kind = count(case.data.channels, "channel"), pair.image.dtype
        raise ConfigError(
            f"data.augment: {case.name} cannot take images of {channels} ({kind}, "
            f"{case.size[0]} x {case.size[1]}): {type(step).__name__}: {summarize_error(error)}; "
            "use light or none, or change the file"
        ) from None
    return _SamplePair(result["image"], result["mask"])


def _certain_chain(step: Step, rngs: tuple[Any, Any]) -> A.Compose:
    """The step alone, with p = 1."""
    # A copy: the chains of the next image size are derived from the step's own p.
    certain = copy.deepcopy(step)
    certain.p = 1.0
    chain = A.Compose([certain])
    # Global seeds have no effect on albumentations; only the state of the Compose counts.
    chain.set_random_state(*rngs)
    return chain


def _test_pair(case: _CheckCase) -> _SamplePair:
    """Noise image of the study's type, and a chequered mask of the lowest and the highest class.

    The mask includes IGNORE_INDEX if the study allows it.
    """
    data, (height, width) = case.data, case.size
    noise = np.random.default_rng(case.seed).random((height, width, data.channels))
    image: Image = noise.astype(np.float32)
    if data.bit_depth == 8:
        image = (255 * image).astype(np.uint8)
    squares = np.add.outer(np.arange(height) // _CELL_PX, np.arange(width) // _CELL_PX)
    if data.n_mask_planes is not None:
        planes = [(squares + plane) % 2 for plane in range(data.n_mask_planes)]
        return _SamplePair(image, np.stack(planes, axis=2).astype(np.uint8))
    legal = AllowedMaskValues(data).allowed
    void = [IGNORE_INDEX] if IGNORE_INDEX in legal else []
    last = 1 if data.task == "binary" else len(data.classes) - 1
    return _SamplePair(image, np.array([0, last, *void], np.uint8)[squares % (2 + len(void))])
