"""Public functions of `import harness`; each module is imported when it is first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.api.lr_find import LearningRates, find_lr
    from harness.api.maintenance import (
        archive,
        clean,
        compare,
        delete,
        describe_deletion,
        disk_use,
        removable,
        rename,
        restore,
        studies,
    )
    from harness.api.run import check, load_model, run_study
    from harness.api.study import Study, open_study

__all__ = [
    "LearningRates",
    "Study",
    "archive",
    "check",
    "clean",
    "compare",
    "delete",
    "describe_deletion",
    "disk_use",
    "find_lr",
    "load_model",
    "open_study",
    "removable",
    "rename",
    "restore",
    "run_study",
    "studies",
]

# Written out a second time next to TYPE_CHECKING, as type checkers do not follow `__getattr__`.
_MODULES = {
    "LearningRates": "lr_find",
    "Study": "study",
    "archive": "maintenance",
    "check": "run",
    "clean": "maintenance",
    "compare": "maintenance",
    "delete": "maintenance",
    "describe_deletion": "maintenance",
    "disk_use": "maintenance",
    "find_lr": "lr_find",
    "load_model": "run",
    "open_study": "study",
    "removable": "maintenance",
    "rename": "maintenance",
    "restore": "maintenance",
    "run_study": "run",
    "studies": "maintenance",
}


def __getattr__(name: str) -> Any:
    """Import the module of a public name. Late, because torch and pandas take seconds to import."""
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
