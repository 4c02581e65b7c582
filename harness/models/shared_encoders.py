"""Share one encoder among networks that are built with equal arguments.

The module is separate because it replaces a function of the library while networks are built.
"""

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
    """Context in which the library's architectures receive encoders that exist already.

    Args:
        encoders: encoders by the arguments of the request; a failure is stored too.
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
