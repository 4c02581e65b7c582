"""Paths of all files and folders of a workspace; no other module spells them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import ConfigError

# Safe as a folder, in a URL, in MLflow and in CSV: no separators, no leading dot or hyphen.
STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
CONFIRM_SUFFIX = ".confirm"  # suffix of the name of a confirmation in Optuna and MLflow


def check_study_name(name: str) -> str:
    """Return the name if it is safe in paths, URLs and tables; otherwise raise ConfigError."""
    # fullmatch: `$` also matches before a line end at the end, so "a\n" would pass.
    if not STUDY_NAME.fullmatch(name) or name.endswith(CONFIRM_SUFFIX):
        raise ConfigError(
            f"study name {name!r}: use 1 to 64 of A-Z a-z 0-9 . _ - with a letter or digit first "
            "and without .confirm at the end"
        )
    return name


def expand_user_path(path: str | Path) -> Path:
    """Replace a leading `~` or `~name` of a user's path by that home folder.

    Shells do not do it in `--workspace=~/ws`, and nothing does it in Python or YAML.

    Raises:
        ConfigError: neither that user nor a file of that name exists.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:  # pathlib's error for an unknown user
        if Path(path).exists():
            return Path(path)
        raise ConfigError(
            f"{path}: {Path(path).parts[0]} is not the home folder of a user of this machine; use "
            f"./{path} for a file of that name"
        ) from None


@dataclass(frozen=True)
class Workspace:
    """Folder that contains studies, databases and data."""

    root: Path

    @classmethod
    def at(cls, folder: str | Path) -> "Workspace":
        """Workspace of a user's path, made absolute; links and `~` are resolved."""
        return cls(expand_user_path(folder).resolve())

    @property
    def optuna_db(self) -> Path:
        return self.root / "optuna.db"

    @property
    def mlflow_db(self) -> Path:
        return self.root / "mlflow.db"

    @property
    def mlruns(self) -> Path:
        return self.root / "mlruns"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def cache(self) -> Path:
        return self.data / "cache"

    @property
    def search_spaces(self) -> Path:
        return self.root / "search_spaces"

    @property
    def studies(self) -> Path:
        return self.root / "studies"

    def lr_find(self, name: str) -> "LrFindPaths":
        """Folder of one learning-rate range test. Raises ConfigError for an unsafe name."""
        if not STUDY_NAME.fullmatch(name):
            raise ConfigError(f"--name {name!r}: use 1 to 64 of A-Z a-z 0-9 . _ -")
        return LrFindPaths(self.root / "lr-find" / name)

    def study(self, name: str) -> "StudyPaths":
        """Folder of one study. Raises ConfigError if the name is unsafe or differs in case only."""
        # On case-insensitive disks (macOS, Windows, SMB shares) both would be one folder.
        paths = StudyPaths(self.studies / check_study_name(name))
        names = [path.name for path in self.studies.iterdir()] if self.studies.is_dir() else []
        case_variants = sorted(other for other in names if other.casefold() == name.casefold())
        if case_variants and name not in case_variants:
            raise ConfigError(
                f"study {name}: {self.studies} contains {case_variants[0]}, and some disks do not "
                f"distinguish case; use {case_variants[0]}, or another name"
            )
        return paths


@dataclass(frozen=True)
class LrFindPaths:
    """`lr-find/<name>/`: files of a learning-rate range test."""

    root: Path

    @property
    def page(self) -> Path:
        return self.root / "curve.html"

    @property
    def points_csv(self) -> Path:
        return self.root / "points.csv"

    @property
    def config_yaml(self) -> Path:
        return self.root / "config.yaml"


