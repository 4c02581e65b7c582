"""`model.json` of a bundle: everything that a runner must know about the network and its images."""

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from harness.core.timestamps import utc_timestamp
from harness.data.files.overlay import CLASS_COLOURS
from harness.data.windows.tiles import tile_geometry
from harness.deploy.card.licences import describe_licences
from harness.deploy.deployment import Deployment
from harness.deploy.export.formats import FORMATS, OPSET, ExportFormat

DESCRIPTION_FILE: Final = "model.json"
_PACKAGES: Final = ("segmentation-harness", "torch", "onnx", "onnxruntime", "openvino", "numpy")


def describe_bundle(
    deployment: Deployment,
    format_name: ExportFormat,
    *,
    precision: str = "fp32",
    free_size: bool = False,
) -> dict[str, Any]:
    """Content of `model.json`, without hashes and parity, which follow from the files."""
    (weights,) = deployment.weights
    context, config = deployment.context, weights.config
    data = context.config.data
    height, width = config.data.height_width
    is_padded = config.data.whole_fit != "stretch"
    tile = tile_geometry(config.data.tile)
    return {
        "format": 1,
        "study": context.paths.name,
        "study_id": str(context.config.id),
        "trial": weights.label,
        "task": data.task,
        "classes": [
            {"name": name, "colour": "#{:02x}{:02x}{:02x}".format(*colour_of(k))}
            for k, name in enumerate(data.classes)
        ],
        "scored_classes": list(data.scored_classes),
        "decision": deployment.rule.rule.model_dump(mode="json"),
        "input": {
            "height": height,
            "width": width,
            "channels": data.channels,
            "range": list(data.range),
            "bits": data.bit_depth,
            "fit": config.data.fit,
            "normalize": config.data.normalize,
            "per_image_content": is_padded and config.data.normalize == "per_image",
            "max_pixels": context.config.limits.max_pixels,
            # Only where windows are used: earlier runners know no such entry.
            **({} if tile is None else {"tile": {"side": tile.side, "overlap": tile.overlap}}),
        },
        "model": {
            "file": FORMATS[format_name].file,
            "format": format_name,
            "opset": None if format_name == "torch" else OPSET,
            "precision": precision,
            "free_size": free_size,
        },
        "licences": asdict(describe_licences([config], data)),
        "versions": _versions(),
        "created": utc_timestamp("seconds"),
    }


def add_hashes(description: dict[str, Any], hashes: Mapping[str, str]) -> None:
    """Enter the SHA-256 of each file of the bundle but `model.json` itself."""
    description["files"] = dict(sorted(hashes.items()))
    description["model"]["sha256"] = hashes[description["model"]["file"]]


def colour_of(index: int) -> tuple[int, int, int]:
    """Colour of a class, the same as in overlays."""
    return CLASS_COLOURS[index % len(CLASS_COLOURS)]


def _versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
