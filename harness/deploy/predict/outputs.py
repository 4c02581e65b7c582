"""Result files of one image: mask, probabilities, overlay."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.core import files
from harness.data.files.encode import encode_indexed_png, encode_jpeg, encode_png
from harness.data.files.geotiff import GeoTag
from harness.data.files.overlay import as_rgb, background_classes, class_palette, draw_class_overlay
from harness.data.files.resize import resize_image, resize_mask
from harness.data.files.tiff import encode_tiff_mask

Array8 = NDArray[np.uint8]
_MAX_OVERLAY_PX = 2048  # drawing takes 48 bytes for each pixel


@dataclass(frozen=True)
class ResultWriter:
    """Writes the results of images below a folder.

    `masks/<stem>.png`, in multilabel tasks `masks/<class>/<stem>.png`: the layouts of a data set.
    The mask of a GeoTIFF is a GeoTIFF with the suffix .tif.
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

    def mask_paths(self, stem: str, *, geo: bool = False) -> list[Path]:
        """Files of the mask: one, or in multilabel tasks one for each class; `geo` of a GeoTIFF."""
        name = f"{stem}.tif" if geo else f"{stem}.png"
        if self.data.task != "multilabel":
            return [self.out / "masks" / name]
        return [self.out / "masks" / class_name / name for class_name in self.data.classes]

    def paths(self, stem: str, *, geo: bool = False) -> list[Path]:
        """All files of an image."""
        paths = self.mask_paths(stem, geo=geo)
        if self.probabilities:
            paths += self._probability_paths(stem)
        return [*paths, self.out / "overlays" / f"{stem}.jpg"] if self.overlays else paths

    def remove_partial_files(self) -> None:
        """Delete what a killed run left half written; only the holder of the record may."""
        for name in ("masks", "probabilities", "overlays"):
            files.remove_temporary_files(self.out / name)

    def encode(
        self,
        stem: str,
        image: NDArray[Any],
        mask: Array8,
        planes: Iterable[NDArray[np.uint16]],
        geo_tags: Sequence[GeoTag] = (),
    ) -> list[tuple[Path, bytes]]:
        """Paths of all files of an image, and their bytes.

        Args:
            planes: probabilities (H, W) of each class, rint(65535 p); read only if they are
                written.
            geo_tags: position of the image if it is a GeoTIFF.
        """
        paths = self.paths(stem, geo=bool(geo_tags))
        return list(zip(paths, self._encode(image, mask, planes, geo_tags), strict=True))

    def _encode(
        self,
        image: NDArray[Any],
        mask: Array8,
        planes: Iterable[NDArray[np.uint16]],
        geo_tags: Sequence[GeoTag],
    ) -> Iterator[bytes]:
        yield from encode_mask(mask, self.data, geo_tags)
        if self.probabilities:
            yield from map(encode_png, planes)
        if self.overlays:
            yield encode_jpeg(draw_prediction(image, mask, self.data))

    def _probability_paths(self, stem: str) -> list[Path]:
        folder = self.out / "probabilities"
        if self.data.task == "binary":
            return [folder / f"{stem}.png"]
        return [folder / name / f"{stem}.png" for name in self.data.classes]


def encode_mask(
    mask: Array8, data: StudyDataConfig, geo_tags: Sequence[GeoTag] = ()
) -> list[bytes]:
    """PNG of a mask: 0 and 255 in two-class tasks, class indices with a palette in multiclass ones.

    Multilabel tasks have one PNG of 0 and 255 for each class. With `geo_tags` they are GeoTIFFs.
    """
    if data.task == "multiclass":
        palette = class_palette(data.classes)
        if geo_tags:
            return [encode_tiff_mask(mask, geo_tags, palette)]
        return [encode_indexed_png(mask, palette)]
    planes = [mask] if mask.ndim == 2 else [mask[..., k] for k in range(mask.shape[2])]
    stored = [plane * np.uint8(255) for plane in planes]
    return [
        encode_tiff_mask(plane, geo_tags) if geo_tags else encode_png(plane) for plane in stored
    ]


def draw_prediction(image: NDArray[Any], mask: Array8, data: StudyDataConfig) -> Array8:
    """Draw a mask over its image in the colours of its classes; RGB, at most 2,048 px long."""
    height, width = image.shape[:2]
    scale = min(1.0, _MAX_OVERLAY_PX / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    image, mask = resize_image(image, size), resize_mask(mask, size, nearest=True)
    plain = {0} if data.task == "binary" else background_classes(data.classes)
    return draw_class_overlay(as_rgb(image, data.range), mask, plain=plain)
