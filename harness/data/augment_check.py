"""Trying the steps of an augmentation before any trial: sizes, types and mask values must stay."""

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

from harness.data.augment import PRESETS, Image, MaskValues, load_steps
from harness.data.augment_file import Step, first_line
from harness.data_config import VOID, StudyDataConfig
from harness.errors import ConfigError
from harness.wording import count

Array8 = NDArray[np.uint8]
Size = tuple[int, int]
Chain = tuple[Step, ...]  # steps that act one after the other, each for certain

_SEEDS: Final = 8  # a quarter turn stays unseen in 1 of 256 tries
_SEEDS_LARGE: Final = 4
_LARGE_PX: Final = 600 * 600
_PRESET_SIZE: Final = (64, 64)  # presets keep every size; what they may not take is channels
_CELL_PX: Final = 8
_FILLS: Final = ("fill_mask", "mask_drop_value")  # arguments that say what is written into masks


class _Pair(NamedTuple):
    image: Image
    mask: Array8


@dataclass(frozen=True)
class _Trial:
    """One chain on one picture: what `_run` needs to know."""

    name: str
    data: StudyDataConfig
    size: Size
    seed: int


def check_augment(
    name: str, *, folder: Path | None, data: StudyDataConfig, sizes: Sequence[Size]
) -> None:
    """Try an augmentation at the sizes, types and mask values of a study.

    Steps that act with a probability are made to act, each of them beside the others and alone,
    and each alternative of OneOf and its like; so what happens rarely is seen as well.

    Args:
        folder: where files of steps lie.
        sizes: height and width of the images that it is given.

    Raises:
        ConfigError: as `build_augment`; a step that raises, changes the size or the type of an
            image or a mask, mixes the values of masks, or writes one that no class has.
    """
    steps, p = load_steps(name, folder, data)
    if p <= 0:
        return
    preset = name in PRESETS
    for size in [_PRESET_SIZE] if preset else dict.fromkeys(sizes):
        large = size[0] * size[1] > _LARGE_PX
        n_seeds = 1 if preset else _SEEDS_LARGE if large else _SEEDS
        for chain, seed in itertools.product(_chains(steps), range(n_seeds)):
            _run(chain, _Trial(name, data, size, seed))


def _chains(steps: Sequence[Step]) -> list[Chain]:
    """The chains that show everything that steps in this order can do.

    All act; then each acts in every other way, or not at all, beside the others; then each acts
    while those that need not act do not.
    """
    ways = [_ways(step, certain=False) for step in steps]
    acting, quiet = [way[0] for way in ways], [min(way, key=len) for way in ways]
    found = [acting]
    for index, way in enumerate(ways):
        found += [
            [*rest[:index], one, *rest[index + 1 :]] for rest in (acting, quiet) for one in way
        ]
    chains = [tuple(step for way in one for step in way) for one in found]
    return list({tuple(id(step) for step in chain): chain for chain in chains}.values())


def _ways(step: Step, *, certain: bool) -> list[Chain]:
    """The chains that one step may stand for; the first is one in which it acts, if it can.

    Args:
        certain: it acts whatever its own p is, as the alternatives of OneOf do.
    """
    if step.p <= 0 and not certain:
        return [()]
    idle: list[Chain] = [] if certain or step.p >= 1 else [()]
    if isinstance(step, A.OneOf):
        likely = [one for one in step.transforms if one.p > 0]
        return [way for one in likely for way in _ways(one, certain=True)] + idle or [()]
    if isinstance(step, A.OneOrOther):
        return [way for one in step.transforms for way in _ways(one, certain=True)] + idle
    if isinstance(step, A.SomeOf):  # RandomOrder is one
        alone = [way for one in step.transforms for way in _ways(one, certain=False)]
        together = _chains(step.transforms) if step.n > 1 else []
        return [*together[:1], *alone, *together[1:], *idle]
    if isinstance(step, A.BaseCompose) and not isinstance(step, A.SelectiveChannelTransform):
        return [*_chains(step.transforms), *idle]
    return [(step,), *idle]


def _run(chain: Chain, trial: _Trial) -> None:
    """Put a picture through a chain, step by step, and compare what comes out."""
    first = _picture(trial)
    pair, resized_by, converted_by = first, None, ""
    values = MaskValues(trial.data)
    allowed = {*np.unique(first.mask).tolist(), *([VOID] if VOID in values.legal else [])}
    source = np.random.default_rng(trial.seed), random.Random(trial.seed)  # noqa: S311
    place = f"data.augment: {trial.name}"
    for number, step in enumerate(chain):
        before, step_name = pair, type(step).__name__
        pair = _applied(step, pair, source, trial, warn="error")
        if (pair.image.dtype, pair.mask.dtype) != (before.image.dtype, before.mask.dtype):
            converted_by = step_name
        if pair.image.shape[:2] != before.image.shape[:2]:
            resized_by = step_name, pair.image.shape[:2]
        _check_range(f"{place}: {step_name}", pair, first)
        others = sorted(set(np.unique(pair.mask).tolist()) - allowed)
        if others:
            filled = _fills(chain[: number + 1], trial)
            if set(others) - filled:
                raise ConfigError(
                    f"{place}: {step_name} mixes the values of masks; set mask_interpolation: 0 "
                    "(nearest) in the file"
                )
            _check_fills(f"{place}: {step_name}", others, values, trial.data, step)
            allowed |= filled
    if (pair.image.dtype, pair.mask.dtype) != (first.image.dtype, first.mask.dtype):
        raise ConfigError(
            f"{place}: {converted_by} turns {first.image.dtype} images and {first.mask.dtype} "
            f"masks into {pair.image.dtype} and {pair.mask.dtype}; sizes and types must stay"
        )
    if pair.image.shape != first.image.shape or pair.mask.shape != first.mask.shape:
        raise ConfigError(_size_problem(place, resized_by, pair, first))


