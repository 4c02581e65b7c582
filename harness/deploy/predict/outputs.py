"""Result files of one image: mask, probabilities, overlay."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.core import files
from harness.data.files.encode import encode_indexed_png, encode_jpeg, encode_png
from harness.data.files.overlay import as_rgb, background_classes, class_palette, draw_class_overlay
from harness.deploy.predictor import Prediction

Array8 = NDArray[np.uint8]


@dataclass(frozen=True)
class ResultWriter:
    """Writes the results of images below a folder.

    `masks/<stem>.png`, in multilabel tasks `masks/<class>/<stem>.png`: the layouts of a data set.
    `probabilities/<stem>.png` or `probabilities/<class>/<stem>.png`, `overlays/<stem>.jpg`.

    Attributes:
        out: folder of all results.
        probabilities: also write p as 16-bit PNG, rint(65535 p), one for each class.
        overlays: also draw the mask over the image.
    """

    out: Path
    data: StudyDataConfig
    probabilities: bool = False
    overlays: bool = False

    def mask_paths(self, stem: str) -> list[Path]:
        """Files of the mask: one, or in multilabel tasks one for each class."""
        if self.data.task != "multilabel":
            return [self.out / "masks" / f"{stem}.png"]
        return [self.out / "masks" / name / f"{stem}.png" for name in self.data.classes]

    def paths(self, stem: str) -> list[Path]:
        """All files of an image."""
        paths = self.mask_paths(stem)
        if self.probabilities:
            paths += self._probability_paths(stem)
        return [*paths, self.out / "overlays" / f"{stem}.jpg"] if self.overlays else paths

    def write(self, stem: str, image: NDArray[Any], prediction: Prediction) -> None:
        """Write all files of an image, each whole or not at all. Raises OSError."""
        for path, data in zip(self.paths(stem), self._encode(image, prediction), strict=True):
            files.write_bytes(path, data)

    def _encode(self, image: NDArray[Any], prediction: Prediction) -> Iterator[bytes]:
        """Bytes of the files, in the order of `paths`."""
        yield from encode_mask(prediction.mask, self.data)
        if self.probabilities:
            for plane in prediction.probabilities:
                yield encode_png(np.rint(65535 * plane).astype(np.uint16))
        if self.overlays:
            yield encode_jpeg(draw_prediction(image, prediction.mask, self.data))

    def _probability_paths(self, stem: str) -> list[Path]:
        folder = self.out / "probabilities"
        if self.data.task == "binary":
            return [folder / f"{stem}.png"]
        return [folder / name / f"{stem}.png" for name in self.data.classes]


def encode_mask(mask: Array8, data: StudyDataConfig) -> list[bytes]:
    """PNG of a mask: 0 and 255 in two-class tasks, class indices with a palette in multiclass ones.

    Multilabel tasks have one PNG of 0 and 255 for each class.
    """
    if data.task == "multiclass":
        return [encode_indexed_png(mask, class_palette(data.classes))]
    planes = [mask] if mask.ndim == 2 else [mask[..., k] for k in range(mask.shape[2])]
    return [encode_png(plane * np.uint8(255)) for plane in planes]


def draw_prediction(image: NDArray[Any], mask: Array8, data: StudyDataConfig) -> Array8:
    """Draw a mask over its image in the colours of the classes, RGB uint8 (H, W, 3)."""
    plain = {0} if data.task == "binary" else background_classes(data.classes)
    return draw_class_overlay(as_rgb(image, data.range), mask, plain=plain)
