"""The MLflow model of a bundle: files, requests, refusals."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import invocations
from numpy.typing import NDArray

from harness.core.errors import TrackingError
from harness.tracking.bundle_model import bundle_sha256, write_bundle_model
from tests.tracking.bundles import write_bundle

BRIGHT = np.zeros((4, 5, 3), np.uint8)
BRIGHT[:, :2] = 255  # 8 of 20 pixels
MASK = BRIGHT[:, :, 0] // 255


def png_bytes(image: NDArray[np.uint8] = BRIGHT) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def decode(text: str) -> NDArray[np.uint8]:
    data = np.frombuffer(base64.b64decode(text), np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.uint8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """MLflow models of three tasks."""
    folder = tmp_path_factory.mktemp("models")
    models = {}
    for task in ("binary", "multiclass", "multilabel"):
        bundle = write_bundle(folder / f"bundle-{task}", task)
        with write_bundle_model(bundle, folder / "outbox") as model:
            models[task] = model.rename(folder / task)
    assert not (folder / "outbox").exists()
    return models


def answer(model: Path, body: str | bytes, kind: str = "application/json") -> Any:
    """The predictions that MLflow's scoring server would send."""
    loaded = mlflow.pyfunc.load_model(str(model))
    text = body if isinstance(body, str) else body.decode()
    result = invocations(text, kind, loaded, loaded.metadata.get_input_schema())
    assert result.status == 200
    return json.loads(result.response)["predictions"]


def request(cells: dict[str, Any], form: str = "dataframe_records") -> str:
    if form == "dataframe_records":
        return json.dumps({form: [cells]})
    if form == "dataframe_split":
        return json.dumps({form: {"columns": list(cells), "data": [list(cells.values())]}})
    return json.dumps({form: {key: [value] for key, value in cells.items()}})


def test_model_is_code_and_files_without_pickles_or_local_paths(saved: dict[str, Path]) -> None:
    model = saved["binary"]
    names = {str(path.relative_to(model)) for path in model.rglob("*") if path.is_file()}
    assert {name for name in names if name.startswith("artifacts/")} == {
        f"artifacts/bundle/{name}"
        for name in ("model.json", "model.onnx", "predict.py", "requirements.txt")
    }
    assert "pyfunc_code.py" in names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pyc"))]
    for path in model.rglob("*"):
        if path.is_file():
            text = path.read_bytes()
            assert b"pickle" not in text.lower(), path
            assert str(model.parent).encode() not in text, path
    flavors = yaml.safe_load((model / "MLmodel").read_text())["flavors"]
    assert list(flavors) == ["python_function"]
    assert flavors["python_function"]["loader_module"] == "mlflow.pyfunc.loaders.code_model"
    assert flavors["python_function"]["model_code_path"] == "pyfunc_code.py"
    wanted = ["numpy", "opencv-python-headless", f"mlflow=={mlflow.__version__}"]
    assert (model / "requirements.txt").read_text().split() == wanted


