"""Smaller ONNX graphs: floats of 16 bits, or integers of 8 bits calibrated on training images.

The steps before the first layer keep 32 bits: stored values up to 65535 are above the range of
16-bit floats, and normalised images need more steps than 256. The steps after the last layer do,
too, as a threshold is compared with their result.
"""

import hashlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from harness.config.study import DataConfig
from harness.core.errors import DataError, UserError
from harness.data.datasets.sources import open_source
from harness.data.files.decode import load_image_file
from harness.data.files.image_io import decode_image
from harness.data.files.resize import Box, content_box, fit_image
from harness.data.splits.split_file import read_split
from harness.data.windows.tiles import tile_geometry
from harness.data.windows.window import DecodedImages, Window
from harness.deploy.deployment import Deployment
from harness.deploy.export.formats import ExportFormat
from harness.deploy.export.parity import ParityResult

Precision = Literal["fp32", "fp16", "int8"]
GraphInputs = dict[str, NDArray[np.float32]]

DEFAULT_TOLERANCE: Final = 1.0  # points of Dice
CALIBRATION_IMAGES: Final = 64
_LAYERS: Final = ("Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum")
# Layers with weights, and operations that pass on values between them, so that these stay integers.
_QUANTIZED: Final = ("Conv", "ConvTranspose", "MatMul", "Gemm", "Relu", "MaxPool", "Resize")


class CalibrationReader:
    """Inputs of the graph, one image at a time, in the form that onnxruntime asks for."""

    def __init__(self, inputs: Iterator[GraphInputs]) -> None:
        self._inputs = inputs

    def get_next(self) -> GraphInputs | None:
        """The inputs of the next image; None after the last one."""
        return next(self._inputs, None)


def check_precision(precision: Precision, format_name: ExportFormat, tolerance: float) -> None:
    """Check that a format has this precision, before anything is loaded.

    Raises:
        UserError: only ONNX has fp16 and int8; the tolerance is no number of points.
    """
    if precision != "fp32" and format_name != "onnx":
        raise UserError(
            f"--{precision} with --format {format_name}: only onnx can be exported in {precision}"
        )
    if not 0 <= tolerance <= 100:
        raise UserError(f"--tolerance {tolerance:g}: must be 0 to 100 points of Dice")


def read_calibration_inputs(
    deployment: Deployment, n: int = CALIBRATION_IMAGES
) -> Iterator[GraphInputs]:
    """Fitted training images, drawn with the seed of the study, as inputs of the graph.

    Raises:
        DataError: an image is missing or has changed.
    """
    context, (weights,) = deployment.context, deployment.weights
    data, config = context.config.data, weights.config.data
    source = open_source(context.data_root)
    rows = [row for row in read_split(weights.split_csv) if row.role == "train"]
    rng = np.random.default_rng(context.config.seed)
    for index in sorted(rng.choice(len(rows), min(n, len(rows)), replace=False).tolist()):
        file = load_image_file(source, rows[index].image, context.config.limits.max_pixels)
        if hashlib.sha256(file.data).hexdigest() != rows[index].image_sha256:
            raise DataError(f"{file.path}: changed since the study began; restore the file")
        image = decode_image(file, data.channels, data.range)
        fitted, (_, _, height, width) = _network_input(image, config)
        channels_first = fitted.astype(np.float32).transpose(2, 0, 1)
        inputs: GraphInputs = {"image": np.ascontiguousarray(channels_first[None])}
        if config.normalize == "per_image" and config.whole_fit != "stretch":
            inputs["content"] = np.zeros((1, 1, *config.height_width), np.float32)
            inputs["content"][..., :height, :width] = 1
        yield inputs


