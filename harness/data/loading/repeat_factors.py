"""Repeat factors of images: draws in an epoch, more of them for images with rare classes."""

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.data.windows.class_pixels import class_map

Sampling = Literal["uniform", "foreground", "classes"]
MAX_REPEATS = 4.0  # at most as many draws: the same few images would otherwise fill the epochs


def foreground_presence(
    masks: Iterable[NDArray[np.uint8]], data: StudyDataConfig
) -> NDArray[np.bool_]:
    """True (images, foreground classes) where a mask contains the class."""
    rows = [[class_map(mask, k, data).any() for k in data.foreground_classes] for mask in masks]
    return np.array(rows, np.bool_).reshape(len(rows), len(data.foreground_classes))


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
