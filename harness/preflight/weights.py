"""Pretrained weights of the encoders a study can draw: here, to be fetched, or not to be had."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from harness.config import ModelConfig
from harness.errors import ConfigError, WeightsError
from harness.models.image_size import own_size, weights_fit
from harness.models.licences import licence_of
from harness.models.registry import check_model
from harness.models.weights import IMAGENET, are_cached
from harness.preflight.networks import Network, Pretrained
from harness.preflight.reasons import Reason

State = Literal["cached", "to fetch", "none"]


@dataclass(frozen=True)
class EncoderWeights:
    """The weights of one encoder.

    Attributes:
        weights: their name, as in `model.encoder_weights`.
        state: in the local cache, on the hub, or nowhere.
        reason: why there are none.
        licence: of code and weights, in a few words.
    """

    encoder_name: str
    state: State
    reason: str = ""
    licence: str = ""
    weights: str = IMAGENET


def weights_of(wanted: Iterable[Pretrained]) -> list[EncoderWeights]:
    """One entry for each, by name; asks no network."""
    return [_weights(one) for one in sorted(set(wanted))]


def weights_reason(wanted: Pretrained) -> Reason | None:
    """Why an encoder cannot begin with these weights; None: it can."""
    found = _weights(wanted)
    return Reason("weights", f"weights: {found.reason}") if found.state == "none" else None


def unfit_weights(wanted: Pretrained, network: Network) -> Reason | None:
    """Why weights cannot be loaded at this image size; None: they can."""
    name, size = wanted.encoder_name, network.height_width
    if weights_fit(name, size, dpt=network.arch == "DPT"):
        return None
    height, width = size
    own = own_size(name)
    return Reason(
        "weights",
        f"weights: those of {name} do not fit images of {height} x {width} px; set data.image_size "
        f"to {own} or model.encoder_weights to null",
    )


def _weights(wanted: Pretrained) -> EncoderWeights:
    name, weights = wanted
    state: State = "none"
    reason = ""
    try:
        check_model(ModelConfig.model_validate({"encoder_name": name, "encoder_weights": weights}))
        state = "cached" if are_cached(name, weights) else "to fetch"
    except ConfigError as error:
        reason = "; ".join(error.problems).removeprefix("model.encoder_weights: ")
    except WeightsError as error:
        reason = f"{name}: {error}"
    return EncoderWeights(name, state, reason, licence_of(name, weights), weights)
