"""Hyperparameter studies of segmentation networks: run them, rank them honestly, see them."""

import os
import sys
from importlib import import_module


def _refuse_windows() -> None:
    """Raise ImportError in one line, before a module is imported that imports what is missing.

    A command says the line alone and ends with 2, as nobody would catch the error.
    """
    line = (
        "harness needs Linux or macOS; on Windows use it inside WSL2: `wsl --install` in "
        "PowerShell, then install and start it in the Linux shell that `wsl` opens"
    )
    started = sys.argv[0].replace("\\", "/").rpartition("/")[2] if sys.argv else ""
    # -m: `python -m harness`, while this package is imported
    if started in ("harness", "harness.exe", "harness-script.py", "-m"):
        sys.stderr.write(f"error: {line}\n")
        raise SystemExit(2)
    raise ImportError(line)


try:
    import_module("fcntl")  # locks of files and, in `resource`, limits: POSIX alone has them
except ImportError:
    _refuse_windows()
if sys.platform == "win32":
    _refuse_windows()

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
    from harness.api import (
        LearningRates,
        Study,
        archive,
        check,
        clean,
        compare,
        delete,
        describe_deletion,
        disk_use,
        find_lr,
        load_model,
        open_study,
        removable,
        rename,
        restore,
        run_study,
        studies,
    )

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


def __getattr__(name: str) -> Any:
    """Load the API when it is first used, so that importing one module does not import them all."""
    if name in __all__:
        from harness import api  # noqa: PLC0415

        return getattr(api, name)
    raise AttributeError(f"module 'harness' has no attribute {name!r}")
