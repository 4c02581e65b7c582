"""MLflow model around a bundle of `harness export`; MLflow stores this file with the model.

It imports nothing of the package: the bundle brings its own runner, `predict.py`. Import it from
nowhere; MLflow runs the copy as a script that names the model ("models from code").
"""

import base64
import binascii
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel
from numpy.typing import NDArray


class BundleModel(PythonModel):
    """Masks of images; one row of the input is one image.

    Columns of the input: `image`, the bytes of an image file (base64 in JSON and CSV); or `path`,
    its path on the machine that runs the model. Paths are refused unless the model is loaded with
    `model_config={"allow_paths": True}`, so that clients of a server read none of its files.

    Columns of the result: `mask`, a PNG file in base64, for several labels per pixel one by class
    name; `shares`, the share of pixels by class name.
    """

    def load_context(self, context: Any) -> None:
        """Load the bundle's runner and its network."""
        folder = Path(context.artifacts["bundle"])
        self._runner = _load_runner(folder / "predict.py")
        self._model = self._runner.Model(folder)
        self._allow_paths = (context.model_config or {}).get("allow_paths") is True

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Predict each row; the first image that cannot be read is an error that names its row."""
        results = []
        for row, source in enumerate(self._sources(model_input)):
            try:
                mask, _ = self._model.predict(self._runner.read_image(source, self._model.spec))
            except (ValueError, OSError, RuntimeError, cv2.error) as error:
                raise _refusal(row, str(error)) from error
            results.append(describe_mask(mask, self._model.spec))
        return pd.DataFrame(results, columns=["mask", "shares"])

    def _sources(self, frame: pd.DataFrame) -> Iterator[bytes | Path]:
        """Bytes or path of each row."""
        # MLflow drops unknown columns, and with the last column all rows.
        for row, cells in enumerate(frame.to_dict("records") or [{}]):
            image, path = cells.get("image"), cells.get("path")
            if isinstance(image, bytes | bytearray | str) and image:
                yield _decode_image(row, image)
            elif not isinstance(path, str) or not path:
                raise _refusal(row, "no image; give the bytes of an image file in column image")
            elif not self._allow_paths:
                raise _refusal(
                    row,
                    "column path is refused; send the bytes of the file in column image, or load "
                    'the model in Python with model_config={"allow_paths": True}',
                )
            else:
                yield Path(path)


def _decode_image(row: int, image: bytes | bytearray | str) -> bytes:
    """Bytes of an image file.

    MLflow decodes the base64 of some forms of a request and leaves that of others: CSV as text,
    `inputs` as bytes. No image format consists of the characters of base64 alone.
    """
    data = image.encode() if isinstance(image, str) else bytes(image)
    try:
        return base64.b64decode(data.translate(None, b"\r\n"), validate=True)
    except binascii.Error as error:
        if isinstance(image, str):
            raise _refusal(row, "column image is not base64") from error
        return data


def describe_mask(mask: NDArray[np.uint8], spec: dict[str, Any]) -> dict[str, Any]:
    """One row of the result.

    Args:
        mask: (H, W) of class indices; (H, W, K) in {0, 1} for several labels per pixel.
        spec: `model.json` of the bundle.
    """
    names = {index: spec["classes"][index]["name"] for index in spec["scored_classes"]}
    if mask.ndim == 3:
        planes = {name: mask[:, :, k] for k, name in enumerate(names.values())}
        png: Any = {name: _encode_png(plane * np.uint8(255)) for name, plane in planes.items()}
    elif spec["task"] == "binary":
        planes = dict.fromkeys(names.values(), mask)
        png = _encode_png(mask * np.uint8(255))
    else:
        planes = {name: np.asarray(mask == index, np.uint8) for index, name in names.items()}
        png = _encode_png(mask)
    return {"mask": png, "shares": {name: float(plane.mean()) for name, plane in planes.items()}}


def _encode_png(plane: NDArray[np.uint8]) -> str:
    _, encoded = cv2.imencode(".png", plane)
    return base64.b64encode(encoded.tobytes()).decode("ascii")


def _load_runner(path: Path) -> ModuleType:
    """Import a file by its path, without leaving compiled code beside it."""
    spec = importlib.util.spec_from_file_location("bundle_runner", path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def _refusal(row: int, reason: str) -> MlflowException:
    return MlflowException(f"row {row}: {reason}", error_code=INVALID_PARAMETER_VALUE)


mlflow.models.set_model(BundleModel())
