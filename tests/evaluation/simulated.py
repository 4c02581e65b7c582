"""Made-up scores whose truth is known."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from harness.evaluation.statistics.pseudo_values import pseudo_values

Floats = NDArray[np.float64]

# Standard deviations of Dice values. Seeds: 1.27 points, as published repeats of one network on
# Kvasir-SEG differ (docs/statistics.md). Images differ much more, and differently by configuration.
SEED, IMAGE, BY_CONFIGURATION, LEFT_OVER = 0.0127, 0.15, 0.03, 0.05


def losses(
    rng: np.random.Generator,
    means: Floats,
    n_runs: int,
    n_images: int = 120,
    *,
    seed: float = SEED,
    by_configuration: float = BY_CONFIGURATION,
    left_over: float = LEFT_OVER,
) -> Floats:
    """Shape (configurations, runs, images): a Dice loss with four kinds of chance around `means`.

    Images are skewed: an exponential, as a few hard ones lose most.
    """
    k = len(means)
    image = rng.exponential(IMAGE, (1, 1, n_images)) - IMAGE
    return np.asarray(
        means[:, None, None]
        + image
        + rng.normal(0, seed, (k, n_runs, 1))
        + rng.normal(0, by_configuration, (k, 1, n_images))
        + rng.normal(0, left_over, (k, n_runs, n_images))
    )


def frame(values: Floats, *, folds: bool = False) -> pd.DataFrame:
    """Scores as `decide` takes them, configurations c0, c1, …; with folds, images of their own."""
    place: Any = np.indices(values.shape)
    image = place[2] + (place[1] * values.shape[2] if folds else 0)
    return pd.DataFrame(
        {
            "configuration": [f"c{k}" for k in place[0].ravel()],
            "run": place[1].ravel(),
            "image": [f"i{k:05d}" for k in image.ravel()],
            "value": values.ravel(),
        }
    )


def dice_like(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Dice of images: most above 0.8, a tail, 4 % missed altogether, 5 % above 0.98.

    A mixture of Beta(12, 1.5) (66 %), Beta(2, 2) (25 %), Beta(1, 60) (4 %) and Beta(100, 1) (5 %),
    whose mean is DICE_MEAN.
    """
    kind = rng.choice(4, shape, p=WEIGHTS)
    a, b = (np.array(column)[kind] for column in zip(*BETAS, strict=True))
    return np.asarray(rng.beta(a, b))


WEIGHTS = (0.66, 0.25, 0.04, 0.05)
BETAS = ((12.0, 1.5), (2.0, 2.0), (1.0, 60.0), (100.0, 1.0))
DICE_MEAN = sum(w * a / (a + b) for w, (a, b) in zip(WEIGHTS, BETAS, strict=True))


CLASS_BETAS = ((20.0, 2.0), (15.0, 3.0), (2.0, 2.0))  # the last is the rare class: hard, and wide
CLASSES_MEAN = float(np.mean([a / (a + b) for a, b in CLASS_BETAS]))


def class_values(
    rng: np.random.Generator, n_sets: int, n_images: int, correlation: float
) -> Floats:
    """Dice of shape (sets, images, 3): Betas whose normal scores correlate between classes."""
    common = rng.normal(size=(n_sets, n_images, 1))
    own = rng.normal(size=(n_sets, n_images, len(CLASS_BETAS)))
    places = stats.norm.cdf(np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own)
    columns = [stats.beta.ppf(places[..., k], *of) for k, of in enumerate(CLASS_BETAS)]
    return np.stack(columns, axis=-1)


def having(n_images: int, every: int) -> Floats:
    """1 where an image has a class: the first two always, the rare one in one image of `every`."""
    counts = np.ones((n_images, len(CLASS_BETAS)))
    counts[:, -1] = np.arange(n_images) % every == 0
    return counts


def class_losses(
    rng: np.random.Generator, n_configurations: int, n_runs: int, n_images: int, every: int
) -> Floats:
    """Equal configurations with three classes, the rare one twice as variable, as values per image.

    The kinds of chance are those of `losses`; seeds move all classes together, images half of
    their variance. Shape (configurations, runs, images).
    """
    shape, k = (n_configurations, n_runs, n_images), len(CLASS_BETAS)

    def chance(*size: int) -> Floats:
        common, own = rng.normal(size=(*size, 1)), rng.normal(size=(*size, k))
        return np.asarray((common + own) / np.sqrt(2))

    image = (rng.exponential(1, (n_images, 1)) + rng.exponential(1, (n_images, k)) - 2) / np.sqrt(2)
    drawn = IMAGE * image + BY_CONFIGURATION * chance(n_configurations, 1, n_images)
    drawn = drawn + LEFT_OVER * chance(*shape)
    values = 0.2 + np.array([1.0, 1.0, 2.0]) * drawn + rng.normal(0, SEED, (*shape[:2], 1, 1))
    counts = having(n_images, every)
    found = [[pseudo_values(run * counts, counts) for run in runs] for runs in values]
    return np.array(found)
