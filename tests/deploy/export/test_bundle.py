"""Bundles: masks as those of the study, contents, and refusals before anything is written."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from harness.api import export as export_api
from harness.cli import main
from harness.config.progress import LineProgress
from harness.core import files
from harness.core.errors import UserError
from harness.deploy.deployment import Deployment
from harness.deploy.export import bundle as bundle_module
from harness.deploy.export import formats
from harness.deploy.export.bundle import ExportedBundle, export_bundle
from harness.deploy.export.parity import ParityResult
from harness.deploy.predictor import Predictor
from harness.deploy.runner.predict import Model
from tests.deploy.networks import SIZES, NetworkStudy

Exported = tuple[NetworkStudy, ExportedBundle]


@pytest.mark.parametrize("size", SIZES)
def test_runner_and_study_agree_at_any_size(exported: Exported, size: tuple[int, int]) -> None:
    study, bundle = exported
    image = study.image(size, seed=7)
    (own,) = Predictor(study.deployment).predict([image])
    mask, p = Model(bundle.folder).predict(image)
    assert mask.shape == own.mask.shape
    assert mask.dtype == np.uint8
    assert (mask == own.mask).mean() >= 0.9999
    assert np.abs(p - own.probabilities).max() < 1e-3
    assert p.dtype == np.float32


def test_flips_agree(exported: Exported) -> None:
    study, bundle = exported
    image, opened = study.image((90, 61), seed=8), study.deployment
    flipping = Deployment(opened.context, opened.weights, True, opened.rule, opened.reason)
    (own,) = Predictor(flipping).predict([image])
    mask, p = Model(bundle.folder).predict(image, tta=True)
    assert (mask == own.mask).mean() >= 0.9999
    assert np.abs(p - own.probabilities).max() < 1e-3
    assert np.abs(p - Model(bundle.folder).probabilities(image)).max() > 1e-3


def test_program_writes_the_masks_of_the_study(exported: Exported, tmp_path: Path) -> None:
    study, bundle = exported
    image = study.image((70, 50), seed=9)
    (tmp_path / "in" / "deep").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "in" / "deep" / "a.png"), image[..., ::-1])
    (tmp_path / "in" / "b.png").write_bytes(b"no image")
    (tmp_path / "in" / "notes.txt").write_bytes(b"no image either")
    process = run_program(bundle.folder, tmp_path / "in", "--out", tmp_path / "out")
    assert process.returncode == 1
    assert re.fullmatch(r".*b\.png: not a JPEG, PNG, TIFF or \.npy file.*\n", process.stderr)
    (own,) = Predictor(study.deployment).predict([image])
    suffixes = ["-round", "-bright"] if study.task == "multilabel" else [""]
    written = [
        cv2.imread(str(tmp_path / "out" / "deep" / f"a{s}.png"), cv2.IMREAD_UNCHANGED)
        for s in suffixes
    ]
    expected = own.mask if own.mask.ndim == 3 else own.mask[..., None]
    scale = 1 if study.task == "multiclass" else 255
    assert (np.dstack(written) == scale * expected).mean() >= 0.9999
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.*")) == [
        f"a{s}.png" for s in sorted(suffixes)
    ]


def run_program(folder: Path, *arguments: Any) -> subprocess.CompletedProcess[str]:
    program = str(folder / "predict.py")
    return subprocess.run(
        [sys.executable, "-I", program, *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_description_names_everything_that_a_runner_needs(exported: Exported) -> None:
    study, bundle = exported
    spec = json.loads((bundle.folder / "model.json").read_text())
    config = study.deployment.weights[0].config
    assert (spec["format"], spec["study"], spec["trial"], spec["task"]) == (
        1, "net", "0", study.task,
    )  # fmt: skip
    assert [entry["name"] for entry in spec["classes"]] == list(study.data.classes)
    assert all(re.fullmatch("#[0-9a-f]{6}", entry["colour"]) for entry in spec["classes"])
    assert spec["decision"] == study.deployment.rule.rule.model_dump(mode="json")
    assert spec["input"] == {
        "height": 64, "width": 64, "channels": 3, "bits": study.bits,
        "range": list(study.data.range), "fit": config.data.fit,
        "normalize": config.data.normalize, "max_pixels": 1e8,
        "per_image_content": study.task == "multilabel",
    }  # fmt: skip
    assert spec["parity"] == bundle.parity.as_dict()
    assert bundle.parity.equal_pixels >= 0.9999
    assert bundle.parity.n_images == 2
    assert bundle.parity.images == "validation"


def test_hashes_are_those_of_all_other_files(exported: Exported) -> None:
    folder = exported[1].folder
    spec = json.loads((folder / "model.json").read_text())
    names = {path.name for path in folder.iterdir()} - {"model.json"}
    assert names >= {"model.onnx", "predict.py", "image_files.py", "requirements.txt", "README.md"}
    assert spec["files"] == {name: files.file_sha256(folder / name) for name in sorted(names)}
    assert spec["model"]["sha256"] == spec["files"]["model.onnx"]


def test_graph_has_a_free_batch_and_no_trace_of_this_machine(exported: Exported) -> None:
    study, bundle = exported
    data = (bundle.folder / "model.onnx").read_bytes()
    model = onnx.load_from_string(data)
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    n_outputs = study.data.n_outputs
    expected = {name: ["batch", n_outputs, 64, 64] for name in ("logits", "probabilities")}
    expected["image"] = ["batch", 3, 64, 64]
    if study.task == "multilabel":
        expected["content"] = ["batch", 1, 64, 64]
    assert shapes == expected
    assert b"site-packages" not in data
    assert str(Path(__file__).parents[3]).encode() not in data
    assert not any(node.metadata_props for node in model.graph.node)


def test_probabilities_of_the_graph_are_those_of_its_logits(exported: Exported) -> None:
    study, bundle = exported
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(bundle.folder / "model.onnx")
    shape = (3, 3, 64, 64)
    feed = {"image": np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)}
    if study.task == "multilabel":
        feed["content"] = np.ones((3, 1, 64, 64), np.float32)
    logits, p = session.run(["logits", "probabilities"], feed)
    powers = np.exp(logits.astype(np.float64))
    expected = powers / powers.sum(axis=1, keepdims=True)
    if study.task != "multiclass":
        expected = powers / (1 + powers)
    np.testing.assert_allclose(p, expected, atol=1e-5)


@pytest.mark.slow
def test_second_export_has_the_same_bytes(
    binary_bundle: tuple[NetworkStudy, Path], tmp_path: Path
) -> None:
    study, folder = binary_bundle
    export_bundle(study.deployment, tmp_path / "b", parity_images=1, progress=LineProgress())
    same = ("model.onnx", "predict.py", "image_files.py", "requirements.txt", "README.md")
    for name in same:
        assert (tmp_path / "b" / name).read_bytes() == (folder / name).read_bytes(), name


def export(study: NetworkStudy, folder: Path, **options: Any) -> ExportedBundle:
    return export_bundle(study.deployment, folder, progress=LineProgress(), **options)


@pytest.mark.slow
def test_failed_parity_leaves_nothing_behind(
    binary_bundle: tuple[NetworkStudy, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, _ = binary_bundle

    def shifted(source: Any, folder: Path, format_name: Any, **options: Any) -> None:
        source.module.mean += 0.2
        formats.write_model(source, folder, format_name, **options)

    monkeypatch.setattr(bundle_module, "write_model", shifted)
    expected = (
        r"Unet with resnet18 as onnx disagrees with the study, so no bundle is written "
        r"\(2 validation images: \d+\.\d+ % of pixels equal, .*dDice [+-]"
    )
    with pytest.raises(UserError, match=expected):
        export(study, tmp_path / "out", parity_images=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_noise_replaces_missing_images(
    binary_bundle: tuple[NetworkStudy, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, _ = binary_bundle
    images = study.root / "data"
    hidden = images.rename(study.root / "hidden")
    try:
        parity = export(study, tmp_path / "out").parity
    finally:
        hidden.rename(images)
    assert (parity.images, parity.n_images, parity.ddice) == ("noise", 5, None)
    assert "noise" in capsys.readouterr().err


@pytest.mark.slow
def test_only_validation_images_are_opened(
    binary_bundle: tuple[NetworkStudy, Path], tmp_path: Path
) -> None:
    study, _ = binary_bundle
    test_image = study.root / "data" / "shapes" / "images" / "5.png"
    content = test_image.read_bytes()
    test_image.unlink()  # to open it would fail
    try:
        parity = export(study, tmp_path / "out", parity_images=100).parity
    finally:
        test_image.write_bytes(content)
    assert (parity.images, parity.n_images) == ("validation", 4)


def test_folder_in_use_is_refused(binary_bundle: tuple[NetworkStudy, Path], tmp_path: Path) -> None:
    study, folder = binary_bundle
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_text("x")
    other.mkdir()
    (other / "thesis.txt").write_text("x")
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    refusals = [
        (file, False, "is|a file; name a new folder"),
        (other, True, "is not empty and no bundle"),
        (copy, False, "holds a bundle; replace it with --force"),
    ]
    for target, force, message in refusals:
        with pytest.raises(UserError, match=message):
            export(study, target, force=force)
    (copy / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match=r"files that are not of the bundle \(thesis.txt\)"):
        export(study, copy, force=True)
    assert (copy / "thesis.txt").read_text() == "x"


@pytest.mark.slow
def test_force_replaces_a_bundle(binary_bundle: tuple[NetworkStudy, Path], tmp_path: Path) -> None:
    study, folder = binary_bundle
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("changed")
    export(study, tmp_path / "copy", force=True, parity_images=1)
    assert (tmp_path / "copy" / "README.md").read_text() == (folder / "README.md").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_missing_package_is_one_sentence_with_the_command(
    binary_bundle: tuple[NetworkStudy, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = formats.importlib.util.find_spec
    monkeypatch.setattr(
        formats.importlib.util,
        "find_spec",
        lambda name: None if name in ("onnxscript", "openvino") else find_spec(name),
    )
    expected = (
        r"^--format onnx needs onnxscript; install with: "
        r'pip install "segmentation-harness\[onnx\]"$'
    )
    with pytest.raises(UserError, match=expected):
        export(binary_bundle[0], tmp_path / "out")
    with pytest.raises(UserError, match=r"onnxscript and openvino; .*\[onnx,openvino\]"):
        export(binary_bundle[0], tmp_path / "out", format="openvino")


def test_ensemble_is_refused(binary_bundle: tuple[NetworkStudy, Path], tmp_path: Path) -> None:
    opened = binary_bundle[0].deployment
    several = Deployment(opened.context, opened.weights * 2, False, opened.rule, opened.reason)
    with pytest.raises(UserError, match="a bundle holds one network"):
        export_bundle(several, tmp_path / "out", progress=LineProgress())


def test_network_that_cannot_be_exported_is_named(
    binary_bundle: tuple[NetworkStudy, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no operator\nfor this")

    monkeypatch.setattr(formats.torch.onnx, "export", fail)
    expected = (
        r"^Unet with resnet18 cannot be exported as onnx \(RuntimeError: no operator for this\)$"
    )
    with pytest.raises(UserError, match=expected):
        export(binary_bundle[0], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("equal", "ddice", "passed"),
    [
        (0.9999, 1e-4, True),
        (0.99989, 0.0, False),
        (1.0, -1.1e-4, False),
        (1.0, None, True),
        (float("nan"), 0.0, False),
    ],
)
def test_limits_of_parity(equal: float, ddice: float | None, *, passed: bool) -> None:
    assert ParityResult("validation", 3, equal, 1e-6, ddice, ddice).passed is passed


def test_command_prints_parity_and_folder(
    binary_bundle: tuple[NetworkStudy, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study, folder = binary_bundle
    parity = ParityResult("validation", 4, 0.99995, 2e-6, 1e-5, -2e-5)
    received: dict[str, Any] = {}

    def write(deployment: Deployment, target: Path, **options: Any) -> ExportedBundle:
        received.update(options, trial=deployment.label, target=target)
        return ExportedBundle(target, parity)

    monkeypatch.setattr(export_api, "export_bundle", write)
    command = ["export", "--study", "net", "--workspace", str(study.root), "--trial", "0"]
    command += ["--out", str(tmp_path / "b"), "--device", "cpu", "--parity-images", "9"]
    with pytest.raises(SystemExit) as stop:
        main([*command, "--format", "torch", "--free-size", "--force"])
    assert stop.value.code == 0
    assert received.pop("progress") is not None
    assert received == {
        "trial": "0", "target": tmp_path / "b", "format": "torch", "parity_images": 9,
        "free_size": True, "force": True, "precision": "fp32", "tolerance": 1.0,
        "samples": None,
    }  # fmt: skip
    out = capsys.readouterr().out.splitlines()
    assert out == [
        "parity on 4 validation images: 99.9950 % of pixels equal, largest |dp| 2.0e-06, "
        "dDice +1.0e-05 (largest of an image -2.0e-05)",
        f"bundle: {tmp_path / 'b'}",
    ]
    with pytest.raises(SystemExit) as stop:
        main([*command[:-6], "--out", str(folder)])
    assert stop.value.code == 2
    assert "holds a bundle; replace it with --force" in capsys.readouterr().err


@pytest.mark.slow
def test_free_size_is_kept_where_other_sizes_agree(
    binary_bundle: tuple[NetworkStudy, Path], tmp_path: Path
) -> None:
    export(binary_bundle[0], tmp_path / "b", free_size=True, parity_images=1)
    assert Model(tmp_path / "b").spec["model"]["free_size"] is True
    graph = onnx.load(tmp_path / "b" / "model.onnx").graph
    assert [bool(d.dim_param) for d in graph.input[0].type.tensor_type.shape.dim] == [
        True, False, True, True,
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("format_name", ["onnx", "openvino"])
def test_free_size_is_refused_where_other_sizes_differ(format_name: Any, tmp_path: Path) -> None:
    study = NetworkStudy(tmp_path, params={"model.arch": "PSPNet"})
    expected = "^PSPNet with resnet18 as .* (disagrees|fails|gives|cannot).*"
    with pytest.raises(UserError, match=expected):
        export(study, tmp_path / "b", free_size=True, format=format_name)
    assert not (tmp_path / "b").exists()
