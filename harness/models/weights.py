"""Pretrained encoder weights: found in the local cache, or fetched before any training starts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import timm
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError
from segmentation_models_pytorch.encoders import encoders as native_encoders

from harness.config import ModelConfig
from harness.errors import WeightsError
from harness.models.registry import TIMM_PREFIX, check_model

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_ETAG_TIMEOUT_S = 5.0  # the hub's own default hangs for 23 s where there is no network
_WITHOUT = "train without them: --set model.encoder_weights=null"

Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class HubFile:
    """One file of a repository of the Hugging Face hub; revision None is its main branch."""

    repo: str
    name: str
    revision: str | None

    def cached(self) -> Path | None:
        """Where it lies in the local cache (never asks the network); None if it does not."""
        found = try_to_load_from_cache(self.repo, self.name, revision=self.revision)
        return Path(found) if isinstance(found, str) else None

    def fetch(self) -> Path:
        """The file, downloaded if need be. Raises OSError or HfHubHTTPError."""
        return Path(
            hf_hub_download(
                self.repo, self.name, revision=self.revision, etag_timeout=_ETAG_TIMEOUT_S
            )
        )


def weight_file(encoder_name: str) -> HubFile:
    """The safetensors file with an encoder's ImageNet weights.

    Raises:
        WeightsError: the encoder has weights, but not as safetensors on the hub.
    """
    if not encoder_name.startswith(TIMM_PREFIX):
        source = native_encoders[encoder_name]["pretrained_settings"]["imagenet"]
        return HubFile(source["repo_id"], "model.safetensors", source["revision"])
    settings = timm.get_pretrained_cfg(encoder_name.removeprefix(TIMM_PREFIX))
    name = settings.hf_hub_filename or "model.safetensors" if settings else ""
    if settings is None or not settings.hf_hub_id or not name.endswith(".safetensors"):
        raise WeightsError(
            f"{encoder_name}: its weights are not on the Hugging Face hub as safetensors, the one "
            f"form that is loaded without running code; {_WITHOUT}"
        )
    return HubFile(settings.hf_hub_id, name, None)


def cached_weights(encoder_name: str) -> Path:
    """The local file with an encoder's weights. Raises WeightsError if it is not in the cache."""
    found = weight_file(encoder_name).cached()
    if found is None:
        raise WeightsError(
            f"{encoder_name}: its imagenet weights are not in the local Hugging Face cache; "
            + _WITHOUT
        )
    return found


def ensure_weights(models: Sequence[ModelConfig]) -> None:
    """See to it that the weights of all these models are in the local Hugging Face cache.

    What is cached is not asked for again: then no connection is attempted.

    Raises:
        ConfigError: a model with an unknown name.
        WeightsError: all encoders whose weights cannot be had, and why.
    """
    failures: list[str] = []
    for encoder in sorted({m.encoder_name for m in models if m.encoder_weights is not None}):
        try:
            for file in _files(encoder):
                if file.cached() is None:
                    file.fetch()
        except (OSError, HfHubHTTPError, WeightsError) as error:
            failures.append(f"{encoder}: {_first_line(error)}")
    if failures:
        raise WeightsError(
            "no pretrained weights for "
            + "; ".join(failures)
            + f". Connect and try again, or {_WITHOUT}"
        )


def input_statistics(model: ModelConfig) -> Statistics:
    """Mean and standard deviation, on the scale 0..1, that an encoder's weights expect.

    Local information only; ImageNet's where there are no weights or nothing is known.
    """
    if model.encoder_weights is None:
        return IMAGENET_MEAN, IMAGENET_STD
    if model.encoder_name.startswith(TIMM_PREFIX):
        settings = timm.get_pretrained_cfg(model.encoder_name.removeprefix(TIMM_PREFIX))
        known = {} if settings is None else {"mean": settings.mean, "std": settings.std}
    else:
        path = _config_file(model.encoder_name).cached()
        known = {} if path is None else json.loads(path.read_text(encoding="utf-8"))
    return _three(known.get("mean"), IMAGENET_MEAN), _three(known.get("std"), IMAGENET_STD)


def _files(encoder: str) -> list[HubFile]:
    """The weights, and for native encoders the file with their input statistics."""
    check_model(ModelConfig(encoder_name=encoder))
    native = not encoder.startswith(TIMM_PREFIX)
    return [*([_config_file(encoder)] if native else []), weight_file(encoder)]


def _config_file(encoder: str) -> HubFile:
    source = native_encoders[encoder]["pretrained_settings"]["imagenet"]
    return HubFile(source["repo_id"], "config.json", source["revision"])


def _three(
    value: Sequence[float] | None, otherwise: tuple[float, float, float]
) -> tuple[float, float, float]:
    if value is None or len(value) != 3:
        return otherwise
    return float(value[0]), float(value[1]), float(value[2])


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
