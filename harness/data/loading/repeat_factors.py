"""Repeat factors of images: draws in an epoch, more of them for images with rare classes."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig

Sampling = Literal["uniform", "foreground", "classes"]
MAX_REPEATS = 4.0  # at most as many draws: the same few images would otherwise fill the epochs


def foreground_presence(
    class_pixels: NDArray[np.int64], data: StudyDataConfig
) -> NDArray[np.bool_]:
    """True (images, foreground classes) where a mask contains the class.

    Args:
        class_pixels: (images, classes), pixels of each class.
    """
    return np.asarray(class_pixels[:, list(data.foreground_classes)] > 0)


def repeat_factors(presence: NDArray[np.bool_], sampling: Sampling) -> NDArray[np.float64]:
    """Expected draws of each image in an epoch, 1 to MAX_REPEATS.

    f_c is the share of images that contain class c, and t the largest of these shares. An image
    gets the largest factor sqrt(t / f_c) of its classes. With `foreground` all classes count as
    one, and t is 1.

    Args:
        presence: (images, classes).

    Source:
        Gupta et al. 2019, LVIS: A Dataset for Large Vocabulary Instance Segmentation, with t from
        the data instead of 0.001, since small sets have no class that is so rare.
    """
    if sampling == "uniform" or not presence.size:
        return np.ones(len(presence))
    if sampling == "foreground":
        presence = np.asarray(presence.any(axis=1, keepdims=True), np.bool_)
    shares = presence.mean(axis=0)
    target = 1.0 if sampling == "foreground" else shares.max()
    by_class = np.sqrt(np.divide(target, shares, out=np.ones_like(shares), where=shares > 0))
    factors = np.where(presence, by_class, 1.0).max(axis=1)
    return np.asarray(np.clip(factors, 1.0, MAX_REPEATS), np.float64)
