"""Conversion of epochs, parameters, splits and overlay images to the forms that MLflow expects."""

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

from harness.config.study import StudyConfig
from harness.core import files
from harness.core.settings import flatten

MAX_METRICS_PER_CALL = 900  # MLflow accepts at most 1000 per call
MAX_PARAM_LENGTH = 6000  # characters; MLflow refuses longer ones, e.g. the names of 255 classes
IMAGE_FOLDER = "images"
LOGGED_IMAGES_TAG = "mlflow.loggedImages"  # MLflow shows the image grid only with this tag
OVERLAY_KEY = "val/overlay"
THUMBNAIL_PX = 256
# OpenCV's default is lossless WebP, which takes 15 times as long.
_WEBP_OPTIONS = [cv2.IMWRITE_WEBP_QUALITY, 80]


def split_input(split_csv: Path, config: StudyConfig) -> DatasetInput:
    """Dataset input for a split; its digest changes with any image or role."""
    rows = split_csv.read_text(encoding="utf-8").splitlines()[1:]
    digest = files.file_sha256(split_csv)
    dataset = Dataset(
        name=Path(config.data.root).name or "data",
        digest=digest[:16],
        source_type="local",
        source=json.dumps({"root": config.data.root, "split": split_csv.name}),
        profile=json.dumps({"images": len(rows), "split_sha256": digest}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "train and val")])


def metric_batches(epochs: list[dict[str, float]]) -> Iterator[list[Metric]]:
    """Metrics in batches for one call each; an epoch is split only if it alone exceeds a batch.

    MLflow identifies a metric by key, time, step and value: with the recorded time of the epoch a
    repeated call adds nothing, with the current time it would double the value.
    """
    batch: list[Metric] = []
    for epoch in epochs:
        metrics = [
            Metric(key, float(value), int(epoch["time_ms"]), int(epoch["epoch"]))
            for key, value in epoch.items()
            if key not in ("epoch", "time_ms")
        ]
        if batch and len(batch) + len(metrics) > MAX_METRICS_PER_CALL:
            yield batch
            batch = []
        batch += metrics
        while len(batch) > MAX_METRICS_PER_CALL:
            yield batch[:MAX_METRICS_PER_CALL]
            batch = batch[MAX_METRICS_PER_CALL:]
    if batch:
        yield batch


def flat_definition(config: StudyConfig) -> dict[str, Any]:
    """Definition by full key; `data.values` stays one value, as MLflow allows no `#` in a key."""
    definition = config.definition()
    values = definition["data"].pop("values")
    return flatten(definition) | {"data.values": values}


def to_params(flat: dict[str, Any]) -> list[Param]:
    """Settings as parameters; lists and dicts become JSON, cut at MLflow's maximum length."""
    return [
        Param(key, (json.dumps(v) if isinstance(v, list | dict) else str(v))[:MAX_PARAM_LENGTH])
        for key, v in flat.items()
    ]


@contextmanager
def logged_image_files(
    overlay: Path, outbox: Path, seed: str, step: int, row: int, time_ms: int
) -> Iterator[list[Path]]:
    """Copy an overlay and its thumbnail to `outbox` under the names that MLflow's grid expects.

    `MlflowClient.log_image` gives each image a random name, so an image sent twice appears twice.
    Here the name is derived from run, step and row, and sending it again overwrites it.

    Args:
        overlay: overlay image, a PNG file.
        outbox: temporary folder, removed when the block ends.
        seed: text that is unique to the run.
        step: epoch, from 1.
        row: row of split.csv.
        time_ms: time of the epoch, milliseconds since 1970.

    Yields:
        Both files; an empty list if the overlay cannot be read.
    """
    image = cv2.imread(str(overlay), cv2.IMREAD_COLOR)
    if image is None:
        yield []
        return
    key = f"{OVERLAY_KEY}/{row}".replace("/", "~")
    image_id = uuid.uuid5(uuid.NAMESPACE_OID, f"{seed}/{step}/{row}")
    name = f"{key}+step+{step}+timestamp+{time_ms}+{image_id}"
    outbox.mkdir(exist_ok=True)
    full_size, thumbnail = outbox / f"{name}.png", outbox / f"{name}+compressed.webp"
    try:
        shutil.copyfile(overlay, full_size)
        scale = min(1.0, THUMBNAIL_PX / max(image.shape[:2]))
        cv2.imwrite(str(thumbnail), cv2.resize(image, None, fx=scale, fy=scale), _WEBP_OPTIONS)
        yield [full_size, thumbnail]
    finally:
        shutil.rmtree(outbox, ignore_errors=True)
