"""Decorators that register networks, losses and metrics of a user's file or package.

    from harness import parts

    @parts.loss(tasks=("binary", "multilabel"))
    def edges(logits, target, *, width: int = 3): ...

A pixel whose target is `IGNORE_INDEX` counts nowhere. See docs/parts.md.
"""

from harness.config.components import loss, metric, network
from harness.config.data import IGNORE_INDEX

__all__ = ["IGNORE_INDEX", "loss", "metric", "network"]
