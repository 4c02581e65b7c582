"""Smaller graphs: types, sizes, results near those of fp32, and the refusal of a bad one."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from harness.core import files
from harness.core.errors import DataError, UserError
from harness.data.files.image_io import read_image
from harness.data.splits.splits import read_split
from harness.deploy.export.parity import ParityResult
from harness.deploy.export.quantize import (
    check_loss,
    check_precision,
    read_calibration_inputs,
    reduce_precision,
)

Inputs = dict[str, NDArray[np.float32]]


class TinyNetwork(nn.Module):
    """Normalisation of 16-bit values, two layers, and a sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 1, 1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        normal = ((image / 65535).clamp(0, 1) - 0.45) / 0.22
        logits = self.last(self.first(normal).relu())
        return logits, logits.sigmoid()


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "graph" / "model.onnx"
    path.parent.mkdir()
    torch.onnx.export(
        TinyNetwork().eval(),
        (torch.rand(2, 3, 16, 16),),
        path,
        dynamo=True,
        verbose=False,
        opset_version=20,
        input_names=["image"],
        output_names=["logits", "probabilities"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    return path


def images(n: int = 8) -> list[Inputs]:
    rng = np.random.default_rng(0)
    return [{"image": rng.random((1, 3, 16, 16), np.float32) * 65535} for _ in range(n)]


def run(path: Path, inputs: Inputs) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], inputs)[0])


def io_types(path: Path) -> set[int]:
    model = onnx.load(path)
    return {e.type.tensor_type.elem_type for e in (*model.graph.input, *model.graph.output)}


def weight_types(path: Path) -> list[int]:
    """Types of the arrays of at least four numbers in a graph."""
    initializers = onnx.load(path).graph.initializer
    return [array.data_type for array in initializers if np.prod(array.dims) >= 4]


def test_fp16_keeps_values_of_16_bits_and_fp32_at_both_ends(graph: Path) -> None:
    bright: Inputs = {"image": np.full((1, 3, 16, 16), 65535, np.float32)}
    expected = [run(graph, inputs) for inputs in (bright, *images())]
    reduce_precision(graph, "fp16", iter(()))
    assert io_types(graph) == {onnx.TensorProto.FLOAT}
    assert set(weight_types(graph)) == {onnx.TensorProto.FLOAT16}
    for inputs, logits in zip((bright, *images()), expected, strict=True):
        half = run(graph, inputs)
        assert np.isfinite(half).all()  # 65535 is above the largest 16-bit float, 65504
        np.testing.assert_allclose(half, logits, atol=5e-3)


def test_int8_is_near_fp32_and_keeps_the_last_layer(graph: Path) -> None:
    expected = [run(graph, inputs) for inputs in images()]
    reduce_precision(graph, "int8", iter(images()))
    assert io_types(graph) == {onnx.TensorProto.FLOAT}
    model = onnx.load(graph)
    producers = {name: node for node in model.graph.node for name in node.output}
    (last,) = [node for node in model.graph.node if "logits" in node.output]
    assert last.op_type == "Conv"
    weights = last.input[1]
    assert weights not in producers  # no DequantizeLinear before it
    assert onnx.TensorProto.INT8 in weight_types(graph)
    values = np.concatenate([run(graph, inputs).ravel() for inputs in images()])
    reference = np.concatenate([logits.ravel() for logits in expected])
    assert np.abs(values - reference).max() < 0.1 * np.ptp(reference)
    assert np.abs(values - reference).max() > 0  # it is another computation


def test_weights_of_int8_have_seven_bits(graph: Path) -> None:
    """Two products of 7 and 8 bits fit into 16: no processor saturates when it adds them."""
    reduce_precision(graph, "int8", iter(images()))
    arrays = [onnx.numpy_helper.to_array(a) for a in onnx.load(graph).graph.initializer]
    weights = [array for array in arrays if array.dtype == np.int8 and array.ndim == 4]
    assert weights
    assert max(int(np.abs(array.astype(int)).max()) for array in weights) <= 64


def test_the_same_calibration_gives_the_same_file(graph: Path, tmp_path: Path) -> None:
    second = shutil.copytree(graph.parent, tmp_path / "second") / graph.name
    for path in (graph, second):
        reduce_precision(path, "int8", iter(images()))
    assert files.file_sha256(graph) == files.file_sha256(second)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_weights_of_their_own_file_move_into_the_graph(graph: Path, precision: Any) -> None:
    assert [path.name for path in sorted(graph.parent.iterdir())] == [
        "model.onnx",
        "model.onnx.data",
    ]
    reduce_precision(graph, precision, iter(images()))
    assert [path.name for path in graph.parent.iterdir()] == ["model.onnx"]
    assert np.isfinite(run(graph, images(1)[0])).all()


def test_fp32_is_left_alone(graph: Path) -> None:
    digest = files.file_sha256(graph)
    reduce_precision(graph, "fp32", iter(()))
    assert files.file_sha256(graph) == digest


def test_a_graph_that_cannot_be_converted_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(UserError, match=r"cannot be converted to fp16 .*; export it in fp32"):
        reduce_precision(path, "fp16", iter(()))


