"""What a trial ran with: versions of the libraries, and the commit of the workspace."""

import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

STAMPED = (
    "segmentation-harness",
    "torch",
    "segmentation-models-pytorch",
    "timm",
    "albumentations",
    "opencv-python-headless",
    "numpy",
    "optuna",
    "mlflow",
)


@dataclass(frozen=True)
class Stamp:
    """Versions by distribution name, and the git commit of the workspace if it has one."""

    versions: dict[str, str]
    git_commit: str | None


def take_stamp(workspace: Path) -> Stamp:
    """Read versions from the installed distributions and the commit from git."""
    versions = {"python": platform.python_version()}
    for name in STAMPED:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return Stamp(versions, _git_commit(workspace))


def _git_commit(folder: Path) -> str | None:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607  # git is wherever the user has it
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
