"""Write a bundle: a folder with a network that needs none of this package."""

import shutil
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any, Final

from harness.config.progress import ProgressReporter
from harness.core import files
from harness.core.atomic_dir import atomic_directory
from harness.core.errors import UserError
from harness.deploy.card.model_card import write_model_card
from harness.deploy.deployment import Deployment
from harness.deploy.export.description import DESCRIPTION_FILE, add_hashes, describe_bundle
from harness.deploy.export.formats import FORMATS, ExportFormat, check_packages, write_model
from harness.deploy.export.free_size import check_free_size
from harness.deploy.export.graph import build_graph_source
from harness.deploy.export.parity import DEFAULT_PARITY_IMAGES, ParityResult, measure_parity
from harness.deploy.export.quantize import (
    DEFAULT_TOLERANCE,
    Precision,
    check_loss,
    check_precision,
    read_calibration_inputs,
    reduce_precision,
)
from harness.deploy.export.targets import check_target, move_away

RUNNER_FILES: Final = ("predict.py", "image_files.py")


@dataclass(frozen=True)
class ExportedBundle:
    """A bundle that has been written, and its parity with the study."""

    folder: Path
    parity: ParityResult


def export_bundle(
    deployment: Deployment,
    folder: Path,
    *,
    format: ExportFormat = "onnx",
    precision: Precision = "fp32",
    tolerance: float = DEFAULT_TOLERANCE,
    parity_images: int = DEFAULT_PARITY_IMAGES,
    free_size: bool = False,
    force: bool = False,
    progress: ProgressReporter,
) -> ExportedBundle:
    """Export a network, and compare the bundle with the study before it gets its name.

    Args:
        folder: absent or empty; with `force` also a bundle, which is replaced.
        precision: fp16 or int8: a smaller graph, of format onnx alone.
        tolerance: points of Dice (0.01) that a smaller graph may lose on the validation images.
        parity_images: validation images to compare on, spread over the split.
        free_size: leave height and width of the graph free, after a comparison at other sizes.

    Raises:
        UserError: an optional package is missing, the folder is in use, the network cannot be
            exported, or the bundle disagrees with the study. Nothing has been written then.
    """
    check_packages(format)
    check_precision(precision, format, tolerance)
    if len(deployment.weights) > 1:
        raise UserError("an ensemble cannot be exported: a bundle holds one network")
    check_target(folder, force=force)
    source = build_graph_source(deployment.weights[0], deployment.context.config.data)
    progress.stage(f"exporting {source.name} as {format}")
    with atomic_directory(folder) as temporary:
        write_model(source, temporary, format, free_size=free_size)
        if free_size:
            check_free_size(source, temporary, format)
        reduce_precision(
            temporary / FORMATS[format].file, precision, read_calibration_inputs(deployment)
        )
        _write_runner(temporary, format)
        description = describe_bundle(deployment, format, precision=precision, free_size=free_size)
        _write_description(temporary, description)
        parity = measure_parity(deployment, temporary, description, parity_images, progress)
        if precision != "fp32":
            check_loss(parity, precision, tolerance)
        elif not parity.passed:
            raise UserError(
                f"{source.name} as {format} disagrees with the study, so no bundle is written "
                f"({parity.sentence}); export another format or another trial"
            )
        description["parity"] = parity.as_dict()
        write_model_card(
            deployment, temporary, parity.as_dict(), model_format=format, precision=precision
        )
        _write_description(temporary, description)
        old = move_away(folder)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
    return ExportedBundle(folder, parity)


def _write_runner(folder: Path, format_name: ExportFormat) -> None:
    runner = package_files("harness.deploy.runner")
    for name in RUNNER_FILES:
        (folder / name).write_bytes((runner / name).read_bytes())
    packages = ("numpy", "opencv-python-headless", *FORMATS[format_name].requirements)
    pins = "".join(f"{name}=={version(name).partition('+')[0]}\n" for name in packages)
    text = f"# the versions that parity was measured with; others usually work\n{pins}"
    (folder / "requirements.txt").write_text(text, encoding="utf-8")
    (folder / "README.md").write_text(_README, encoding="utf-8")


def _write_description(folder: Path, description: dict[str, Any]) -> None:
    hashes = {
        path.name: files.file_sha256(path)
        for path in folder.iterdir()
        if path.name != DESCRIPTION_FILE
    }
    add_hashes(description, hashes)
    files.write_json(folder / DESCRIPTION_FILE, description)


_README = """# Segmentation network

    pip install -r requirements.txt
    python predict.py IMAGE_OR_FOLDER --out masks

`model.json` describes the network, its images, its classes and how masks are decided. From Python:

```python
from predict import Model, read_image

model = Model(".")
mask, probabilities = model.predict(read_image("image.png", model.spec))
```
"""
