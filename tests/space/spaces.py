"""A few legal names, and helpers that read spaces from text."""

from pathlib import Path

import pytest

from harness.core.errors import ConfigError
from harness.space.reading.load_space import read_space
from harness.space.space import AllowedValues, SearchSpace

LEGAL = AllowedValues(
    values={"model.arch": ("Unet", "UnetPlusPlus", "Linknet", "FPN")},
    options={
        "Unet": ("decoder_channels", "decoder_attention_type"),
        "UnetPlusPlus": ("decoder_channels", "decoder_attention_type"),
        "Linknet": ("decoder_use_norm",),
        "FPN": ("decoder_dropout",),
    },
)


def space_of(text: str, folder: Path, legal: AllowedValues = LEGAL) -> SearchSpace:
    file = folder / "s.yaml"
    file.write_text(text, encoding="utf-8")
    return read_space(file, legal=legal)


def problems_of(text: str, folder: Path, legal: AllowedValues = LEGAL) -> list[str]:
    """The problems of a space, with the path of its file replaced by `s.yaml`."""
    with pytest.raises(ConfigError) as caught:
        space_of(text, folder, legal)
    return [line.replace(str(folder / "s.yaml"), "s.yaml") for line in caught.value.problems]
