"""Epochs, parameters and data of a study as MLflow's own objects."""

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

MAX_METRICS_PER_CALL = 900  # metrics a call; MLflow takes 1000
MAX_PARAM_LENGTH = 6000  # MLflow refuses more; the names of 255 classes may be


def split_input(split_csv: Path, config: StudyConfig) -> DatasetInput:
    """The split: its digest changes when any image or role does."""
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
    """Metrics in calls of at most BATCH; an epoch is not torn, unless it alone is larger."""
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
    """The definition by full keys; `data.values` in one, as MLflow takes no `#` in a key."""
    definition = config.definition()
    values = definition["data"].pop("values")
    return flatten(definition) | {"data.values": values}


def to_params(flat: dict[str, Any]) -> list[Param]:
    """Settings by full key; lists and dicts as JSON, cut where MLflow would refuse them."""
    return [
        Param(key, (json.dumps(v) if isinstance(v, list | dict) else str(v))[:MAX_PARAM_LENGTH])
        for key, v in flat.items()
    ]


IMAGE_FOLDER = "images"


LOGGED_IMAGES_TAG = "mlflow.loggedImages"  # tells MLflow's pages that there are any


OVERLAY_KEY = "val/overlay"


THUMBNAIL_PX = 256


_WEBP_OPTIONS = [
    cv2.IMWRITE_WEBP_QUALITY,
    80,
]  # unless told, OpenCV writes lossless WebP: 15 times as long


@contextmanager
def logged_image_files(
    overlay: Path, outbox: Path, seed: str, step: int, row: int, time_ms: int
) -> Iterator[list[Path]]:
    """The picture and its small copy in `outbox`, under the names that MLflow expects.

    Args:
        overlay: a PNG.
        outbox: a folder for the time of sending.
        seed: what tells this run from all others.
        step: epoch, from 1.
        row: of split.csv.
        time_ms: of the epoch, milliseconds since 1970.

    Returns:
        Both files, or none if the picture cannot be read.
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
