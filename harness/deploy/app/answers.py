"""Work behind each request, on one thread at a time: decode, predict, pack the answer."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.data.files.encode import encode_png
from harness.data.files.overlay import as_rgb
from harness.data.files.resize import resize_image
from harness.deploy.app.frames import SCALE, pack_frame, quantize
from harness.deploy.app.limits import MAX_VALUES
from harness.deploy.app.served_model import (
    ModelCollection,
    ModelFacts,
    SampleImage,
    ServedModel,
    StoredImage,
)
from harness.deploy.prediction import Prediction

_THUMBNAIL_PX = 112


@dataclass(frozen=True)
class ImageRequest:
    """An image to predict: uploaded bytes, or the index of a sample."""

    key: str
    data: bytes = b""
    sample: int | None = None


@dataclass(frozen=True)
class TimedPrediction:
    """Prediction of one image with the seconds of each step."""

    image: StoredImage
    prediction: Prediction
    decode_s: float
    network_s: float


def answer_image(models: ModelCollection, request: ImageRequest) -> bytes:
    """Predict an image and pack everything that the page draws.

    Arrays: `rgb` (H, W, 3); `planes` (K, H, W), uint16 of `quantize`, in multiclass tasks uint8
    with 255 for 1; there also `labels` and `cleaned`, class indices before and after the clean-up;
    of a sample `truth`.

    Raises:
        KeyError, IndexError: no such model or sample.
        HarnessError: the image cannot be used.
    """
    model = models.load(request.key)
    started = time.perf_counter()
    sample = None if request.sample is None else models.read_sample(request.sample)
    reading_s = time.perf_counter() - started
    timed = predict_timed(model, request.data, sample)
    facts = model.facts
    started = time.perf_counter()
    arrays = {
        "rgb": as_rgb(timed.image, models.data.range),
        **pack_prediction(facts, timed.prediction),
    }
    if sample is not None and sample.truth is not None:
        arrays["truth"] = sample.truth
    seconds = {
        "decode": reading_s + timed.decode_s,
        "network": timed.network_s,
        "packing": time.perf_counter() - started,
    }
    return pack_frame({"model": facts.as_json(), "seconds": seconds, "scale": SCALE}, arrays)


def predict_timed(
    model: ServedModel, data: bytes, sample: SampleImage | None = None
) -> TimedPrediction:
    """Decode and predict. Raises HarnessError."""
    started = time.perf_counter()
    image = model.read(data) if sample is None else sample.image
    if image.shape[0] * image.shape[1] * model.facts.n_planes > MAX_VALUES:
        raise DataError("too large for this page; use harness predict")
    decoded = time.perf_counter()
    prediction = model.predict(image)
    return TimedPrediction(image, prediction, decoded - started, time.perf_counter() - decoded)


def pack_prediction(facts: ModelFacts, prediction: Prediction) -> Mapping[str, NDArray[Any]]:
    """Arrays from which the page decides each pixel."""
    p = prediction.probabilities
    if facts.rule.task != "multiclass":
        return {"planes": quantize(p, [entry.threshold for entry in facts.rule.classes])}
    # The argmax is sent, since rounded probabilities of two classes may be equal.
    return {
        "planes": np.rint(p * 255).astype(np.uint8),
        "labels": p.argmax(axis=0).astype(np.uint8),
        "cleaned": prediction.mask,
    }


def sample_thumbnail(models: ModelCollection, index: int) -> bytes:
    """Small PNG of a sample. Raises IndexError, DataError."""
    image = models.read_sample(index).image
    rgb = as_rgb(image, models.data.range)
    scale = _THUMBNAIL_PX / max(rgb.shape[:2])
    size = (max(1, round(rgb.shape[0] * scale)), max(1, round(rgb.shape[1] * scale)))
    return encode_png(np.asarray(resize_image(rgb, size), np.uint8))
