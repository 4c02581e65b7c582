"""Networks in folders: what a constructor was given, and the weights as safetensors.

Networks of segmentation-models-pytorch are written by its own `save_pretrained`, so that a plain
`smp.from_pretrained` reads them too; registered ones in the same two files.
"""

import contextlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
from safetensors.torch import load_model, save_model
from torch import nn

from harness.errors import ConfigError
from harness.models.registry import network_class

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def remember(network: nn.Module, name: str, arguments: Mapping[str, Any]) -> None:
    """Note on a registered network what it was built from, so that it can be saved."""
    network.harness_part = {"format": 1, "network": name, "arguments": dict(arguments)}  # type: ignore[assignment]


def save_network(network: nn.Module, folder: Path) -> None:
    """Write a network of `build_network` into an existing folder.

    Raises:
        SafetensorError, OSError: it could not be written, e.g. on a full disk.
    """
    about = getattr(network, "harness_part", None)
    if about is not None:
        (folder / CONFIG).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        save_model(network, str(folder / WEIGHTS))
        return
    library: Any = network
    library.save_pretrained(folder)
    # The library's card says that the model was published, and under which licence.
    (folder / "README.md").unlink(missing_ok=True)


def load_network(folder: Path) -> nn.Module:
    """Read what `save_network` wrote, in evaluation mode, on the CPU.

    Raises:
        ConfigError: it is no such folder, or names a network that is not registered here.
    """
    try:
        about = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder}: no saved network ({error})") from error
    try:
        return _loaded(folder, about).eval()
    except ConfigError:
        raise
    except Exception as error:  # a damaged file makes its readers fail in any way
        what = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise ConfigError(f"{folder}: no saved network that can be read ({what})") from error


def _loaded(folder: Path, about: Any) -> nn.Module:
    if not isinstance(about, dict) or "network" not in about:
        with contextlib.redirect_stdout(io.StringIO()):  # the hub's library says where it reads
            plain: nn.Module = smp.from_pretrained(folder)
        return plain
    if about.get("format") != 1:
        raise ConfigError(f"{folder}: format {about.get('format')!r}; this harness reads format 1")
    network: nn.Module = network_class(str(about["network"]))(**about["arguments"])
    load_model(network, str(folder / WEIGHTS))
    remember(network, about["network"], about["arguments"])
    return network
