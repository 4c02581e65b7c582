"""Masks and probabilities for arrays, by the networks of a deployment."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.data.files.decide import decide_mask
from harness.data.windows.tiles import ImageWindows
from harness.deploy.deployment import Deployment
from harness.deploy.prediction import Prediction
from harness.training.metrics.native_bands import iterate_mean_bands
from harness.training.metrics.native_size import (
    FLIPS,
    Probabilities,
    load_predictors,
    mean_probabilities,
)


class Predictor:
    """Networks of a deployment on its device; they are loaded once."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        data, device = deployment.context.config.data, deployment.context.device
        self.device = device
        self._data = data
        self._sizes = [member.config.data.height_width for member in deployment.weights]
        members = [(member.paths.model, member.config) for member in deployment.weights]
        self._networks = load_predictors(members, data, device)

    @property
    def input_pixels(self) -> int:
        """Pixels of the largest network input."""
        return max(height * width for height, width in self._sizes)

    @property
    def n_passes(self) -> int:
        """Passes of each image through a network."""
        return len(set(self._networks)) * (len(FLIPS) if self.deployment.tta else 1)

    def predict(self, images: Sequence[NDArray[Any]]) -> list[Prediction]:
        """Predict images of any sizes.

        Args:
            images: uint8, or uint16 where the study's `data.range` ends above 255; (H, W, C) with
                the channels of the study, RGB order, or (H, W) where it has one or three.

        Raises:
            DataError: an array of another shape or type.
            DivergedError: an output of a network is not finite.
        """
        return [self.decide(p) for p in self.probabilities(images)]

    def probabilities(self, images: Sequence[NDArray[Any]]) -> list[Probabilities]:
        """Probabilities (K, H, W) of each image, before the decision. Raises as `predict`."""
        arrays = [self._check_array(image, index) for index, image in enumerate(images)]
        return mean_probabilities(self._networks, arrays, tta=self.deployment.tta)

    @property
    def reads_windows(self) -> bool:
        """True if images can be predicted without being in memory: all networks are of tiles."""
        return all(network.uses_tiles for network in self._networks)

    def iterate_bands(self, source: ImageWindows) -> Iterator[tuple[int, Probabilities]]:
        """Yield first row and probabilities (K, rows, W) of image 0 of a source, from the top.

        Only if `reads_windows`.

        Raises:
            DataError: the image cannot be read.
            DivergedError: an output of a network is not finite.
        """
        assert self.reads_windows
        return iterate_mean_bands(self._networks, source, 0, tta=self.deployment.tta)

    def decide(self, p: Probabilities) -> Prediction:
        """Apply the decision rule to the probabilities of one image."""
        return Prediction(decide_mask(p, self.deployment.rule.rule), p)

    def _check_array(self, image: NDArray[Any], index: int) -> NDArray[Any]:
        """Array (H, W, C) of the type that files of the study are decoded to."""
        channels = self._data.channels
        array = np.asarray(image)
        if array.ndim == 2 and channels in (1, 3):
            array = np.repeat(array[:, :, None], channels, axis=2)
        is_deep = self._data.bit_depth == 16
        allowed = (np.uint8, np.uint16) if is_deep else (np.uint8,)
        if array.ndim != 3 or array.shape[2] != channels or 0 in array.shape:
            raise DataError(
                f"image {index}: shape {array.shape}; this study needs (height, width, {channels})"
            )
        if array.dtype not in allowed:
            names = " or ".join(np.dtype(kind).name for kind in allowed)
            raise DataError(f"image {index}: type {array.dtype}; this study needs {names}")
        return array.astype(np.uint16, copy=False) if is_deep else array
