"""MLflow model of a bundle: the bundle's own files, and code that MLflow can run without harness.

Nothing is pickled: the model is "from code" (`pyfunc_code.py`), and its network is a file of the
bundle.
"""

import hashlib
import io
import json
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import mlflow
import numpy as np
import pandas as pd
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Map

from harness.core import files
from harness.core.errors import TrackingError

SPEC_FILE = "model.json"
SPEC_FORMAT = 1
MAX_SPEC_BYTES = 1 << 20
_CODE = Path(__file__).with_name("pyfunc_code.py")
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[a-z0-9,_-]+\])?\s*([=<>!~]=?[^;@/\\]*)?")


def bundle_sha256(bundle: Path) -> str:
    """Hash of a bundle: of its description, which names the hashes of all other files.

    Two exports of the same files have the same hash, whenever they were written.

    Raises:
        TrackingError: a file is missing, damaged or outside the folder.
    """
    spec = _read_spec(bundle)
    for name, expected in spec["files"].items():
        path = _checked_path(bundle, name)
        if files.file_sha256(path) != expected:
            raise TrackingError(f"{path}: its hash differs from {SPEC_FILE}; export again")
    stable = {key: value for key, value in spec.items() if key != "created"}
    return hashlib.sha256(json.dumps(stable, sort_keys=True).encode()).hexdigest()


@contextmanager
def write_bundle_model(bundle: Path, outbox: Path) -> Iterator[Path]:
    """Write the MLflow model of a bundle that `bundle_sha256` has checked.

    Args:
        bundle: folder that `harness export` has written.
        outbox: temporary folder, removed when the block ends.

    Yields:
        Folder of the MLflow model.
    """
    spec = _read_spec(bundle)
    shutil.rmtree(outbox, ignore_errors=True)
    try:
        for name in (SPEC_FILE, *spec["files"]):
            copy = outbox / "bundle" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_checked_path(bundle, name), copy)
        model = outbox / "model"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # mlflow.pyfunc warns of its own type hints
            mlflow.pyfunc.save_model(
                model,
                python_model=str(_CODE),
                artifacts={"bundle": str(outbox / "bundle")},
                model_config={"allow_paths": False},
                signature=_signature(spec),
                input_example=_input_example(spec),
                pip_requirements=[*_requirements(bundle), f"mlflow=={mlflow.__version__}"],
                metadata={key: spec[key] for key in ("study", "study_id", "trial")},
            )
        _remove_local_facts(model)
        yield model
    finally:
        shutil.rmtree(outbox, ignore_errors=True)


def _remove_local_facts(folder: Path) -> None:
    """Remove from MLmodel the paths of this machine, and the version of a pickle library.

    MLflow writes them for every model. Of the code's path it reads the file name alone; the others
    it does not read for a model from code.
    """
    model = Model.load(str(folder))
    flavor = model.flavors["python_function"]
    flavor.pop("cloudpickle_version", None)
    flavor["model_code_path"] = _CODE.name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    model.save(str(folder / "MLmodel"))


def _read_spec(bundle: Path) -> dict[str, Any]:
    path = _checked_path(bundle, SPEC_FILE)
    if path.stat().st_size > MAX_SPEC_BYTES:
        raise TrackingError(f"{path}: larger than {MAX_SPEC_BYTES} bytes; export again")
    try:
        spec = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TrackingError(f"{path}: not JSON ({error}); export again") from error
    if not isinstance(spec, dict) or spec.get("format") != SPEC_FORMAT:
        raise TrackingError(f"{path}: not a bundle of format {SPEC_FORMAT}; export again")
    if not isinstance(spec.get("files"), dict):
        raise TrackingError(f"{path}: it lists no files; export again")
    return spec


def _checked_path(bundle: Path, name: str) -> Path:
    """Path of a regular file of the bundle; links and names that leave the folder are refused."""
    parts = PurePosixPath(name).parts
    path = bundle.joinpath(*parts)
    steps = [bundle.joinpath(*parts[: n + 1]) for n in range(len(parts))]
    if not parts or ".." in parts or "\\" in name or PurePosixPath(name).is_absolute():
        raise TrackingError(f"{bundle / SPEC_FILE}: file name {name!r} leaves the folder")
    if any(step.is_symlink() for step in steps) or not path.is_file():
        raise TrackingError(f"{path}: not a regular file; export again")
    return path


def _requirements(bundle: Path) -> list[str]:
    """Packages of the bundle; any other option or address in the file is an error."""
    path = _checked_path(bundle, "requirements.txt")
    lines = [line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines()]
    packages = [line for line in lines if line]
    for line in packages:
        if not _REQUIREMENT.fullmatch(line):
            raise TrackingError(f"{path}: {line!r} is not a package with its version")
    return packages


def _signature(spec: dict[str, Any]) -> ModelSignature:
    png: Any = Map(DataType.string) if spec["task"] == "multilabel" else DataType.string
    return ModelSignature(
        inputs=Schema(
            [
                ColSpec(DataType.binary, "image", required=False),
                ColSpec(DataType.string, "path", required=False),
            ]
        ),
        outputs=Schema([ColSpec(png, "mask"), ColSpec(Map(DataType.double), "shares")]),
    )


def _input_example(spec: dict[str, Any]) -> pd.DataFrame:
    """A grey image of 16 x 16 pixels: MLflow stores it to show the form of a request."""
    channels, bits = spec["input"]["channels"], spec["input"]["bits"]
    image = np.full((16, 16, channels), 128, np.uint16 if bits == 16 else np.uint8)
    if channels in (1, 3):
        return pd.DataFrame({"image": [cv2.imencode(".png", image)[1].tobytes()]})
    file = io.BytesIO()
    np.save(file, image)
    return pd.DataFrame({"image": [file.getvalue()]})