def test_model_is_loaded_where_harness_cannot_be_imported(
    saved: dict[str, Path], tmp_path: Path
) -> None:
    code = f"""
import sys
sys.modules["harness"] = None
import mlflow, pandas
model = mlflow.pyfunc.load_model({str(saved["binary"])!r})
result = model.predict(pandas.DataFrame({{"image": [{png_bytes()!r}]}}))
print(result["shares"][0], [name for name in sys.modules if name.startswith("harness.")])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "{'stone': 0.4} []\n"


@pytest.mark.parametrize("form", ["dataframe_records", "dataframe_split", "inputs"])
def test_image_of_a_request_gives_its_mask(saved: dict[str, Path], form: str) -> None:
    cells = {"image": base64.b64encode(png_bytes()).decode()}
    (row,) = answer(saved["binary"], request(cells, form))
    assert (decode(row["mask"]) == MASK * 255).all()
    assert row["shares"] == {"stone": 0.4}


def test_csv_with_base64_is_read_as_well(saved: dict[str, Path]) -> None:
    body = f"image\n{base64.b64encode(png_bytes()).decode()}\n"
    (row,) = answer(saved["binary"], body, "text/csv")
    assert (decode(row["mask"]) == MASK * 255).all()


def test_mask_of_several_classes_is_the_class_of_each_pixel(saved: dict[str, Path]) -> None:
    (row,) = answer(saved["multiclass"], request({"image": base64.b64encode(png_bytes()).decode()}))
    assert (decode(row["mask"]) == MASK * 2).all()
    assert row["shares"] == {"background": 0.6, "sand": 0.0, "stone": 0.4}


def test_several_labels_per_pixel_are_one_mask_each(saved: dict[str, Path]) -> None:
    (row,) = answer(saved["multilabel"], request({"image": base64.b64encode(png_bytes()).decode()}))
    assert (decode(row["mask"]["bright"]) == MASK * 255).all()
    assert (decode(row["mask"]["dark"]) == 255 - MASK * 255).all()
    assert row["shares"] == {"bright": 0.4, "dark": 0.6}


def test_rows_keep_their_order_and_sizes(saved: dict[str, Path]) -> None:
    model = mlflow.pyfunc.load_model(str(saved["binary"]))
    images = [np.full((n, 3, 3), 255 * (n % 2), np.uint8) for n in (1, 2, 3)]
    result = model.predict(pd.DataFrame({"image": [png_bytes(image) for image in images]}))
    assert [decode(text).shape for text in result["mask"]] == [(1, 3), (2, 3), (3, 3)]
    assert [share["stone"] for share in result["shares"]] == [1.0, 0.0, 1.0]


def test_path_is_refused_by_a_server_and_read_in_python(
    saved: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes())
    with pytest.raises(MlflowException, match="row 0: column path is refused; send the bytes"):
        answer(saved["binary"], request({"path": str(path)}))
    # No value of the request itself can allow it.
    body = {"dataframe_records": [{"path": str(path)}], "params": {"allow_paths": True}}
    with pytest.raises(MlflowException, match="column path is refused"):
        answer(saved["binary"], json.dumps(body))
    model = mlflow.pyfunc.load_model(str(saved["binary"]), model_config={"allow_paths": True})
    result = model.predict(pd.DataFrame({"path": [str(path)]}))
    assert (decode(result["mask"][0]) == MASK * 255).all()
    with pytest.raises(MlflowException, match=r"row 0: .*absent\.png"):
        model.predict(pd.DataFrame({"path": [str(tmp_path / "absent.png")]}))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"image": "AAAA"}, "row 0: not an image"),
        ({"image": ""}, "row 0: no image; give the bytes"),
        ({"image": base64.b64encode(png_bytes()[:40]).decode()}, "row 0: not an image"),
        ({"picture": "AAAA"}, "image"),
        ({}, "image"),
        ({"image": 7}, "image"),
        ({"image": None}, "image"),
        ({"image": "../../etc/passwd"}, "row 0: "),
        ({"image": "äöü"}, "row 0: "),
    ],
)
def test_what_is_no_image_is_one_clear_error(
    saved: dict[str, Path], cells: dict[str, Any], message: str
) -> None:
    with pytest.raises(MlflowException, match=message) as error:
        answer(saved["binary"], request(cells))
    assert error.value.get_http_status_code() == 400


def test_csv_that_is_not_base64_is_one_clear_error(saved: dict[str, Path]) -> None:
    with pytest.raises(MlflowException, match="row 0: column image is not base64"):
        answer(saved["binary"], "image\n/etc/passwd?\n", "text/csv")


def test_hash_of_a_bundle_ignores_its_time_alone(tmp_path: Path) -> None:
    first = write_bundle(tmp_path / "a")
    later = write_bundle(tmp_path / "b", created="2027-01-01T00:00:00.000+00:00")
    other = write_bundle(tmp_path / "c", trial="confirm/3")
    assert bundle_sha256(first) == bundle_sha256(later) != bundle_sha256(other)


def spoil(bundle: Path, how: str) -> None:
    """Damage a bundle in the named way."""
    spec = json.loads((bundle / "model.json").read_text())
    if how == "edited":
        (bundle / "model.onnx").write_text("0.1")
    elif how == "missing":
        (bundle / "model.onnx").unlink()
    elif how == "linked":
        (bundle / "model.onnx").rename(bundle.parent / "outside")
        (bundle / "model.onnx").symlink_to(bundle.parent / "outside")
    elif how == "linked folder":
        (bundle.parent / "outside").mkdir()
        (bundle.parent / "outside" / "a").write_text("0.5")
        (bundle / "samples").symlink_to(bundle.parent / "outside")
        spec["files"]["samples/a"] = "0" * 64
    elif how == "torn":
        (bundle / "model.json").write_text("{")
        return
    elif how == "huge":
        (bundle / "model.json").write_text(" " * (2 << 20))
        return
    elif how == "format":
        spec["format"] = 2
    elif how == "no files":
        del spec["files"]
    else:
        spec["files"][how] = "0" * 64
    (bundle / "model.json").write_text(json.dumps(spec))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("edited", "model.onnx: its hash differs"),
        ("missing", "model.onnx: not a regular file"),
        ("linked", "model.onnx: not a regular file"),
        ("linked folder", "not a regular file"),
        ("torn", "not JSON"),
        ("huge", "larger than"),
        ("format", "not a bundle of format 1"),
        ("no files", "lists no files"),
        ("../outside", "leaves the folder"),
        ("/etc/passwd", "leaves the folder"),
        ("a\\b", "leaves the folder"),
        ("", "leaves the folder"),
    ],
)
def test_damaged_bundle_is_refused(tmp_path: Path, how: str, message: str) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    spoil(bundle, how)
    with pytest.raises(TrackingError, match=message):
        bundle_sha256(bundle)


@pytest.mark.parametrize(
    "line", ["-r other.txt", "--index-url http://x", "a @ http://x/a.whl", "./wheel", "a; b"]
)
def test_requirement_that_is_no_package_is_refused(tmp_path: Path, line: str) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    (bundle / "requirements.txt").write_text(f"numpy==2.0\n{line}\n")
    with pytest.raises(TrackingError, match="not a package with its version"):  # noqa: SIM117
        with write_bundle_model(bundle, tmp_path / "outbox"):
            pass
    assert not (tmp_path / "outbox").exists()
