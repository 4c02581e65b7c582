"""Find pretrained encoder weights in the local cache, download them, and state their licence."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import timm
from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from segmentation_models_pytorch.encoders import encoders as native_encoders

from harness.config.study import ModelConfig
from harness.core.errors import WeightsError
from harness.models.registry import TIMM_PREFIX, check_model

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_CONNECT_TIMEOUT_S = 5.0
_WITHOUT_WEIGHTS = "train without them: --set model.encoder_weights=null"

IMAGENET = "imagenet"
_EncoderWeights = tuple[str, str]  # encoder, weights

RgbTriple = tuple[float, float, float]


@dataclass(frozen=True)
class HubFile:
    """File in a repository of the Hugging Face hub; revision None is its main branch."""

    repo: str
    name: str
    revision: str | None

    def cached_path(self) -> Path | None:
        """Path in the local cache, without a connection; None if it is not cached."""
        path = try_to_load_from_cache(
            self.repo, self.name, cache_dir=constants.HF_HUB_CACHE, revision=self.revision
        )
        return Path(path) if isinstance(path, str) else None

    def fetch(self) -> None:
        """Download it into the local cache. Raises what the hub's client raises."""
        hf_hub_download(
            self.repo,
            self.name,
            cache_dir=constants.HF_HUB_CACHE,
            revision=self.revision,
            etag_timeout=_CONNECT_TIMEOUT_S,
        )


def cached_weights(encoder_name: str, weights: str = IMAGENET) -> Path:
    """The local file with an encoder's weights. Raises WeightsError if it is not in the cache."""
    path = _weight_file(encoder_name, weights).cached_path()
    if path is None:
        raise WeightsError(
            f"{encoder_name}: its {weights} weights are not in the local Hugging Face cache; "
            + _WITHOUT_WEIGHTS
        )
    return path


def are_cached(encoder_name: str, weights: str = IMAGENET) -> bool:
    """True if an encoder's weights are in the local cache.

    Raises:
        WeightsError: the hub does not have these weights.
    """
    return all(file.cached_path() is not None for file in _weight_files(encoder_name, weights))


def cached_repository_files(encoder_name: str, weights: str = IMAGENET) -> tuple[Path, list[str]]:
    """Files of the local Hugging Face cache in which a worker finds an encoder's weights.

    Returns:
        The cache (HF_HUB_CACHE), and the paths below it, which follow the layout of that cache.

    Raises:
        WeightsError: they are not in the cache, or the hub does not have these weights.
    """
    hub = Path(constants.HF_HUB_CACHE)
    cached_weights(encoder_name, weights)  # raises if they are absent
    paths = []
    for file in _weight_files(encoder_name, weights):
        local = file.cached_path()
        if local is None:  # of a native encoder without a file of its input statistics
            continue
        # A branch or tag is looked up in `refs`; a commit is the name of its snapshot already.
        ref = local.parents[1].parent / "refs" / (file.revision or "main")
        paths += [path.relative_to(hub).as_posix() for path in (local, ref) if path.is_file()]
    return hub, sorted(set(paths))


def ensure_weights(models: Sequence[ModelConfig]) -> None:
    """Download the weights of all these models that are not in the local Hugging Face cache.

    If all are cached, no connection is attempted.

    Raises:
        ConfigError: a model with an unknown name.
        WeightsError: all encoders whose weights are unavailable, with the reasons.
    """
    missing, reasons = _find_missing(models)
    unreachable = _hub_problem() if missing else None
    for pair, files in missing.items():
        reason = unreachable or _fetch_files(files)
        if reason is not None:
            reasons.setdefault(reason, []).append(pair)
    if reasons:
        raise _missing_weights_error(reasons)


def _find_missing(
    models: Sequence[ModelConfig],
) -> tuple[dict[_EncoderWeights, list[HubFile]], dict[str, list[_EncoderWeights]]]:
    """Files that are not in the cache, and the weights whose files are unknown, by reason."""
    missing: dict[_EncoderWeights, list[HubFile]] = {}
    reasons: dict[str, list[_EncoderWeights]] = {}
    for pair, model in sorted(_required_weights(models).items()):
        check_model(model)
        try:
            files = [file for file in _weight_files(*pair) if file.cached_path() is None]
        except WeightsError as error:
            reasons.setdefault(str(error), []).append(pair)
        else:
            missing |= {pair: files} if files else {}
    return missing, reasons


def check_weights_reachable(models: Sequence[ModelConfig]) -> None:
    """Check that weights that are not cached can be downloaded; downloads nothing.

    Raises:
        WeightsError: some are missing and the hub does not answer.
    """
    missing = [pair for pair in sorted(_required_weights(models)) if not are_cached(*pair)]
    reason = _hub_problem() if missing else None
    if reason is not None:
        raise _missing_weights_error({reason: missing})


def input_statistics(model: ModelConfig) -> tuple[RgbTriple, RgbTriple]:
    """Mean and standard deviation, on the scale 0..1, that an encoder's weights expect.

    Uses local information only; those of ImageNet without weights or without information.
    """
    if model.encoder_weights is None:
        return IMAGENET_MEAN, IMAGENET_STD
    if model.encoder_name.startswith(TIMM_PREFIX):
        settings = timm.get_pretrained_cfg(model.encoder_name.removeprefix(TIMM_PREFIX))
        stats = {} if settings is None else {"mean": settings.mean, "std": settings.std}
    else:
        # Not SMP's `get_preprocessing_params`, which reads the hub even if all is cached.
        path = _native_file(model.encoder_name, model.encoder_weights, "config.json").cached_path()
        stats = {} if path is None else json.loads(path.read_text(encoding="utf-8"))
    return _as_triple(stats.get("mean"), IMAGENET_MEAN), _as_triple(stats.get("std"), IMAGENET_STD)