def _check_range(place: str, pair: _Pair, first: _Pair) -> None:
    """Refuse floating point values out of 0 to 1 in the place of such within."""
    if pair.image.dtype != first.image.dtype or pair.image.dtype == np.uint8:
        return
    if not (pair.image.min() >= 0 and pair.image.max() <= 1):
        raise ConfigError(
            f"{place} gives values from {pair.image.min():g} to {pair.image.max():g}; images of "
            "16 bits are 0 to 1 here, and data.normalize normalises them afterwards"
        )


def _size_problem(
    place: str, resized_by: tuple[str, tuple[int, ...]] | None, pair: _Pair, first: _Pair
) -> str:
    if resized_by is None:
        return (
            f"{place}: turns images {first.image.shape} into {pair.image.shape} and masks "
            f"{first.mask.shape} into {pair.mask.shape}; sizes and types must stay"
        )
    step_name, (height, width) = resized_by
    old_height, old_width = first.image.shape[:2]
    remedy = "change its size, or remove it"
    if (height, width) == (old_width, old_height):
        remedy = "remove it, or train at a data.image_size that is square"
    return (
        f"{place}: {step_name} gives {height} x {width} pixels (height x width) where "
        f"data.image_size is {old_height} x {old_width}; sizes and types must stay: {remedy}"
    )


def _check_fills(
    place: str, others: Sequence[int], values: MaskValues, data: StudyDataConfig, step: Step
) -> None:
    unknown = [value for value in others if value not in values.legal]
    if unknown and not data.has_void:  # with void, `Augment` ignores such pixels
        argument = next((name for name in _FILLS if hasattr(step, name)), _FILLS[0])
        raise ConfigError(f"{place} {values.problem(unknown, argument)}")


def _fills(chain: Chain, trial: _Trial) -> set[int]:
    """The values that steps write into a mask by themselves: what is in one that was all 0.

    Some write into objects alone, of which that one has none; what they would is asked of them.
    """
    image, mask = _picture(trial)
    pair = _Pair(image, np.zeros_like(mask))
    source = np.random.default_rng(trial.seed), random.Random(trial.seed)  # noqa: S311
    for step in chain:
        pair = _applied(step, pair, source, trial, warn="ignore")
    named = [getattr(step, name, None) for step in chain for name in _FILLS]
    declared = [np.unique(value).tolist() for value in named if value is not None]
    return set(np.unique(pair.mask).tolist()).union(*declared)


def _applied(
    step: Step,
    pair: _Pair,
    source: tuple[Any, Any],
    trial: _Trial,
    *,
    warn: Literal["error", "ignore"],
) -> _Pair:
    certain = copy.deepcopy(step)
    certain.p = 1.0
    chain = A.Compose([certain])
    chain.set_random_state(*source)
    try:
        with warnings.catch_warnings():  # e.g. of hues that an image without colours has not
            warnings.simplefilter(warn, UserWarning)
            changed = chain(image=pair.image, mask=pair.mask)
    except Exception as error:  # whatever a step of the user's raises
        channels, kind = count(trial.data.channels, "channel"), pair.image.dtype
        raise ConfigError(
            f"data.augment: {trial.name} cannot take images of {channels} ({kind}, "
            f"{trial.size[0]} x {trial.size[1]}): {type(step).__name__}: {first_line(error)}; use "
            "light or none, or change the file"
        ) from None
    return _Pair(changed["image"], changed["mask"])


def _picture(trial: _Trial) -> _Pair:
    """Noise of the study's type, and a chequered mask of the lowest and the highest class, and
    void where there may be some.
    """
    data, (height, width) = trial.data, trial.size
    noise = np.random.default_rng(trial.seed).random((height, width, data.channels))
    image: Image = noise.astype(np.float32)
    if data.bits == 8:
        image = (255 * image).astype(np.uint8)
    squares = np.add.outer(np.arange(height) // _CELL_PX, np.arange(width) // _CELL_PX)
    if data.planes is not None:
        planes = [(squares + plane) % 2 for plane in range(data.planes)]
        return _Pair(image, np.stack(planes, axis=2).astype(np.uint8))
    legal = MaskValues(data).legal
    void = [VOID] if VOID in legal else []
    last = 1 if data.task == "binary" else len(data.classes) - 1
    return _Pair(image, np.array([0, last, *void], np.uint8)[squares % (2 + len(void))])
