"""Environment of a trial: versions of libraries, and the git commit of the workspace."""

import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.core.paths import StudyPaths
from harness.core.records import TrialRecord, read_records

RECORDED_PACKAGES = (
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
class EnvironmentInfo:
    """Versions by distribution name, and the git commit of the workspace; None without git."""

    versions: dict[str, str]
    git_commit: str | None

    def describe_changes(self, last: TrialRecord | None, device: str | None) -> str | None:
        """Differences from the environment of the last trial, in one line; None without any.

        Args:
            last: record of the last trained trial; None before the first one.
            device: device of the trials to come, e.g. "cuda (NVIDIA T4)"; None: not known.
        """
        if last is None:
            return None
        # A fact that the record lacks is unknown, not changed, so it is not compared.
        pairs: list[tuple[str, str | None, str | None]] = [
            (name, last.versions.get(name, "absent"), now)
            for name, now in self.versions.items()
            if last.versions
        ]
        if device is not None:
            pairs += [("device", last.device or device, device)]
        pairs += [("commit", last.git_commit or self.git_commit, self.git_commit)]
        changed = [f"{name} {old} -> {new}" for name, old, new in pairs if old != new]
        if not changed:
            return None
        return f"since trial {last.number}: {', '.join(changed)}; numbers may differ from before"


def read_environment(workspace: Path) -> EnvironmentInfo:
    """Read versions from the installed distributions and the commit from git."""
    versions = {"python": platform.python_version()}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return EnvironmentInfo(versions, _git_commit(workspace))


def last_trained_trial(paths: StudyPaths) -> TrialRecord | None:
    """Record of the last trial that this study trained itself; None if it trained none.

    Imported trials do not count: they ran in the environment of another study.
    """
    trained = [record for record in read_records(paths) if record.imported is None]
    return trained[-1] if trained else None


def _git_commit(folder: Path) -> str | None:
    try:
        process = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607  # git is wherever the user installed it
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout.strip() or None if process.returncode == 0 else None
