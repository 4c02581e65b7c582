"""Allowed values of the options of segmentation-models-pytorch's architectures.

The library checks few of them, and late: most wrong values fail inside a layer. This table holds
the options that it annotates loosely or accepts without being able to train; other types come from
its signatures.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt

_Share = Annotated[float, Field(ge=0, lt=1)]
_Interpolation = Literal["nearest", "nearest-exact", "bilinear", "bicubic", "area"]

# The library's layernorm and instancenorm fail in every architecture that has the option, and
# inplace needs another package.
_OPTION_TYPES: Mapping[str, Any] = {
    "decoder_use_norm": Literal["batchnorm", "identity", True, False],
    "decoder_attention_type": Literal["scse", None],
    "decoder_interpolation": _Interpolation,
    "decoder_merge_policy": Literal["add", "cat"],
    "decoder_dropout": _Share,
    "psp_dropout": _Share,
    "decoder_aspp_dropout": _Share,
    "decoder_atrous_rates": Annotated[list[PositiveInt], Field(min_length=3, max_length=3)],
    "decoder_intermediate_channels": Annotated[
        list[PositiveInt], Field(min_length=4, max_length=4)
    ],
    "encoder_output_indices": Annotated[
        list[Annotated[int, Field(ge=0)]], Field(min_length=4, max_length=4)
    ]
    | None,
}
DEPTH_DEPENDENT = ("Unet", "UnetPlusPlus", "MAnet")  # one decoder width for each level


def option_annotation(arch: str, name: str) -> Any | None:
    """Annotation that replaces the library's; None: the library's annotation is sufficient."""
    if name == "decoder_channels" and arch in DEPTH_DEPENDENT:
        return list[PositiveInt]
    return _OPTION_TYPES.get(name)
