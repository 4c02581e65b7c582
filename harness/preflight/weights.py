"""Pretrained weights of the encoders a study can draw: here, to be fetched, or not to be had."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from harness.config import ModelConfig
from harness.errors import ConfigError, WeightsError
from harness.models.licences import licence_of
from harness.models.registry import check_model
from harness.models.weights import are_cached
from harness.preflight.reasons import Reason

State = Literal["cached", "to fetch", "none"]


@dataclass(frozen=True)
class EncoderWeights:
    """The weights of one encoder.

    Attributes:
        state: in the local cache, on the hub, or nowhere.
        reason: why there are none.
        licence: of code and weights, in a few words.
    """

    encoder_name: str
    state: State
    reason: str = ""
    licence: str = ""


def weights_of(encoders: Iterable[str]) -> list[EncoderWeights]:
    """One entry for each encoder, by name; asks no network."""
    return [_weights(name) for name in sorted(set(encoders))]


def weights_reason(encoder_name: str) -> Reason | None:
    """Why an encoder cannot begin with pretrained weights; None: it can."""
    found = _weights(encoder_name)
    return Reason("weights", f"weights: {found.reason}") if found.state == "none" else None


def _weights(encoder_name: str) -> EncoderWeights:
    licence = licence_of(encoder_name)
    try:
        check_model(ModelConfig(encoder_name=encoder_name, encoder_weights="imagenet"))
        state: State = "cached" if are_cached(encoder_name) else "to fetch"
    except ConfigError as error:
        reason = "; ".join(error.problems).removeprefix("model.encoder_weights: ")
        return EncoderWeights(encoder_name, "none", reason, licence)
    except WeightsError as error:
        return EncoderWeights(encoder_name, "none", f"{encoder_name}: {error}", licence)
    return EncoderWeights(encoder_name, state, "", licence)