def parity(ddice: float | None) -> ParityResult:
    return ParityResult("validation", 5, 0.9, 0.3, ddice, ddice)


@pytest.mark.parametrize(("ddice", "tolerance"), [(-0.01, 1.0), (0.02, 0.0), (0.0, 0.0)])
def test_a_loss_within_the_tolerance_passes(ddice: float, tolerance: float) -> None:
    check_loss(parity(ddice), "int8", tolerance)


@pytest.mark.parametrize(("ddice", "loss"), [(-0.0101, "1.01"), (float("nan"), "nan")])
def test_a_larger_loss_is_refused_with_its_size(ddice: float, loss: str) -> None:
    with pytest.raises(UserError, match=f"--int8 loses {loss} points of Dice, more than .* 1 "):
        check_loss(parity(ddice), "int8", 1.0)


def test_a_loss_that_cannot_be_measured_is_refused() -> None:
    with pytest.raises(UserError, match="validation images, which are missing"):
        check_loss(parity(None), "fp16", 100.0)


def test_other_formats_and_tolerances_are_refused() -> None:
    with pytest.raises(UserError, match="only onnx can be exported in int8"):
        check_precision("int8", "openvino", 1.0)
    for tolerance in (-0.1, 101.0, float("nan")):
        with pytest.raises(UserError, match="must be 0 to 100 points of Dice"):
            check_precision("fp16", "onnx", tolerance)
    check_precision("fp32", "torch", 1.0)


def test_calibration_reads_training_images_as_the_runner_fits_them(
    export_task: Callable[[Any], Any],
) -> None:
    study, _ = export_task("multilabel")  # padded, normalised per image
    (inputs,) = read_calibration_inputs(study.deployment)
    (row,) = [row for row in read_split(study.paths.split_csv) if row.role == "train"]
    image = read_image(study.root / "data" / "shapes" / row.image, 1e8)
    assert image.shape == (160, 300, 3)
    assert inputs["image"].shape == (1, 3, 64, 64)
    assert inputs["content"].sum() == 34 * 64  # 160 * 64 / 300 rows of content
    assert inputs["image"][0, :, 34:].max() == 0
    np.testing.assert_allclose(
        inputs["image"][0, :, :34].mean(axis=(1, 2)), image.mean(axis=(0, 1)), atol=1
    )


def test_calibration_draws_with_the_seed(export_task: Callable[[Any], Any]) -> None:
    study, _ = export_task("binary")
    first, second = (list(read_calibration_inputs(study.deployment, 1)) for _ in range(2))
    np.testing.assert_array_equal(first[0]["image"], second[0]["image"])


def test_calibration_refuses_a_changed_image(
    export_task: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, _ = export_task("binary")
    monkeypatch.setattr(
        "harness.deploy.export.quantize.read_split",
        lambda path: [
            row.__class__(**(vars(row) | {"image_sha256": "0" * 64})) for row in read_split(path)
        ],
    )
    with pytest.raises(DataError, match="changed since the study began"):
        list(read_calibration_inputs(study.deployment))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_bundles_of_lower_precision_run_and_show_their_loss(
    export_task: Callable[[Any], Any], tmp_path: Path, precision: Any
) -> None:
    from harness.config.progress import LineProgress
    from harness.deploy.export.bundle import export_bundle

    study, full = export_task("multiclass")  # 16 bits
    bundle = export_bundle(
        study.deployment, tmp_path / "b", precision=precision, tolerance=20, progress=LineProgress()
    )
    share = {"fp16": 0.55, "int8": 0.35}[precision]
    sizes = [(folder / "model.onnx").stat().st_size for folder in (bundle.folder, full.folder)]
    assert sizes[0] < share * sizes[1]
    assert bundle.parity.ddice is not None
    card = (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"onnx, {precision}" in card
    assert f"| mean Dice of the bundle minus that of harness | {bundle.parity.ddice:+.2g} |" in card


@pytest.mark.slow
def test_a_broken_quantisation_is_not_written(
    export_task: Callable[[Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bias that was lost in the conversion, so that no pixel is predicted any more."""
    from harness.config.progress import LineProgress
    from harness.deploy.export import bundle as bundle_module

    study, _ = export_task("binary")

    def break_bias(path: Path, precision: Any, calibration: Iterator[Inputs]) -> None:
        reduce_precision(path, precision, calibration)
        model = onnx.load(path)
        (last,) = [node for node in model.graph.node if "logits" in node.output]
        (bias,) = [array for array in model.graph.initializer if array.name == last.input[2]]
        bias.CopyFrom(onnx.numpy_helper.from_array(np.full(1, -1e4, np.float32), bias.name))
        path.write_bytes(model.SerializeToString())

    monkeypatch.setattr(bundle_module, "reduce_precision", break_bias)
    with pytest.raises(UserError, match="points of Dice, more than --tolerance 1 allows"):
        bundle_module.export_bundle(
            study.deployment, tmp_path / "b", precision="int8", progress=LineProgress()
        )
    assert not (tmp_path / "b").exists()
