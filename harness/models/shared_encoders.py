"""One encoder for all networks that are built with the same: for trying many without weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from segmentation_models_pytorch.encoders import get_encoder
from torch import nn

from harness.models.registry import ARCHS, network_class


@contextmanager
def shared_encoders(
    encoders: dict[str, nn.Module | Exception], prepare: Callable[[nn.Module], None]
) -> Iterator[None]:
    """While open, architectures of the library are given an encoder that was built before.

    Args:
        encoders: what was built, by what it was asked for; a refusal is kept too.
        prepare: called with each new encoder.
    """

    def get_shared(*args: Any, **kwargs: Any) -> nn.Module:
        key = repr((args, sorted(kwargs.items()), torch.get_default_device()))
        if key not in encoders:
            try:
                encoder: nn.Module = get_encoder(*args, **kwargs)
                prepare(encoder)
                encoders[key] = encoder
            except Exception as error:
                encoders[key] = error
        result = encoders[key]
        if isinstance(result, Exception):
            raise result.with_traceback(None)
        return result

    modules: list[Any] = [import_module(network_class(arch).__module__) for arch in ARCHS]
    patched_modules = [
        module for module in modules if getattr(module, "get_encoder", None) is get_encoder
    ]
    for module in patched_modules:
        module.get_encoder = get_shared
    try:
        yield
    finally:
        for module in patched_modules:
            module.get_encoder = get_encoder
