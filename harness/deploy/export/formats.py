"""Write the module of a network as ONNX, `torch.export` program or OpenVINO model."""

import importlib.util
import io
import logging
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch

from harness.core.errors import UserError
from harness.core.text import join_words
from harness.deploy.export.graph import INPUT_NAMES, OUTPUT_NAMES, GraphSource

ExportFormat = Literal["onnx", "torch", "openvino"]
OPSET: Final = 20
# A protocol buffer ends at 2 GB; larger weights go into a second file.
_MAX_ONNX_BYTES = 1_900_000_000


@dataclass(frozen=True)
class FormatEntry:
    """One format of a bundle.

    Attributes:
        file: name of the model in the bundle.
        packages: modules that export and parity need.
        extra: extra of this package that installs them; None: they are always installed.
        requirements: distributions that the runner needs, besides numpy and OpenCV.
    """

    file: str
    packages: tuple[str, ...]
    extra: str | None
    requirements: tuple[str, ...]


FORMATS: Final[dict[ExportFormat, FormatEntry]] = {
    "onnx": FormatEntry(
        "model.onnx", ("onnx", "onnxscript", "onnxruntime"), "onnx", ("onnxruntime",)
    ),
    "torch": FormatEntry("model.pt2", (), None, ("torch",)),
    "openvino": FormatEntry(
        "model.xml",
        ("onnx", "onnxscript", "openvino"),
        "onnx,openvino",
        ("openvino",),
    ),
}


def check_packages(format_name: ExportFormat) -> None:
    """Check that the optional packages of a format are installed.

    Raises:
        UserError: names the missing ones and the command that installs them.
    """
    entry = FORMATS[format_name]
    missing = [name for name in entry.packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"--format {format_name} needs {join_words(missing)}; install with: "
            f'pip install "segmentation-harness[{entry.extra}]"'
        )


def write_model(
    source: GraphSource, folder: Path, format_name: ExportFormat, *, free_size: bool = False
) -> None:
    """Write the model file of a format into an existing folder.

    Args:
        free_size: leave height and width of the images free, as the size of a batch always is.

    Raises:
        UserError: the network cannot be exported; the message names it and the reason.
    """
    path = folder / FORMATS[format_name].file
    try:
        with _quiet_export():
            if format_name == "torch":
                _write_torch(source, path, free_size=free_size)
            elif format_name == "onnx":
                _write_onnx(source, path, free_size=free_size)
            else:
                _write_openvino(source, path, free_size=free_size)
    except (OSError, MemoryError, UserError):
        raise
    # Exporters raise anything that a traced network can: the user gets the reason in one line.
    except Exception as error:
        reason = (" ".join(str(error).split()) or type(error).__name__)[:300]
        raise UserError(
            f"{source.name} cannot be exported as {format_name} ({type(error).__name__}: {reason})"
        ) from error


def _write_onnx(source: GraphSource, path: Path, *, free_size: bool) -> None:
    import onnx  # noqa: PLC0415  # an optional package

    inputs = source.example_inputs()
    program = torch.onnx.export(
        source.module,
        inputs,
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=INPUT_NAMES[: len(inputs)],
        output_names=OUTPUT_NAMES,
        dynamic_shapes=_free_dimensions(source, free_size=free_size),
    )
    assert program is not None, "without a file name the program is returned"
    model = program.model_proto
    _strip_metadata(model)
    if model.ByteSize() > _MAX_ONNX_BYTES:
        onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data")
        onnx.checker.check_model(str(path), full_check=True)
    else:
        onnx.checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString(deterministic=True))


def _strip_metadata(model: Any) -> None:
    """Remove stack traces and class names of the exporter: they hold paths of this machine."""
    for graph in (model.graph, *model.functions):
        for entry in (graph, *graph.node, *graph.value_info):
            del entry.metadata_props[:]
            entry.doc_string = ""
    for entry in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del entry.metadata_props[:]
        entry.doc_string = ""
    del model.metadata_props[:]


def _write_torch(source: GraphSource, path: Path, *, free_size: bool) -> None:
    program = torch.export.export(
        source.module,
        source.example_inputs(),
        dynamic_shapes=_free_dimensions(source, free_size=free_size),
    )
    for node in program.graph.nodes:
        for name in ("stack_trace", "nn_module_stack", "source_fn_stack"):  # paths of this machine
            node.meta.pop(name, None)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    path.write_bytes(_drop_pickles(buffer.getvalue()))


def _drop_pickles(archive: bytes) -> bytes:
    """Empty the pickled example inputs of a pt2 archive; its bytes then depend on content alone.

    `torch.export.load` unpickles example inputs, but does without them if they are empty.

    Raises:
        ValueError: a weight is of a kind that torch stores as a pickle.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            data = b"" if "/sample_inputs/" in name else old.read(name)
            if name.endswith("_config.json") and b'"use_pickle": true' in data:
                raise ValueError("a weight would be stored as a pickle")
            if not name.endswith("serialization_id"):
                new.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    return buffer.getvalue()


def _write_openvino(source: GraphSource, path: Path, *, free_size: bool) -> None:
    import openvino  # noqa: PLC0415  # an optional package

    graph = path.with_suffix(".onnx")
    _write_onnx(source, graph, free_size=free_size)
    model = openvino.convert_model(graph)
    # fp16 weights are the default of save_model, and change probabilities by 1e-3.
    openvino.save_model(model, path, compress_to_fp16=False)
    for file in graph.parent.glob(f"{graph.name}*"):
        file.unlink()


def _free_dimensions(source: GraphSource, *, free_size: bool) -> tuple[dict[int, Any], ...]:
    sizes: dict[int, Any] = {0: torch.export.Dim("batch")}
    if free_size:
        # DYNAMIC: the exporter finds by itself that a side must be a multiple of 32.
        sizes |= {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    return tuple(sizes for _ in source.example_inputs())


@contextmanager
def _quiet_export() -> Iterator[None]:
    """Silence the exporters' notes about their own progress and about constants of a graph."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            torch.manual_seed(0)  # the example inputs
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
