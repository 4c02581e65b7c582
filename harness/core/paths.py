"""Every path of a workspace is spelt here and nowhere else."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import ConfigError

STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
CONFIRM_SUFFIX = ".confirm"  # ends the name of the study that confirms another


def check_study_name(name: str) -> str:
    """The name itself, if it is safe in paths, URLs and tables.

    Raises:
        ConfigError: when it is not; the message says what a name may look like.
    """
    if not STUDY_NAME.fullmatch(name) or name.endswith(CONFIRM_SUFFIX):
        raise ConfigError(
            f"study name {name!r}: use 1 to 64 of A-Z a-z 0-9 . _ - beginning with a letter or "
            "digit, and not ending in .confirm"
        )
    return name


def expand_user_path(path: str | Path) -> Path:
    """A path that a user gave, with a leading `~` or `~name` replaced by that home folder.

    No shell replaces it in `--workspace=~/ws`, in Python or in YAML.

    Raises:
        ConfigError: there is no such user and no such file.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        if Path(path).exists():
            return Path(path)
        raise ConfigError(
            f"{path}: {Path(path).parts[0]} is the home folder of no user of this machine; a file "
            f"of that name is ./{path}"
        ) from None


@dataclass(frozen=True)
class Workspace:
    """The folder in which studies, databases and data live."""

    root: Path

    @classmethod
    def at(cls, folder: str | Path) -> "Workspace":
        """The workspace in a folder that a user named; links and `~` are resolved."""
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
        """The folder of one learning-rate range test. Raises ConfigError for an unsafe name."""
        if not STUDY_NAME.fullmatch(name):
            raise ConfigError(f"--name {name!r}: use 1 to 64 of A-Z a-z 0-9 . _ -")
        return LrFindPaths(self.root / "lr-find" / name)

    def study(self, name: str) -> "StudyPaths":
        """The folder of one study.

        Raises:
            ConfigError: the name is unsafe, or that of another study but for upper and lower case.
        """
        paths = StudyPaths(self.studies / check_study_name(name))
        names = [path.name for path in self.studies.iterdir()] if self.studies.is_dir() else []
        case_variants = sorted(other for other in names if other.casefold() == name.casefold())
        if case_variants and name not in case_variants:
            raise ConfigError(
                f"study {name}: {self.studies} holds {case_variants[0]}, and some disks do not "
                f"distinguish case; use --study {case_variants[0]}, or another name"
            )
        return paths


@dataclass(frozen=True)
class LrFindPaths:
    """`lr-find/<name>/`: what a learning-rate range test leaves."""

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
    """`studies/<name>/`; `is_confirmation`: `studies/<name>/confirm/`, which is laid out alike."""

    root: Path
    is_confirmation: bool = False

    @property
    def name(self) -> str:
        return f"{self.study.root.name}{CONFIRM_SUFFIX}" if self.is_confirmation else self.root.name

    @property
    def study(self) -> "StudyPaths":
        """The study itself; of a confirmation the one that is confirmed."""
        return StudyPaths(self.root.parent) if self.is_confirmation else self

    @property
    def confirm(self) -> "StudyPaths":
        """Folder of the confirming trials of this study."""
        return StudyPaths(self.study.root / "confirm", is_confirmation=True)

    @property
    def confirm_yaml(self) -> Path:
        """Of a confirmation: which trials it confirms, and how often."""
        return self.root / "confirm.yaml"

    @property
    def ranking_csv(self) -> Path:
        """Of a confirmation: what came of it."""
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

    def split_for(self, labels: Mapping[str, str]) -> Path:
        """The split that a trial of these labels is trained on: in a confirmation, its fold's."""
        if self.is_confirmation and "fold" in labels:
            return self.root / f"split-{labels['fold']}.csv"
        return self.split_csv

    @property
    def augments(self) -> Path:
        """Files of augmentation steps that the study names."""
        return self.study.root / "augment"

    def parts(self, name: str) -> Path:
        """The file of the study's own networks, losses and metrics."""
        return self.study.root / name

    @property
    def trials_csv(self) -> Path:
        return self.root / "trials.csv"

    @property
    def report_html(self) -> Path:
        return self.root / "report.html"

    @property
    def test_ledger(self) -> Path:
        """The ledger of looks at sealed images."""
        return self.root / "test-looks.jsonl"

    def test_run(self, number: int) -> "HeldOutTestPaths":
        return HeldOutTestPaths(self.root / "test" / str(number))

    @property
    def lock(self) -> Path:
        return self.study.root / ".lock"

    @property
    def outbox(self) -> Path:
        """Folder of pictures while they are sent to MLflow."""
        return self.root / ".mlflow"

    @property
    def trials(self) -> Path:
        return self.root / "trials"

    def worker_log(self, slot: int) -> Path:
        return self.root / f"worker-{slot}.log"

    def trial(self, number: int) -> "TrialPaths":
        return TrialPaths(self.trials / f"{number:04d}")

    def all_trials(self) -> "list[TrialPaths]":
        """The folders of all trials that have a trial.json, in order of number."""
        folders = [TrialPaths(p.parent) for p in self.trials.glob("*/trial.json")]
        return sorted((f for f in folders if f.root.name.isdigit()), key=lambda f: f.number)


@dataclass(frozen=True)
class HeldOutTestPaths:
    """`studies/<name>/test/<look>/`: what one look at sealed images leaves beside the ledger."""

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
        """Of a confirming trial: the same at the images' own sizes."""
        return self.root / "best" / "own-sizes.csv"

    @property
    def probabilities(self) -> Path:
        return self.root / "best" / "probabilities"

    def probability(self, row: int, class_index: int) -> Path:
        return self.probabilities / f"{row}-{class_index}.png"

    def class_map(self, row: int) -> Path:
        """Multiclass tasks: the decided class of each pixel, beside the probabilities."""
        return self.probabilities / f"{row}-argmax.png"
