"""Files that the page offers: masks as `harness predict` writes them, and rows of its table."""

import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.core.errors import DataError, HarnessError
from harness.deploy.app.answers import predict_timed
from harness.deploy.app.frames import pack_frame
from harness.deploy.app.limits import MAX_VALUES
from harness.deploy.app.served_model import ModelCollection
from harness.deploy.predict.outputs import encode_mask
from harness.deploy.predict.rows import as_csv, columns, measure_prediction

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_MAX_STEM = 60
_MAX_NAME = 200


@dataclass(frozen=True)
class MaskRequest:
    """A mask that the page decided, as bytes, to be encoded as a file.

    Attributes:
        values: class indices (H, W), or planes (K, H, W) of 0 and 1 in multilabel tasks.
    """

    height: int
    width: int
    values: bytes


@dataclass(frozen=True)
class MaskFile:
    """A PNG, or a ZIP of one PNG for each class."""

    data: bytes
    media_type: str


@dataclass(frozen=True)
class BatchRequest:
    """One of several images; `index` counts from 0, `name` is that of the user's file."""

    key: str
    index: int
    name: str
    data: bytes


def encode_decided(models: ModelCollection, request: MaskRequest) -> MaskFile:
    """Encode a mask as `harness predict` does.

    Raises:
        DataError: the values do not form a mask of this task.
    """
    mask = _mask_array(request, models.data)
    files = encode_mask(mask, models.data)
    if len(files) == 1:
        return MaskFile(files[0], "image/png")
    text = io.BytesIO()
    with zipfile.ZipFile(text, "w") as archive:
        for name, data in zip(models.data.classes, files, strict=True):
            archive.writestr(f"{safe_stem(name)}.png", data)
    return MaskFile(text.getvalue(), "application/zip")


def answer_batch_image(models: ModelCollection, request: BatchRequest) -> bytes:
    """Predict one of several images and pack its files and its row of `predictions.csv`.

    The names in `arrays` are paths in the ZIP: `masks/0001_name.png`, in multilabel tasks
    `masks/class/0001_name.png`. An image that cannot be used has no file and an `error`.

    Raises:
        KeyError: no such model.
    """
    model = models.load(request.key)
    data = models.data
    # Cut before it is printed, and one line, whatever the browser sent.
    name = " ".join(request.name[:_MAX_NAME].split()) or "image"
    row: dict[str, Any] = {"file": name}
    arrays: Mapping[str, NDArray[Any]] = {}
    problem = None
    try:
        timed = predict_timed(model, request.data)
        row |= measure_prediction(timed.prediction, data)
        row["seconds"] = round(timed.decode_s + timed.network_s, 4)
        stem = f"{request.index + 1:04d}_{safe_stem(name)}"
        paths = _mask_paths(stem, data)
        files = encode_mask(timed.prediction.mask, data)
        arrays = {
            path: np.frombuffer(file, np.uint8) for path, file in zip(paths, files, strict=True)
        }
    except HarnessError as error:
        problem = str(error)
        row["error"] = problem
    _, text = as_csv(columns(data), [row]).split("\n", 1)
    return pack_frame({"row": text, "error": problem}, arrays)


def csv_header(data: StudyDataConfig) -> str:
    """First line of `predictions.csv`."""
    return as_csv(columns(data), [])


def safe_stem(name: str) -> str:
    """Stem of a file name in ASCII letters, digits, _ and -, without folders."""
    stem = re.split(r"[\\/]", name)[-1].rsplit(".", 1)[0]
    return _UNSAFE.sub("_", stem)[:_MAX_STEM] or "image"


def _mask_paths(stem: str, data: StudyDataConfig) -> list[str]:
    if data.task != "multilabel":
        return [f"masks/{stem}.png"]
    return [f"masks/{safe_stem(name)}/{stem}.png" for name in data.classes]


def _mask_array(request: MaskRequest, data: StudyDataConfig) -> NDArray[np.uint8]:
    """Mask as `Prediction` has it. Raises DataError."""
    n_planes = len(data.classes) if data.task == "multilabel" else 1
    n_classes = 2 if data.task == "multilabel" else len(data.classes)
    size = request.height * request.width * n_planes
    values = np.frombuffer(request.values, np.uint8)
    if not 0 < size <= MAX_VALUES or len(values) != size or values.max() >= n_classes:
        raise DataError("these values do not form a mask of this network")
    if data.task != "multilabel":
        return values.reshape(request.height, request.width)
    planes = values.reshape(n_planes, request.height, request.width)
    return np.ascontiguousarray(np.moveaxis(planes, 0, 2))
