"""Save and load networks: constructor arguments, weights as safetensors, and a model card.

Networks of segmentation-models-pytorch are written by its own `save_pretrained`, so that a plain
`smp.from_pretrained` reads them too; registered ones in the same two files.
"""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_model, save_model
from torch import nn

from harness.config.components import find_component
from harness.config.study import ModelConfig
from harness.core.errors import ConfigError
from harness.models.registry import ARCHS, archs, check_model, network_class

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
MAX_CONFIG_BYTES = 1_000_000
_CLASS = "_model_class"  # key by which the library finds its class
_TIMM_ARGUMENTS = {
    "img_size",
    "dynamic_img_size",
}  # passed on to timm, see `harness.models.image_size`
_BUILD_ERRORS = (ValueError, TypeError, KeyError, RuntimeError, AssertionError, AttributeError)
_LOADER_NAME = "harness.load_model"


def record_arguments(network: nn.Module, name: str, arguments: Mapping[str, Any]) -> None:
    """Attach the constructor arguments to a registered network, so that it can be saved."""
    network.harness_part = {"format": 1, "network": name, "arguments": dict(arguments)}  # type: ignore[assignment]


def save_network(network: nn.Module, folder: Path) -> None:
    """Write a network of `build_network` and a model card into an existing folder.

    Raises:
        SafetensorError, OSError: the files cannot be written, e.g. on a full disk.
    """
    about: Any = getattr(network, "harness_part", None)
    if about is not None:
        name = about["network"]
        # The library looks this up as a class name, so its error message contains the hint.
        hint = f"{name} is no network of this library; call {_LOADER_NAME}(folder) instead"
        written = {**about, _CLASS: hint}
        (folder / CONFIG).write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
        save_model(network, str(folder / WEIGHTS))
        part = find_component("network", name)
        card = _model_card(name, ", parts='parts.py'" if part.is_from_file else "", smp=False)
    else:
        library: Any = network
        library.save_pretrained(folder)
        card = _model_card(type(network).__name__, "", smp=True)
    # Replaces the library's card, which states that the model was published under a licence.
    (folder / CARD).write_text(card, encoding="utf-8")


def _model_card(name: str, more: str, *, smp: bool) -> str:
    text = (
        f"# {name}\n\nA network trained by harness: its constructor's arguments in {CONFIG}, its "
        f"weights in {WEIGHTS}. It maps (N, channels, H, W), normalised as in the trial's "
        "configuration, to logits (N, classes, H, W).\n\n```python\nimport harness\n\n"
        f"network = {_LOADER_NAME}('.'{more})  # this folder\n```\n"
    )
    if smp:
        text += "\nsegmentation-models-pytorch alone reads it too: `smp.from_pretrained('.')`.\n"
    elif more:
        text += (
            "\nThe network is user-defined: `parts.py` stands for the file that registers "
            "it, of which the study's folder holds a copy. That file is executed.\n"
        )
    else:
        text += "\nsegmentation-models-pytorch alone cannot read it.\n"
    return text


def load_network(folder: Path) -> nn.Module:
    """Load a network written by `save_network`, in evaluation mode, on the CPU.

    No code in the folder is executed and nothing is downloaded: constructors are found by name,
    their arguments are checked against signatures, and weights are read from safetensors after
    their names and shapes are compared.

    Raises:
        ConfigError: the folder does not hold a saved network, or names one that is not registered.
    """
    about = _read_config(folder)
    try:
        name, arguments = _parse_config(folder, about)
        network = _build_checked(folder, name, arguments)
        # safetensors only: a pickle could run code (CVE-2025-32434 even with weights_only, before
        # torch 2.6).
        load_model(network, str(folder / WEIGHTS))
    except ConfigError:
        raise
    except Exception as error:  # readers of a damaged file can raise anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise ConfigError(f"{folder}: not a saved network that can be read ({reason})") from error
    if name not in ARCHS:
        record_arguments(network, name, arguments)
    return network.eval()


def _read_config(folder: Path) -> dict[str, Any]:
    """Read `config.json`."""
    try:
        if (folder / CONFIG).stat().st_size > MAX_CONFIG_BYTES:
            raise ConfigError(f"{folder}: not a saved network ({CONFIG} is larger than 1 MB)")
        about = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{folder}: not a saved network ({error})") from error
    if not isinstance(about, dict):
        raise ConfigError(f"{folder}: not a saved network ({CONFIG} is not a mapping)")
    return about


def _parse_config(folder: Path, about: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Checked name of the network and arguments of its constructor."""
    if "network" not in about:
        name, arguments = _parse_library_config(folder, about)
        allowed = set(inspect.signature(network_class(name)).parameters) - {"self", "kwargs"}
        allowed |= _TIMM_ARGUMENTS
    else:
        if about.get("format") != 1:
            reason = f"format {about.get('format')!r}; this harness reads format 1"
            raise ConfigError(f"{folder}: {reason}")
        name, arguments = str(about["network"]), about.get("arguments", {})
        if name not in archs() or name in ARCHS:
            raise ConfigError(f"{folder}: {_unknown_network(name)}")
        allowed = set(find_component("network", name).arguments)
    if not isinstance(arguments, dict):
        raise ConfigError(f"{folder}: not a saved network (its arguments are not a mapping)")
    if unknown := sorted(set(arguments) - allowed):
        raise ConfigError(f"{folder}: unknown arguments of {name}: {', '.join(unknown)}")
    encoder = arguments.get("encoder_name")
    if encoder is not None:
        check_model(ModelConfig(encoder_name=encoder, encoder_weights=None))
    return name, arguments


def _parse_library_config(folder: Path, about: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and arguments as the library's `save_pretrained` writes them."""
    name = about.get(_CLASS)
    if name not in ARCHS:
        raise ConfigError(f"{folder}: not a saved network ({CONFIG} names {name!r})")
    arguments = {key: value for key, value in about.items() if not key.startswith("_")}
    # Otherwise the weights would be downloaded; the file holds them.
    return name, arguments | {"encoder_weights": None}


def _unknown_network(name: str) -> str:
    try:
        network_class(name)
    except ConfigError as error:
        message = error.problems[0].removeprefix("model.arch: ")
    else:
        message = f"{name} is a network of the library"
    return f"{message} ({_LOADER_NAME}(folder, parts=FILE) registers a network of your own)"


def _build_checked(folder: Path, name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Build the network with random weights and check names and shapes against the file."""
    if not (folder / WEIGHTS).is_file():
        raise ConfigError(f"{folder}: not a saved network (it has no file {WEIGHTS})")
    build = network_class(name)
    try:
        with torch.device("meta"):
            # On the meta device, since arguments of a hostile config could ask for terabytes.
            shapes = _parameter_shapes(build(**arguments))
    except NotImplementedError:
        shapes = None  # some encoders need values while they are built
    except _BUILD_ERRORS as error:
        if "meta" not in str(error):
            raise
        shapes = None
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        stored = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    if shapes is not None and any(shapes.get(key) != shape for key, shape in stored.items()):
        raise ConfigError(f"{folder}: {WEIGHTS} does not hold the weights of {name}")
    network = build(**arguments)
    if not isinstance(network, nn.Module):
        raise ConfigError(f"{folder}: {name} did not return a torch.nn.Module")
    return network


def _parameter_shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}
