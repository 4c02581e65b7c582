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
    kept: dict[str, nn.Module | Exception], prepare: Callable[[nn.Module], None]
) -> Iterator[None]:
    """While open, architectures of the library are given an encoder that was built before.

    Args:
        kept: what was built, by what it was asked for; a refusal is kept too.
        prepare: called with each new encoder.
    """

    def get(*args: Any, **kwargs: Any) -> nn.Module:
        asked = repr((args, sorted(kwargs.items()), torch.get_default_device()))
        if asked not in kept:
            try:
                encoder: nn.Module = get_encoder(*args, **kwargs)
                prepare(encoder)
                kept[asked] = encoder
            except Exception as error:
                kept[asked] = error
        found = kept[asked]
        if isinstance(found, Exception):
            raise found.with_traceback(None)
        return found

    modules: list[Any] = [import_module(network_class(arch).__module__) for arch in ARCHS]
    users = [module for module in modules if getattr(module, "get_encoder", None) is get_encoder]
    for module in users:
        module.get_encoder = get
    try:
        yield
    finally:
        for module in users:
            module.get_encoder = get_encoder
