"""A bundle behind the page: equal to the study, and hostile input until it is checked."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.errors import DataError, UserError
from harness.data.files.encode import encode_png
from harness.deploy.app.bundle_models import BundleModels, read_description
from harness.deploy.predictor import Predictor
from tests.deploy.app.serving import running_app
from tests.deploy.networks import NetworkStudy

GOOD: dict[str, Any] = {
    "format": 1,
    "study": "net",
    "trial": "0",
    "task": "binary",
    "classes": [{"name": "background"}, {"name": "polyp"}],
    "decision": {"task": "binary", "classes": [{"threshold": 0.4}]},
    "input": {"height": 64, "width": 64, "channels": 3, "range": [0, 255]},
    "model": {"file": "model.onnx", "format": "onnx"},
}


def write(folder: Path, **changes: Any) -> Path:
    (folder / "model.json").write_text(json.dumps(GOOD | changes))
    return folder


def test_a_description_is_read(tmp_path: Path) -> None:
    description = read_description(write(tmp_path, unknown=1))
    assert description.data.classes == ("background", "polyp")
    assert description.data.range == (0.0, 255.0)
    assert description.decision.classes[0].threshold == 0.4


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format": 2}, "format"),
        ({"task": "regression"}, "task"),
        ({"classes": []}, "classes"),
        ({"classes": [{"name": "a"}, {"name": "<script>"}]}, r"model\.json: classes: "),
        ({"decision": {"task": "multiclass", "classes": [{}]}}, "other classes"),
        ({"decision": {"task": "binary", "classes": [{}, {}]}}, "other classes"),
        ({"decision": {"task": "binary", "classes": [{"threshold": 2.0}]}}, "threshold"),
        ({"input": {**GOOD["input"], "height": 10**9}}, "input.height"),
        ({"input": {**GOOD["input"], "range": [1, 0]}}, "range"),
        ({"model": {"file": "model.pt2", "format": "torch"}}, "model.format"),
        ({"study": "x" * 1000}, "study"),
    ],
)
def test_a_wrong_description_is_one_sentence(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        read_description(write(tmp_path, **changes))
    assert "\n" not in str(caught.value) and "export the bundle again" in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_text_that_is_no_description_is_one_sentence(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "model.json").write_bytes(text)
    with pytest.raises(UserError, match="export the bundle again"):
        read_description(tmp_path)


def test_other_folders_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model\.json; name a folder of harness export"):
        read_description(tmp_path)
    (tmp_path / "model.json").write_bytes(b" " * 2_000_000)
    with pytest.raises(UserError, match="too large"):
        read_description(tmp_path)


@pytest.mark.slow
def test_the_page_decides_as_the_study(exported: tuple[NetworkStudy, Any]) -> None:
    study, bundle = exported
    models = BundleModels(bundle.folder)
    image = study.image((45, 70), seed=4)
    with running_app(models) as app:
        meta, arrays = app.request("POST", "/api/predict?model=bundle", encode_png(image)).frame
    expected = Predictor(study.deployment).predict([image])[0]
    assert meta["model"]["task"] == study.task
    if study.task == "multiclass":
        assert (arrays["cleaned"] == expected.mask).mean() > 0.9999
    else:
        p = arrays["planes"] / meta["scale"]
        assert np.abs(p - expected.probabilities).max() < 1e-4
    assert "parity" in dict(models.numbers)


@pytest.mark.slow
def test_the_bundles_own_program_is_not_run(
    binary_bundle: tuple[NetworkStudy, Path], tmp_path: Path
) -> None:
    study, folder = binary_bundle
    copy = tmp_path / "bundle"
    shutil.copytree(folder, copy)
    for name in ("predict.py", "image_files.py"):
        (copy / name).write_text("raise SystemExit('the program of the bundle was run')")
    network = BundleModels(copy).load("bundle")
    image = study.image((20, 30))
    assert network.predict(network.read(encode_png(image))).mask.shape == (20, 30)
    with pytest.raises(DataError, match="not a JPEG"):
        network.read(b"no image")


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(b"no network"),
        lambda path: path.unlink(),
    ],
    ids=["torn", "other", "absent"],
)
def test_a_damaged_network_is_one_sentence(
    binary_bundle: tuple[NetworkStudy, Path], tmp_path: Path, damage: Callable[[Path], Any]
) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(binary_bundle[1], copy)
    damage(copy / "model.onnx")
    with pytest.raises(UserError, match=r"model\.onnx is missing or damaged") as caught:
        BundleModels(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_network_that_is_none_is_one_sentence(
    binary_bundle: tuple[NetworkStudy, Path], tmp_path: Path
) -> None:
    import hashlib

    copy = tmp_path / "bundle"
    shutil.copytree(binary_bundle[1], copy)
    (copy / "model.onnx").write_bytes(b"no network")
    spec = json.loads((copy / "model.json").read_text())
    spec["files"]["model.onnx"] = hashlib.sha256(b"no network").hexdigest()
    (copy / "model.json").write_text(json.dumps(spec))
    with pytest.raises(UserError) as caught:
        BundleModels(copy)
    assert "\n" not in str(caught.value)
