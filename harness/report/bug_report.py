"""Text of `harness report-bug`: versions, machine, definition and failures of a study, masked."""

import os
import platform
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil

from harness.core.environment import read_environment
from harness.core.errors import HarnessError
from harness.core.paths import StudyPaths, TrialPaths, Workspace
from harness.core.processors import available_processors
from harness.core.records import TrialRecord, read_record
from harness.core.text import count
from harness.data.splits.split_file import read_split
from harness.report.masking import PersonalData, mask_text

MAX_FAILURES = 10  # different failures of a study that are shown
MAX_FILE_CHARACTERS = 20_000
# Their values may be secrets, so the report says only which of them are set.
NAMED_PREFIXES = ("CUDA_", "HARNESS_", "HF_", "MLFLOW_", "OMP_", "OPTUNA_", "RAY_", "SLURM_")
# In a process of its own, as torch may be what is broken.
_DEVICES = (
    "import torch; n = torch.cuda.device_count(); "
    "print('torch', torch.__version__, 'CUDA', torch.version.cuda, 'GPUs', n, "
    "*(torch.cuda.get_device_name(i) for i in range(n)), "
    "*(['mps'] if torch.backends.mps.is_available() else []))"
)


def bug_report(workspace: Workspace, study: StudyPaths | None) -> str:
    """Build the report. A file that cannot be read is named with its error instead of its content.

    Args:
        study: study whose definition and failures are shown; None: versions and machine only.
    """
    lines = ["## Versions", "", *_versions(workspace), "", "## Machine", "", *_machine(workspace)]
    file_names: list[tuple[str, str]] = []
    if study is not None:
        file_names = list(_image_names(study))
        lines += ["", f"## Study {study.name}", "", *_definition(study)]
        for paths in (study, study.confirm):
            lines += _trials(paths)
    return mask_text("\n".join(lines) + "\n", PersonalData.of_this_machine(), file_names)


def _versions(workspace: Workspace) -> Iterator[str]:
    environment = read_environment(workspace.root)
    for name, version in environment.versions.items():
        yield f"{name} {version}"
    yield f"commit {environment.git_commit or 'none: the workspace is not in a git repository'}"


def _machine(workspace: Workspace) -> Iterator[str]:
    yield f"system {platform.platform()}"
    yield f"processors {available_processors()} of {os.cpu_count()}"
    yield f"memory {psutil.virtual_memory().total / 2**30:.1f} GiB"
    yield f"free disk of the workspace {shutil.disk_usage(workspace.root).free / 2**30:.1f} GiB"
    yield _devices()
    names = sorted(name for name in os.environ if name.startswith(NAMED_PREFIXES))
    yield f"variables that are set {', '.join(names) or 'none of those that harness knows'}"


def _devices() -> str:
    try:
        process = subprocess.run(
            [sys.executable, "-P", "-c", _DEVICES],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"torch cannot be started: {error}"
    if process.returncode:
        return (
            f"torch cannot be imported (exit code {process.returncode}): {process.stderr[-2000:]}"
        )
    return process.stdout.strip()


def _definition(study: StudyPaths) -> Iterator[str]:
    for path in (study.study_yaml, study.space_yaml):
        yield from (f"### {path.name}", "", "```yaml", _content(path), "```", "")


def _content(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return f"# {error.strerror}"
    return text[:MAX_FILE_CHARACTERS].rstrip()


def _trials(study: StudyPaths) -> Iterator[str]:
    """Yield the states of all trials, then each different failure with its traceback."""
    records, damaged = _read_records(study)
    if not records and not damaged:
        return
    states = Counter(record.state for record in records)
    summary = ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
    yield f"### Trials of {study.name}: {summary or 'none that can be read'}"
    yield ""
    yield from damaged
    failures: dict[tuple[str, str], list[TrialRecord]] = {}
    for record in records:
        if record.failure is not None:
            key = (record.failure.cause, record.failure.traceback or record.failure.message)
            failures.setdefault(key, []).append(record)
    for (cause, text), failed in list(failures.items())[:MAX_FAILURES]:
        first = failed[0]
        numbers = ", ".join(str(record.number) for record in failed)
        yield f"{count(len(failed), 'trial')} failed ({cause}): {numbers}"
        yield f"device {first.device}, precision {first.precision}, attempt {first.attempt}"
        message = first.failure.message if first.failure else ""
        yield from (
            "",
            "```text",
            message,
            *([text.rstrip()] if text != message else []),
            "```",
            "",
        )
    if len(failures) > MAX_FAILURES:
        yield f"{len(failures) - MAX_FAILURES} further kinds of failures are left out"


def _read_records(study: StudyPaths) -> tuple[list[TrialRecord], list[str]]:
    """Read all records; those that are damaged become lines of text."""
    records, damaged = [], []
    for trial in study.all_trials():
        try:
            records.append(read_record(trial.trial_json))
        except (HarnessError, OSError) as error:
            damaged.append(f"trial {trial.number}: {_first_line(trial, error)}")
    return records, damaged


def _first_line(trial: TrialPaths, error: Exception) -> str:
    text = str(error).replace(str(trial.trial_json), trial.trial_json.name)
    return text.splitlines()[0] if text else type(error).__name__


def _image_names(study: StudyPaths) -> Iterator[tuple[str, str]]:
    """Yield the names of all images and masks, with and without folders, and their replacements."""
    try:
        rows = read_split(study.split_csv)
    except (HarnessError, OSError):
        return
    for row in rows:
        for kind, path in (("image", row.image), *(("mask", mask) for mask in row.masks)):
            yield path, f"{kind} of row {row.row}"
            name = Path(path).name
            if len(name) > 4:
                yield name, f"{kind} of row {row.row}"
