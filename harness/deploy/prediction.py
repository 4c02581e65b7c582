"""Result of a network for one image; without torch, since bundles have results too."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Prediction:
    """Result for one image, at its own size.

    Attributes:
        mask: uint8 (H, W) of class indices; (H, W, K) in {0, 1} in multilabel tasks.
        probabilities: float32 (K, H, W); K = 1 in two-class tasks, else one plane per class.
    """

    mask: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