def _network_input(image: NDArray[Any], config: DataConfig) -> tuple[NDArray[Any], Box]:
    """Input of the network, of an image or the window in its middle, and the box of its content."""
    tiles, shape = tile_geometry(config.tile), (int(image.shape[0]), int(image.shape[1]))
    if tiles is None:
        box = content_box(shape, config.height_width, config.fit)
        return fit_image(image, config.height_width, config.fit), box
    height, width = min(tiles.side, shape[0]), min(tiles.side, shape[1])
    window = Window((shape[0] - height) // 2, (shape[1] - width) // 2, height, width)
    return tiles.read_image(DecodedImages([image], []), 0, window)


def reduce_precision(path: Path, precision: Precision, calibration: Iterator[GraphInputs]) -> None:
    """Replace the ONNX file by one of another precision; inputs and outputs stay fp32.

    Args:
        calibration: inputs of the graph whose ranges set the scales of int8; not read for fp16.

    Raises:
        UserError: onnxruntime cannot convert the graph.
        DataError: a calibration image is missing or has changed.
    """
    if precision == "fp32":
        return
    try:
        with _quiet_conversion():
            if precision == "fp16":
                _convert_to_fp16(path)
            else:
                _quantize_to_int8(path, CalibrationReader(calibration))
        # Weights of a large graph were in a file of their own; they are in the graph now.
        path.with_name(f"{path.name}.data").unlink(missing_ok=True)
    except (OSError, MemoryError, DataError):
        raise
    # Converters raise anything that a graph can: the user gets the reason in one line.
    except Exception as error:
        reason = (" ".join(str(error).split()) or type(error).__name__)[:300]
        raise UserError(
            f"the graph cannot be converted to {precision} ({type(error).__name__}: {reason}); "
            "export it in fp32"
        ) from error


def check_loss(parity: ParityResult, precision: Precision, tolerance: float) -> None:
    """Check that a bundle of reduced precision loses no more than `tolerance` points of Dice.

    Raises:
        UserError: it loses more, or there are no validation images to measure the loss on.
    """
    if parity.ddice is None:
        raise UserError(
            f"--{precision}: the loss in Dice is measured on validation images, which are missing; "
            "restore them or export in fp32"
        )
    loss = -100 * parity.ddice
    if not loss <= tolerance:
        raise UserError(
            f"--{precision} loses {loss:.2f} points of Dice, more than --tolerance {tolerance:g} "
            f"allows, so no bundle is written ({parity.sentence}); raise --tolerance or export "
            "in fp32"
        )


def _convert_to_fp16(path: Path) -> None:
    import onnx  # noqa: PLC0415  # optional packages
    from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: PLC0415

    model = onnx.load(path)
    _name_nodes(model.graph)
    excluded = [*_nodes_before_layers(model.graph), *_nodes_after_layers(model.graph)]
    converted = convert_float_to_float16(model, keep_io_types=True, node_block_list=excluded)
    _skip_detours(converted.graph, onnx.TensorProto.FLOAT16)
    onnx.checker.check_model(converted, full_check=True)
    path.write_bytes(converted.SerializeToString(deterministic=True))


def _quantize_to_int8(path: Path, reader: CalibrationReader) -> None:
    import onnx  # noqa: PLC0415  # optional packages
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static  # noqa: PLC0415

    model = onnx.load(path)
    _name_nodes(model.graph)
    last = _last_layers(model.graph)
    excluded = [*_nodes_before_layers(model.graph), *_nodes_after_layers(model.graph), *last]
    quantized = path.with_suffix(".int8.onnx")
    try:
        quantize_static(
            model,
            quantized,
            reader,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # Weights of 7 bits: with 8, processors without VNNI saturate when they add products,
            # so that masks would depend on the machine.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=list(_QUANTIZED),
            nodes_to_exclude=excluded,
        )
        result = onnx.load(quantized)
    finally:
        quantized.unlink(missing_ok=True)
    onnx.checker.check_model(result, full_check=True)
    path.write_bytes(result.SerializeToString(deterministic=True))


def _skip_detours(graph: Any, half: int) -> None:
    """Remove casts to 16 bits whose result is cast to 32 bits at once, and sort the nodes.

    The converter puts such a pair between each input of the graph and the nodes that keep 32 bits:
    it would turn stored values above 65504 into infinity.
    """
    to_half = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "Cast" and node.attribute[0].i == half
    }
    for node in graph.node:
        if node.op_type == "Cast" and node.attribute[0].i != half:
            node.input[0] = to_half.get(node.input[0], node.input[0])
    used = {name for node in graph.node for name in node.input}
    used |= {entry.name for entry in graph.output}
    nodes = [node for node in graph.node if used & set(node.output)]
    producers = {name: index for index, node in enumerate(nodes) for name in node.output}
    order = TopologicalSorter(
        {
            index: [producers[name] for name in node.input if name in producers]
            for index, node in enumerate(nodes)
        }
    )
    sorted_nodes = [nodes[index] for index in order.static_order()]
    del graph.node[:]
    graph.node.extend(sorted_nodes)
    # Types of values that the converter has left wrong; they follow from the nodes.
    del graph.value_info[:]


def _name_nodes(graph: Any) -> None:
    """Give each node a name of its own, by which the converters leave it out."""
    for index, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{index}"


def _nodes_before_layers(graph: Any) -> list[str]:
    """Names of the nodes from the inputs up to the first layers: the normalisation."""
    reached = {entry.name for entry in graph.input}
    names = []
    for node in graph.node:  # in topological order
        if node.op_type not in _LAYERS and reached & set(node.input):
            names.append(node.name)
            reached |= set(node.output)
    return names


def _last_layers(graph: Any) -> list[str]:
    """Names of the last layers before the outputs; logits of 256 values would move thresholds."""
    return _walk_back(graph)[0]


def _nodes_after_layers(graph: Any) -> list[str]:
    """Names of the nodes from the last layers to the outputs: resizing, sigmoid or softmax."""
    return _walk_back(graph)[1]


def _walk_back(graph: Any) -> tuple[list[str], list[str]]:
    needed = {entry.name for entry in graph.output}
    layers, others = [], []
    for node in reversed(graph.node):
        if needed & set(node.output):
            if node.op_type in _LAYERS:
                layers.append(node.name)
            else:
                others.append(node.name)
                needed |= set(node.input)
    return layers, others


@contextmanager
def _quiet_conversion() -> Iterator[None]:
    """Silence advice on pre-processing and warnings of weights that 16 bits round to 0."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
