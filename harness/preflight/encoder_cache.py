"""Cache encoders and their outputs, so that each is built and run once, not for every decoder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from harness.models.shared_encoders import shared_encoders
from harness.preflight.flops import FlopCounter


@dataclass
class EncoderCache:
    """The encoders of one run, on the meta device.

    Attributes:
        flop_counter: active counter; a cached output adds its operations to it.
    """

    flop_counter: FlopCounter | None = None
    _encoders: dict[str, nn.Module | Exception] = field(default_factory=dict)

    @contextmanager
    def share_encoders(self) -> Iterator[None]:
        """Context in which networks are built with the encoders of this cache."""
        with shared_encoders(self._encoders, self._cache_forward):
            yield

    def _cache_forward(self, encoder: nn.Module) -> None:
        forward = encoder.forward
        outputs: dict[tuple[Any, ...], tuple[Any, int]] = {}

        def cached_forward(images: Tensor) -> Any:
            cache_key = (tuple(images.shape), encoder.training)
            flops_before = self._flops()
            if cache_key not in outputs:
                try:
                    features = forward(images)
                except Exception as error:
                    features = error
                outputs[cache_key] = (features, self._flops() - flops_before)
            elif self.flop_counter is not None:
                self.flop_counter.flops += outputs[cache_key][1]
            features, _ = outputs[cache_key]
            if isinstance(features, Exception):
                raise features.with_traceback(None)
            return list(features) if isinstance(features, list) else features

        encoder.forward = cached_forward

    def _flops(self) -> int:
        return 0 if self.flop_counter is None else self.flop_counter.flops
