"""The standalone runner: what it imports, its rule for masks, and bundles that are not whole."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.config.decision_rule import ClassDecision, DecisionRule
from harness.data.files.decide import decide_mask
from harness.deploy.runner import image_files, predict
from harness.deploy.runner.predict import Model
from tests.data.make import picture, save

STANDARD = {
    *("argparse", "hashlib", "json", "re", "runpy", "struct", "sys", "zlib"),
    *("io", "pathlib", "typing", "importlib"),
}
LAZY = {"onnxruntime", "torch", "openvino"}


def imported(path: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(Path(path).read_text())))
    names = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    names |= {str(n.module) for n in nodes if isinstance(n, ast.ImportFrom)}
    calls = [n for n in nodes if isinstance(n, ast.Call) and ast.unparse(n.func) == "import_module"]
    names |= {ast.literal_eval(call.args[0]) for call in calls}
    return {name.split(".")[0] for name in names}


def test_runner_imports_numpy_opencv_and_a_runtime_alone() -> None:
    assert imported(predict.__file__) <= STANDARD | LAZY | {"numpy", "cv2"}
    assert imported(predict.__file__) >= LAZY
    assert imported(image_files.__file__) <= STANDARD | {"numpy", "cv2"}


def test_runner_is_short_enough_to_be_read() -> None:
    assert len(Path(predict.__file__).read_text().splitlines()) <= 150


STEPS: list[dict[str, Any]] = [
    {},
    {"threshold": 0.3},
    {"fill_holes": True},
    {"min_size": 6},
    {"largest_only": True},
    {"threshold": 0.6, "fill_holes": True, "min_size": 12},
    {"fill_holes": True, "min_size": 3, "largest_only": True},
]


def model_of(rule: DecisionRule) -> Model:
    """A model without a graph: its rule alone acts."""
    model = object.__new__(Model)
    model.task, model.rules = rule.task, rule.model_dump(mode="json")["classes"]
    return model


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
@pytest.mark.parametrize("density", [0.02, 0.4, 0.75, 0.0])
def test_masks_are_those_of_the_study(task: Any, density: float) -> None:
    rng = np.random.default_rng(3)
    n = 1 if task == "binary" else 3
    for k, _ in enumerate(STEPS):
        entries = tuple(
            ClassDecision(**{**STEPS[(k + j) % len(STEPS)]})
            if task != "multiclass"
            else ClassDecision(**{**STEPS[(k + j) % len(STEPS)], "threshold": None})
            for j in range(n)
        )
        rule = DecisionRule(task=task, classes=entries)
        p = (rng.random((n, 40, 31)) ** (0.3 if density > 0.5 else 2)).astype(np.float32)
        p[rng.random(p.shape) > density] *= 0.2
        np.testing.assert_array_equal(model_of(rule).decide(p), decide_mask(p, rule))


def test_threshold_of_a_call_replaces_that_of_the_rule() -> None:
    rule = DecisionRule(task="binary", classes=(ClassDecision(threshold=0.9),))
    p = np.array([[[0.2, 0.5, 0.95]]], np.float32)
    assert model_of(rule).decide(p).tolist() == [[0, 0, 1]]
    assert model_of(rule).decide(p, threshold=0.5).tolist() == [[0, 1, 1]]
    assert model_of(rule).decide(p, threshold=0.0).tolist() == [[1, 1, 1]]


def start(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", str(folder / "predict.py"), *arguments],
        capture_output=True, text=True, check=False, cwd=folder.parent,
    )  # fmt: skip


def torn(folder: Path) -> None:
    data = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(data[: len(data) // 2])


def changed_hash(folder: Path) -> None:
    edit(folder, lambda spec: spec["files"].update({"model.onnx": "0" * 64}))


def edit(folder: Path, change: Any) -> None:
    spec = json.loads((folder / "model.json").read_text())
    change(spec)
    (folder / "model.json").write_text(json.dumps(spec))


BROKEN: dict[str, tuple[Any, str]] = {
    "torn graph": (torn, "model.onnx is missing or damaged"),
    "no graph": (lambda folder: (folder / "model.onnx").unlink(), "model.onnx is missing"),
    "wrong hash": (changed_hash, "model.onnx is missing or damaged"),
    "no description": (lambda f: (f / "model.json").unlink(), "model.json cannot be used"),
    "no JSON": (lambda f: (f / "model.json").write_text("{"), "model.json cannot be used"),
    "a list": (lambda f: (f / "model.json").write_text("[]"), "model.json cannot be used"),
    "other format": (
        lambda folder: edit(folder, lambda spec: spec.update(format=2)),
        "format 2, but this program reads 1",
    ),
    "no size": (
        lambda folder: edit(folder, lambda spec: spec["input"].pop("height")),
        "model.json cannot be used",
    ),
    "path outside": (
        lambda folder: edit(
            folder,
            lambda spec: (
                spec["model"].update(file="../model.onnx"),
                spec["files"].update({"../model.onnx": "0" * 64}),
            ),
        ),
        "model.json cannot be used",
    ),
    "no file listed": (
        lambda folder: edit(folder, lambda spec: spec.update(files={})),
        "it lists no model file",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_bundle_is_one_sentence(case: str, any_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(any_bundle, folder)
    change, message = BROKEN[case]
    change(folder)
    image = save(tmp_path / "a.png", picture(1))
    process = start(folder, str(image), "--out", str(tmp_path / "out"))
    assert process.returncode == 1
    assert len(process.stderr.strip().splitlines()) == 1
    assert message in process.stderr
    assert "Traceback" not in process.stderr


def test_runner_needs_neither_this_package_nor_torch(any_bundle: Path, tmp_path: Path) -> None:
    blocked = (
        "import sys; sys.modules.update({name: None for name in ('harness', 'torch', 'onnx', "
        "'pydantic', 'tifffile', 'openvino')}); sys.path.insert(0, sys.argv[1]); import predict, "
        "numpy; model = predict.Model(sys.argv[1]); "
        "print(model.predict(numpy.zeros((20, 30, 3), numpy.uint8))[0].shape)"
    )
    process = subprocess.run(
        [sys.executable, "-I", "-B", "-c", blocked, str(any_bundle)],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert process.stdout.strip() == "(20, 30)"


def test_files_that_would_share_a_mask_are_named(any_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name in ("a.jpg", "a.png", "deep/a.png", ".hidden.png"):
        save(folder / name, picture(1))
    process = start(any_bundle, str(folder), "--out", str(folder / "out"))
    assert process.returncode == 1
    assert process.stderr == (
        f"{folder / 'a.png'}: another image has this name; its mask would be replaced\n"
    )
    written = {path.relative_to(folder / "out").as_posix() for path in folder.rglob("out/**/*.png")}
    assert written == {"a.png", "deep/a.png"}
    again = start(any_bundle, str(folder), "--out", str(folder / "out"))
    assert again.stderr == process.stderr  # its own masks are no images


def test_masks_beside_their_images_are_left_out(any_bundle: Path, tmp_path: Path) -> None:
    names = ("a.jpg", "a_mask.png", "b.PNG", "b-label.png", "face_mask.png")
    for name in names:
        save(tmp_path / "in" / name, picture(1))
    process = start(any_bundle, str(tmp_path / "in"), "--out", str(tmp_path / "out"))
    assert process.returncode == 0
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"a.png", "b.png", "face_mask.png"}
    start(any_bundle, str(tmp_path / "in" / "a_mask.png"), "--out", str(tmp_path / "out"))
    assert (tmp_path / "out" / "a_mask.png").is_file()


def test_masks_never_replace_images(any_bundle: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "in" / "a.png", picture(1))
    content = path.read_bytes()
    process = start(any_bundle, str(tmp_path / "in"), "--out", str(tmp_path / "in"))
    assert process.returncode == 2
    assert "no images to read, apart from those in --out" in process.stderr
    assert path.read_bytes() == content
