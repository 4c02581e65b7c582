"""What the encoders of a run answered: each is built and tried once, not once for every decoder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from harness.models.sharing import shared_encoders
from harness.preflight.tally import Tally


@dataclass
class Encoders:
    """The encoders of one run, on the meta device.

    Attributes:
        tally: what operations are counted in; an answer that is known adds its operations.
    """

    tally: Tally | None = None
    _kept: dict[str, nn.Module | Exception] = field(default_factory=dict)

    @contextmanager
    def shared(self) -> Iterator[None]:
        """While open, networks are built around the encoders of this run."""
        with shared_encoders(self._kept, self._remember_answers):
            yield

    def _remember_answers(self, encoder: nn.Module) -> None:
        forward = encoder.forward
        known: dict[tuple[Any, ...], tuple[Any, int]] = {}

        def answer(images: Tensor) -> Any:
            question = (tuple(images.shape), encoder.training)
            before = self._flops()
            if question not in known:
                try:
                    features = forward(images)
                except Exception as error:
                    features = error
                known[question] = (features, self._flops() - before)
            elif self.tally is not None:
                self.tally.flops += known[question][1]
            features, _ = known[question]
            if isinstance(features, Exception):
                raise features.with_traceback(None)
            return list(features) if isinstance(features, list) else features

        encoder.forward = answer

    def _flops(self) -> int:
        return 0 if self.tally is None else self.tally.flops
