"""State of the pretrained weights of encoders: cached, downloadable, or unavailable.

The module is separate because no other module of preflight uses the weights of the hub.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from harness.config.study import ModelConfig
from harness.core.errors import ConfigError, WeightsError
from harness.models.image_size import pretrained_size, weights_fit
from harness.models.registry import check_model
from harness.models.weights import IMAGENET, are_cached, licence_of
from harness.preflight.network_key import NetworkKey, PretrainedEncoder
from harness.preflight.refusal_reasons import RefusalReason

WeightsState = Literal["cached", "to fetch", "none"]


@dataclass(frozen=True)
class EncoderWeights:
    """Weights of one encoder.

    Attributes:
        weights: name of the weights, as in `model.encoder_weights`.
        state: in the local cache, on the hub, or unavailable.
        reason: reason if the weights are unavailable.
        licence: licence of code and weights, in a few words.
    """

    encoder_name: str
    state: WeightsState
    reason: str = ""
    licence: str = ""
    weights: str = IMAGENET


def list_encoder_weights(encoders: Iterable[PretrainedEncoder]) -> list[EncoderWeights]:
    """List an entry for each encoder, sorted by name; the hub is not asked."""
    return [_encoder_weights(encoder) for encoder in sorted(set(encoders))]


def unavailable_weights_reason(encoder: PretrainedEncoder) -> RefusalReason | None:
    """Reason why these weights are unavailable; None if they are available."""
    encoder_weights = _encoder_weights(encoder)
    return (
        RefusalReason("weights", f"weights: {encoder_weights.reason}")
        if encoder_weights.state == "none"
        else None
    )


def image_size_reason(encoder: PretrainedEncoder, network: NetworkKey) -> RefusalReason | None:
    """Reason why weights cannot be loaded at this image size; None if they can."""
    name, size = encoder.encoder_name, network.height_width
    if weights_fit(name, size, dpt=network.arch == "DPT"):
        return None
    height, width = size
    expected_px = pretrained_size(name)
    return RefusalReason(
        "weights",
        f"weights: {name} has no weights that fit images of {height} x {width} px; set "
        f"data.image_size to {expected_px} or model.encoder_weights to null",
    )


def _encoder_weights(encoder: PretrainedEncoder) -> EncoderWeights:
    name, weights = encoder
    state: WeightsState = "none"
    reason = ""
    try:
        check_model(ModelConfig.model_validate({"encoder_name": name, "encoder_weights": weights}))
        state = "cached" if are_cached(name, weights) else "to fetch"
    except ConfigError as error:
        reason = "; ".join(error.problems).removeprefix("model.encoder_weights: ")
    except WeightsError as error:
        reason = f"{name}: {error}"
    return EncoderWeights(name, state, reason, licence_of(name, weights), weights)
