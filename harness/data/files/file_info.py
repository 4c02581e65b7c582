"""How pictures are stored, before anybody says what their values mean."""

from dataclasses import dataclass
from typing import Final, Literal

from harness.data.files.headers import ImageHeader

Mode = Literal["grey", "grey+alpha", "RGB", "RGBA", "palette", "CMYK", "other"]

_BY_SAMPLES: Final[dict[int, Mode]] = {1: "grey", 2: "grey+alpha", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class ImageFileInfo:
    """What a file's header says: its kind (JPEG, PNG, ...), samples, bits of each, orientation."""

    kind: str = "PNG"
    mode: Mode = "RGB"
    bits: int = 8
    orientation: int = 1


def describe_image(header: ImageHeader) -> ImageFileInfo:
    """What the header of an image file says."""
    return ImageFileInfo(header.kind, _mode(header), header.bits, header.orientation)


def _mode(header: ImageHeader) -> Mode:
    if header.palette:
        return "palette"
    if header.cmyk:
        return "CMYK"
    if header.samples == 2 or header.samples == 4:
        return _BY_SAMPLES[header.samples] if header.alpha else "other"
    return _BY_SAMPLES.get(header.samples, "other")
