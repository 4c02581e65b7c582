"""Public functions of `import harness`; each module is imported when it is first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.api.lr_find import LearningRates, find_lr
    from harness.api.run import check, load_model, run_study
    from harness.api.study import Study, open_study

__all__ = [
    "LearningRates",
    "Study",
    "check",
    "find_lr",
    "load_model",
    "open_study",
    "run_study",
]

# Written out a second time next to TYPE_CHECKING, as type checkers do not follow `__getattr__`.
_MODULES = {
    "LearningRates": "lr_find",
    "Study": "study",
    "check": "run",
    "find_lr": "lr_find",
    "load_model": "run",
    "open_study": "study",
    "run_study": "run",
}


def __getattr__(name: str) -> Any:
    """Import the module of a public name. Late, because torch and pandas take seconds to import."""
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
