"""Settings of the data of a study: meaning of the files, and division into roles."""

import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from harness.core.settings import StrictSettings

# MLflow allows these characters in the name of a metric, e.g. `val/dice/instrument tip`.
CLASS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
COLOUR = re.compile(r"#[0-9a-f]{6}")
GREY = re.compile(r"0|[1-9][0-9]{0,4}")
IGNORE_LABEL = "ignore"
NONZERO: Literal["nonzero"] = "nonzero"  # in `values`: instance numbers, all of one class
# In decoded masks: an ignored pixel, as in PASCAL VOC. Masks have 8 bits, so it limits a study to
# the 255 classes 0 to 254.
IGNORE_INDEX = 255
# Fewer validation images cannot rank trials: if the difference in Dice between two networks has a
# standard deviation of 0.1 over images, its mean over 20 images has a standard error of 0.022.
MIN_RANKING_IMAGES = 20


def _to_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


# YAML reads the key of `128: polyp` as a number; the keys of one mapping are all texts here.
def _stringify_keys(value: Any) -> Any:
    return {str(k): v for k, v in value.items()} if isinstance(value, dict) else value


class StudyDataConfig(StrictSettings):
    """Data of a study: its location, and the meaning of the values in its files."""

    root: str = "kvasir-seg"
    task: Literal["binary", "multiclass", "multilabel"] = "binary"
    classes: Annotated[tuple[str, ...], BeforeValidator(_to_tuple), Field(max_length=255)] = (
        "background",
        "foreground",
    )
    ignore_index: int | None = Field(
        None, ge=0, le=255, description="value in masks of pixels that are ignored everywhere"
    )
    values: (
        Annotated[dict[str, str], BeforeValidator(_stringify_keys)] | Literal["nonzero"] | None
    ) = Field(
        None,
        description="class of each grey value or #rrggbb colour in masks, or ignore; nonzero: "
        "object numbers, all of one class",
    )
    channels: int = Field(3, ge=1, le=64, description="input channels of the network")
    range: Annotated[tuple[float, float], BeforeValidator(_to_tuple)] = Field(
        (0.0, 255.0), description="stored values that become 0 and 1"
    )
    eval_size: int = Field(352, ge=16, le=2048, description="pixels at which metrics are computed")
    metrics_at: Literal["eval_size", "native"] | None = Field(
        None,
        description="native: at the size of each image instead of eval_size; null: native if the "
        "space draws tiles that are smaller than an image",
    )

    @property
    def n_outputs(self) -> int:
        """Channels of the network's logits: 1 in two-class tasks, otherwise one for each class."""
        return 1 if self.task == "binary" else len(self.classes)

    @property
    def scored_classes(self) -> tuple[int, ...]:
        """Indices of the classes over which metrics are means; only class 1 in two-class tasks."""
        return (1,) if self.task == "binary" else tuple(range(len(self.classes)))

    @property
    def metrics_size_text(self) -> str:
        """Size at which metrics are computed, e.g. `352 × 352 pixels`."""
        if self.metrics_at == "native":
            return "the size of each image"
        return f"{self.eval_size} × {self.eval_size} pixels"

    @property
    def foreground_classes(self) -> tuple[int, ...]:
        """Scored classes without one that is named background."""
        return tuple(k for k in self.scored_classes if self.classes[k].lower() != "background")

    @property
    def has_ignored_pixels(self) -> bool:
        """True if masks may contain ignored pixels."""
        return self.ignore_index is not None or IGNORE_LABEL in self.value_classes.values()

    @property
    def value_classes(self) -> dict[str, str]:
        """Class of each value in masks; {} if `values` does not list them."""
        return self.values if isinstance(self.values, dict) else {}

    @property
    def uses_nearest_resize(self) -> bool:
        """True if masks are resized by the nearest pixel."""
        # Interpolated indices would be other classes. Two-valued masks are interpolated, then
        # thresholded, unless a third value marks ignored pixels.
        return self.task == "multiclass" or (self.task == "binary" and self.has_ignored_pixels)

    @property
    def n_mask_planes(self) -> int | None:
        """Number of planes of a mask, one per class; None for one image of class indices."""
        return len(self.classes) if self.task == "multilabel" else None

    @property
    def bit_depth(self) -> Literal[8, 16]:
        """Bits per stored value: 16 if `range` ends beyond 255."""
        return 16 if self.range[1] > 255 else 8

    @field_validator("classes")
    @classmethod
    def _check_class_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not CLASS_NAME.fullmatch(name) or name == IGNORE_LABEL:
                raise ValueError(
                    f"{name!r}: use 1 to 64 letters, digits, spaces or . _ - for the name of a "
                    f"class, and not {IGNORE_LABEL!r}"
                )
        if len(set(value)) < len(value):
            raise ValueError("two classes have the same name; rename one")
        return value

    @field_validator("values")
    @classmethod
    def _check_values(
        cls, value: dict[str, str] | Literal["nonzero"] | None
    ) -> dict[str, str] | Literal["nonzero"] | None:
        if isinstance(value, str):
            return value
        colours = [bool(COLOUR.fullmatch(key)) for key in value or {}]
        for key, colour in zip(value or {}, colours, strict=True):
            if not colour and not (GREY.fullmatch(key) and int(key) <= 65535):
                raise ValueError(f"{key!r}: must be a grey value such as 128 or a colour '#ff8000'")
        if len(set(colours)) > 1:
            raise ValueError("grey values and colours are mixed; use one kind for all masks")
        return value

    @field_validator("range")
    @classmethod
    def _check_range(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not all(math.isfinite(end) for end in value) or value[0] >= value[1]:
            raise ValueError("must be two numbers in rising order, e.g. 0, 65535")
        return value

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        min_classes = {"binary": 2, "multiclass": 2, "multilabel": 1}[self.task]
        if len(self.classes) < min_classes or (self.task == "binary" and len(self.classes) > 2):
            number = f"{min_classes}" if self.task == "binary" else f"{min_classes} or more"
            raise ValueError(f"classes: a {self.task} task has {number} (got {len(self.classes)})")
        unknown = sorted(set(self.value_classes.values()) - {*self.classes, IGNORE_LABEL})
        if unknown:
            raise ValueError(f"values: {', '.join(unknown)}: neither a class nor {IGNORE_LABEL!r}")
        if self.task == "multiclass" and self.values == NONZERO:
            raise ValueError("values: nonzero is for two-class tasks; list the class of each value")
        if self.task == "multilabel" and (self.values or self.ignore_index is not None):
            raise ValueError(
                "values and ignore_index: remove them; multilabel masks are one two-valued image "
                "for each class, in which every pixel counts"
            )
        if self.task == "binary" and self.values is None and self.ignore_index in (0, 1, 255):
            raise ValueError("ignore_index: 0, 1 and 255 are class values in two-class masks")
        return self


class SplitConfig(StrictSettings):
    """Assignment of the images to the roles train, val and test."""

    fractions: Annotated[tuple[float, float, float], BeforeValidator(_to_tuple)] = (0.8, 0.1, 0.1)
    lists: str | None = Field(
        None, description="official (kvasir-seg), or a folder with train.txt, val.txt, test.txt"
    )
    folds: int | None = Field(
        None, ge=2, le=100, description="number of parts of train and val together"
    )
    fold: int = Field(0, ge=0, description="the fold used for validation, from 0")
    group: str | None = Field(
        None,
        description="images that get one role: column:NAME, folder, or a pattern of the stem whose "
        "first group is the name of their group, e.g. '^(video[0-9]+)_'",
    )
    seed: int = Field(0, ge=0)

    @field_validator("fractions")
    @classmethod
    def _check_fractions(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        # With a tolerance: 0.01, 0.29 and 0.7, for example, do not add up to 1 in binary. Only test
        # may have a share of 0.
        if min(value[:2]) <= 0 or value[2] < 0 or abs(math.fsum(value) - 1) > 1e-9:
            raise ValueError("must be train, val, test shares that add up to 1, e.g. 0.8, 0.1, 0.1")
        return value

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if self.folds is None and self.fold:
            raise ValueError("fold: has no effect without folds; set folds too")
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold: must be below folds, {self.folds}, as the first fold is 0")
        return self
