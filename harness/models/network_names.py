"""Names of architectures, their options and encoders, known without importing the libraries.

`network_names.json` is a copy of what the libraries of the stated versions define, so that a
misspelt name is refused at once: importing them takes seconds. A test compares the copy with the
installed libraries; `python -m harness.models.write_network_names` writes it again.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from harness.core import files
from harness.core.errors import suggest_nearest

TIMM_PREFIX = "tu-"  # an encoder of timm is `tu-<name in timm>`
FILE = Path(__file__).with_name("network_names.json")
LIBRARIES = ("segmentation-models-pytorch", "timm")


@dataclass(frozen=True)
class NetworkNames:
    """Names that the libraries and this package define; those that users register are absent.

    Attributes:
        versions: of the libraries, by their names.
        options: names of the options of each architecture.
        inactive_keys: keys without effect under each architecture.
        encoders: those of segmentation-models-pytorch.
        timm_models: those of timm, without tags of weights.
    """

    versions: dict[str, str]
    options: dict[str, list[str]]
    inactive_keys: dict[str, list[str]]
    encoders: list[str]
    timm_models: list[str]


def installed_names() -> NetworkNames | None:
    """The names in the installed libraries; None if these have other versions than the copy."""
    names = NetworkNames(**json.loads(FILE.read_text(encoding="utf-8")))
    try:
        return names if names.versions == installed_versions() else None
    except metadata.PackageNotFoundError:  # importing it reports the missing library
        return None


def installed_versions() -> dict[str, str]:
    """Versions of the libraries, by their names."""
    return {name: metadata.version(name) for name in LIBRARIES}


def write_names(names: NetworkNames) -> None:
    """Write the copy."""
    files.write_text(FILE, json.dumps(asdict(names), indent=0) + "\n")


def unknown_encoder(name: str, encoders: Sequence[str], timm_models: Sequence[str]) -> str:
    """Problem of an encoder that neither library has, with the nearest name."""
    if name.startswith(TIMM_PREFIX):
        model = name.removeprefix(TIMM_PREFIX)
        hint = suggest_nearest(model.partition(".")[0], timm_models)
        return f"timm has no model {model!r}{hint.replace('mean ', f'mean {TIMM_PREFIX}')}"
    choices: Collection[str] = [*encoders, *(f"{TIMM_PREFIX}{model}" for model in timm_models)]
    return f"unknown encoder {name!r}{suggest_nearest(name, choices)}"