@dataclass(frozen=True)
class StudyPaths:
    """`studies/<name>/`, or `studies/<name>/confirm/`: a confirmation is a study (decision 0019).

    It shares the split, the lock and the user's files of the study that it confirms.
    """

    root: Path
    is_confirmation: bool = False

    @property
    def name(self) -> str:
        return f"{self.study.root.name}{CONFIRM_SUFFIX}" if self.is_confirmation else self.root.name

    @property
    def study(self) -> "StudyPaths":
        """The study itself; for a confirmation the study that it confirms."""
        return StudyPaths(self.root.parent) if self.is_confirmation else self

    @property
    def confirm(self) -> "StudyPaths":
        """Confirmation of this study, with its trials."""
        return StudyPaths(self.study.root / "confirm", is_confirmation=True)

    @property
    def confirm_yaml(self) -> Path:
        """Plan of a confirmation: the trials to confirm, and the number of runs of each."""
        return self.root / "confirm.yaml"

    @property
    def ranking_csv(self) -> Path:
        """Result of a confirmation: its configurations, best first."""
        return self.root / "ranking.csv"

    @property
    def study_yaml(self) -> Path:
        return self.root / "study.yaml"

    @property
    def space_yaml(self) -> Path:
        return self.root / "space.yaml"

    @property
    def split_csv(self) -> Path:
        return self.study.root / "split.csv"

    @property
    def ceilings_json(self) -> Path:
        return self.study.root / "ceilings.json"

    def split_for(self, labels: Mapping[str, str]) -> Path:
        """Split file of a trial with these labels; a confirmation on folds has one per fold."""
        if self.is_confirmation and "fold" in labels:
            return self.root / f"split-{labels['fold']}.csv"
        return self.split_csv

    @property
    def augments(self) -> Path:
        """Copies of the files of augmentation steps that trials use."""
        return self.study.root / "augment"

    def parts(self, name: str) -> Path:
        """Python file with user-defined networks, losses and metrics."""
        return self.study.root / name

    @property
    def trials_csv(self) -> Path:
        return self.root / "trials.csv"

    @property
    def report_html(self) -> Path:
        return self.root / "report.html"

    @property
    def test_ledger(self) -> Path:
        """Log of every evaluation on test images, one line per event."""
        return self.root / "test-looks.jsonl"

    def test_run(self, number: int) -> "HeldOutTestPaths":
        return HeldOutTestPaths(self.root / "test" / str(number))

    @property
    def lock(self) -> Path:
        return self.study.root / ".lock"

    @property
    def outbox(self) -> Path:
        return self.root / ".mlflow"

    @property
    def trials(self) -> Path:
        return self.root / "trials"

    def worker_log(self, slot: int) -> Path:
        return self.root / f"worker-{slot}.log"

    def trial(self, number: int) -> "TrialPaths":
        return TrialPaths(self.trials / f"{number:04d}")

    def all_trials(self) -> "list[TrialPaths]":
        """Folders of all trials that have a trial.json, in order of number."""
        folders = [TrialPaths(p.parent) for p in self.trials.glob("*/trial.json")]
        return sorted((f for f in folders if f.root.name.isdigit()), key=lambda f: f.number)


@dataclass(frozen=True)
class HeldOutTestPaths:
    """`studies/<name>/test/<number>/`: files of one evaluation on test images."""

    root: Path

    @property
    def scores_csv(self) -> Path:
        return self.root / "scores.csv"

    def image(self, name: str) -> Path:
        return self.root / f"{name}.png"


@dataclass(frozen=True)
class TrialPaths:
    """`studies/<name>/trials/<number>/`."""

    root: Path

    @property
    def number(self) -> int:
        return int(self.root.name)

    @property
    def trial_json(self) -> Path:
        return self.root / "trial.json"

    @property
    def config_yaml(self) -> Path:
        return self.root / "config.yaml"

    @property
    def epochs_jsonl(self) -> Path:
        return self.root / "epochs.jsonl"

    @property
    def checkpoint(self) -> Path:
        return self.root / "checkpoint"

    @property
    def checkpoint_previous(self) -> Path:
        return self.root / "checkpoint.previous"

    @property
    def overlays(self) -> Path:
        return self.root / "overlays"

    def overlay(self, epoch: int, row: int) -> Path:
        return self.overlays / f"{epoch}-{row}.png"

    @property
    def model(self) -> Path:
        return self.root / "best" / "model"

    @property
    def scores_csv(self) -> Path:
        return self.root / "best" / "scores.csv"

    @property
    def native_size_csv(self) -> Path:
        return self.root / "best" / "own-sizes.csv"

    @property
    def probabilities(self) -> Path:
        return self.root / "best" / "probabilities"

    def probability(self, row: int, class_index: int) -> Path:
        return self.probabilities / f"{row}-{class_index}.png"

    def class_map(self, row: int) -> Path:
        """Decided classes of a multiclass task; probabilities of 8 bits may tie."""
        return self.probabilities / f"{row}-argmax.png"