def _required_weights(models: Sequence[ModelConfig]) -> dict[_EncoderWeights, ModelConfig]:
    """A model by each encoder and name of its pretrained weights."""
    return {
        (model.encoder_name, model.encoder_weights): model
        for model in models
        if model.encoder_weights is not None
    }


def _missing_weights_error(reasons: Mapping[str, Sequence[_EncoderWeights]]) -> WeightsError:
    """Build the error that lists encoders by the reason why their weights are unavailable."""
    kinds = {weights for pairs in reasons.values() for _, weights in pairs}
    kind = next(iter(kinds)) if len(kinds) == 1 else "pretrained"
    details = "; ".join(
        ", ".join(
            name if kind != "pretrained" else f"{name} ({weights})" for name, weights in pairs
        )
        + f": {reason}"
        for reason, pairs in reasons.items()
    )
    return WeightsError(f"no {kind} weights for {details}. Fix that, or {_WITHOUT_WEIGHTS}")


def _weight_files(encoder: str, weights: str) -> list[HubFile]:
    """Files of the weights, and for native encoders of their input statistics."""
    if encoder.startswith(TIMM_PREFIX):
        return [_weight_file(encoder, weights)]
    return [_native_file(encoder, weights, "config.json"), _weight_file(encoder, weights)]


def _weight_file(encoder: str, weights: str) -> HubFile:
    """Safetensors file of an encoder's weights. Raises WeightsError if the hub has none."""
    if not encoder.startswith(TIMM_PREFIX):
        return _native_file(encoder, weights, "model.safetensors")
    settings = timm.get_pretrained_cfg(encoder.removeprefix(TIMM_PREFIX))
    name = (settings.hf_hub_filename or "model.safetensors") if settings else ""
    if settings is None or not settings.hf_hub_id or not name.endswith(".safetensors"):
        raise WeightsError(
            "not on the Hugging Face hub as safetensors, the one form that runs no code when it "
            "is loaded"
        )
    return HubFile(settings.hf_hub_id, name, None)


def _native_file(encoder: str, weights: str, name: str) -> HubFile:
    source = native_encoders[encoder]["pretrained_settings"][weights]
    return HubFile(source["repo_id"], name, source["revision"])


def _hub_problem() -> str | None:
    """Reason why the hub does not answer; None if it does."""
    # One attempt: the hub's own client makes six before it gives up.
    if constants.HF_HUB_OFFLINE:
        return "not in the local Hugging Face cache, and HF_HUB_OFFLINE forbids access to the hub"
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")  # noqa: S310 - the hub's own
    try:
        with urllib.request.urlopen(request, timeout=_CONNECT_TIMEOUT_S):  # noqa: S310
            return None
    except urllib.error.HTTPError:
        return None  # even an error response shows that the hub can be reached
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return (
            "not in the local Hugging Face cache, and "
            f"{constants.ENDPOINT} cannot be reached ({reason})"
        )


def _fetch_files(files: Sequence[HubFile]) -> str | None:
    """Download the files; return the reason if that fails."""
    try:
        for file in files:
            file.fetch()
    except Exception as error:
        # Any exception: the hub's client has changed its types, and the advice is the same.
        return _root_cause(error)
    return None


def _root_cause(error: BaseException) -> str:
    """First line of the first cause: the hub's client wraps a 404 in advice about cables."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().split("\n", 1)[0].rstrip(".") or type(error).__name__


def _as_triple(value: Sequence[float] | None, default: RgbTriple) -> RgbTriple:
    # ImageNet's values are used where the source states none, or not one for each of RGB.
    if value is None or len(value) != 3:
        return default
    return float(value[0]), float(value[1]), float(value[2])


# Encoders whose code is not under the MIT licence of the library.
_CODE_LICENCES = {
    "mit_b": "NVIDIA source code licence: non-commercial",
    "mobileone": "Apple's sample code licence",
}


# Weights trained on more than ImageNet, with the licence that their authors state
# (facebookresearch's semi-supervised-ImageNet1K-models and WSL-Images; TensorFlow's tpu
# repository).
_WEIGHTS_LICENCES = {
    "ssl": "CC BY-NC 4.0: non-commercial",
    "swsl": "CC BY-NC 4.0: non-commercial",
    "instagram": "CC BY-NC 4.0: non-commercial",
    "advprop": "Apache 2.0",
    "noisy-student": "Apache 2.0",
    "noisy-student-475": "Apache 2.0",
}


def licence_of(encoder_name: str, weights: str | None = None) -> str:
    """Licence in a short line; the training data of the weights (ImageNet) has separate terms."""
    if encoder_name.startswith(TIMM_PREFIX):
        settings = timm.get_pretrained_cfg(encoder_name.removeprefix(TIMM_PREFIX))
        timm_licence = None if settings is None else settings.license
        return f"{timm_licence} (timm)" if timm_licence else "not stated by timm"
    for family, licence in _CODE_LICENCES.items():
        if encoder_name.startswith(family):
            return licence
    if weights in _WEIGHTS_LICENCES:
        return f"MIT code; weights {_WEIGHTS_LICENCES[weights]}"
    return "MIT code; weights as their authors publish them"
