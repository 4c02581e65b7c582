"""Settings of a trial about its images: size, tiles, augmentation, normalisation, sampling."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from harness.core.errors import suggest_nearest
from harness.core.settings import StrictSettings, field_effect


def _check_image_size(value: Any) -> Any:
    sizes = value if isinstance(value, list | tuple) else [value]
    # True is an int in Python, and would pass as one pixel.
    in_range = all(
        isinstance(n, int) and not isinstance(n, bool) and 16 <= n <= 4096 for n in sizes
    )
    if not in_range or len(sizes) not in (1, 2):
        raise ValueError(f"must be n or [height, width], 16 to 4096 pixels (got {value!r})")
    return tuple(value) if isinstance(value, list) else value


AUGMENT_PRESETS = ("none", "light", "medium", "strong")
AUGMENT_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\.ya?ml")


def _check_augment(value: str) -> str:
    if value not in AUGMENT_PRESETS and not AUGMENT_FILE.fullmatch(value):
        hint = suggest_nearest(value, AUGMENT_PRESETS)
        raise ValueError(f"{value!r} is neither a preset nor the name of a .yaml file{hint}")
    return value


_AUGMENT_SCHEMA = {
    "type": "string",
    "pattern": f"^({'|'.join(AUGMENT_PRESETS)}|{AUGMENT_FILE.pattern})$",
}


_SIDE_SCHEMA = {"type": "integer", "minimum": 16, "maximum": 4096}
ImageSize = Annotated[
    int | tuple[int, int],
    BeforeValidator(_check_image_size),
    WithJsonSchema(
        {
            "anyOf": [
                _SIDE_SCHEMA,
                {"type": "array", "items": _SIDE_SCHEMA, "minItems": 2, "maxItems": 2},
            ]
        }
    ),
]


class TileConfig(StrictSettings):
    """Training and prediction on windows of images at their own resolution.

    Without a size, images are brought to `data.image_size` as a whole.
    """

    size: int | None = Field(
        None,
        ge=16,
        le=4096,
        description="side of a window at the network, in pixels, instead of image_size; null: "
        "whole images",
        json_schema_extra=field_effect("where set: instead of image_size and fit", 32),
    )
    scale: float = Field(
        1.0,
        gt=0,
        le=1,
        description="factor on the resolution of the files; 0.5: a window covers twice the side",
        json_schema_extra=field_effect(
            "where data.tile.size is set: on every window", 0.5, needs={"data.tile.size": 32}
        ),
    )
    overlap: float = Field(
        0.5,
        ge=0,
        le=0.9,
        description="share of a window that the next one covers too, in validation and prediction",
        json_schema_extra=field_effect(
            "where images are larger than a window", 0.0, needs={"data.tile.size": 32}
        ),
    )
    # A third, as nnU-Net oversamples foreground (Isensee et al. 2021, Nature Methods 18). Rounded,
    # since the default is printed in documentation and recorded in each config.yaml.
    foreground: float = Field(
        round(1 / 3, 4),
        ge=0,
        le=1,
        description="share of the training windows that are centred on a pixel of a class; rarer "
        "classes are chosen more often",
        json_schema_extra=field_effect(
            "where images are larger than a window", 1.0, needs={"data.tile.size": 32}
        ),
    )


class DataConfig(StrictSettings):
    """Preparation of images for training."""

    image_size: ImageSize = Field(
        256,
        description="pixels, n or [height, width]",
        json_schema_extra=field_effect("without tiles: every image gets this size", 64),
    )
    fit: Literal["stretch", "pad"] = Field(
        "stretch",
        description="method of reaching image_size",
        json_schema_extra=field_effect(
            "without tiles, on images of another aspect ratio: distorts or pads them", "pad"
        ),
    )
    augment: Annotated[str, AfterValidator(_check_augment), WithJsonSchema(_AUGMENT_SCHEMA)] = (
        Field(
            "light",
            description="none, light, medium, strong, or a YAML file of albumentations",
            json_schema_extra=field_effect("on training images", "strong"),
        )
    )
    normalize: Literal["imagenet", "encoder", "per_image", "none"] = Field(
        "imagenet",
        description="encoder: mean and standard deviation of the encoder's pretraining",
        json_schema_extra=field_effect(
            "always: the mean that is subtracted and the divisor", "per_image"
        ),
    )
    subset: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of the training images that is used",
        json_schema_extra=field_effect("on training images; validation uses all its images", 0.5),
    )

    sampling: Literal["uniform", "foreground", "classes"] = Field(
        "uniform",
        description="images that are drawn more often: with foreground, or with rare classes",
        json_schema_extra=field_effect(
            "on training images, if some lack foreground or a class", "foreground"
        ),
    )
    tile: TileConfig = TileConfig()

    @property
    def height_width(self) -> tuple[int, int]:
        """Size of the network's input: that of a tile, otherwise `image_size`."""
        size = self.image_size if self.tile.size is None else self.tile.size
        return (size, size) if isinstance(size, int) else size

    @property
    def whole_fit(self) -> Literal["stretch", "pad", "shrink"]:
        """Method of bringing a whole image to `height_width`; with tiles, an overview of it."""
        return self.fit if self.tile.size is None else "shrink"
