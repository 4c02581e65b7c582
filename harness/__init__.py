"""Hyperparameter studies of segmentation networks: run them, rank them honestly, see them."""

import os

# Nothing phones home: these must stand before any dependency is imported, in every process.
for _variable, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}.items():
    os.environ.setdefault(_variable, _value)

from typing import TYPE_CHECKING, Any  # noqa: E402

if TYPE_CHECKING:
    from harness.api import LearningRates, Study, check, find_lr, open_study, run_study

__all__ = ["LearningRates", "Study", "check", "find_lr", "open_study", "run_study"]


def __getattr__(name: str) -> Any:
    """Load the API when it is first used, so that importing one module does not import them all."""
    if name in __all__:
        from harness import api  # noqa: PLC0415

        return getattr(api, name)
    raise AttributeError(f"module 'harness' has no attribute {name!r}")
