"""Select the weights of a held-out test: one trial's, or those of the confirmed choice."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.config.study import TrialConfig
from harness.core import files, strict_yaml
from harness.core.errors import UserError
from harness.core.paths import StudyPaths, TrialPaths
from harness.core.records import TrialRecord, read_record, read_records
from harness.core.settings import flatten
from harness.data.splits.split_file import SplitRow, read_split
from harness.evaluation.confirm.load_confirmation import load_confirmation
from harness.evaluation.confirm.results import Confirmation


@dataclass(frozen=True)
class TrialWeights:
    """The saved weights of one trial.

    Attributes:
        label: label in the ledger: "7" for a trial of the search, "confirm/2" for a confirming one.
        split_csv: split whose validation images the weights were not trained on.
    """

    label: str
    paths: TrialPaths
    split_csv: Path

    @property
    def config(self) -> TrialConfig:
        """Configuration of the trial. Raises ConfigError if its config.yaml is invalid."""
        source = str(self.paths.config_yaml)
        nested = strict_yaml.load_yaml(
            self.paths.config_yaml.read_text(encoding="utf-8"), source=source
        )
        return TrialConfig.from_flat(flatten(nested.value), source=source)

    @property
    def sha256(self) -> str:
        """SHA-256 over the lines `<hash> <name>` of the files in `best/model`, sorted by name."""
        # iterdir has no fixed order, and the hash must not depend on the file system.
        model_files = sorted(path for path in self.paths.model.iterdir() if path.is_file())
        lines = "".join(f"{files.file_sha256(path)} {path.name}\n" for path in model_files)
        return hashlib.sha256(lines.encode()).hexdigest()


def select_weights(
    paths: StudyPaths, trial: int | None, *, ensemble: bool = False, keep: int = 5
) -> tuple[TrialWeights, ...]:
    """Select the weights of one trial of the search, or of the confirmed choice.

    Args:
        trial: number of a trial of the search; None: the confirmed choice.
        ensemble: all confirming trials of the choice; otherwise the recommended one.
        keep: number of trials that keep their models, for the error message.

    Raises:
        UserError: the trial does not exist, nothing is confirmed, or the weights were deleted.
    """
    if trial is not None:
        if ensemble:
            raise UserError(
                "--ensemble with --trial: --ensemble averages the confirmed seeds of the choice; "
                "leave out one of the two"
            )
        return (_search_weights(paths, trial, keep),)
    return _confirmed_weights(paths, ensemble=ensemble)


def _search_weights(paths: StudyPaths, number: int, keep: int) -> TrialWeights:
    records = {record.number: record for record in read_records(paths)}
    if number not in records:
        available = f"its trials are 0 to {max(records)}" if records else "it has no trials yet"
        raise UserError(f"--trial {number}: study {paths.name} has no such trial; {available}")
    record, trial = records[number], paths.trial(number)
    if not trial.model.is_dir():
        raise UserError(
            f"--trial {number}: {_missing_reason(record, keep)}{_list_available(paths)}"
        )
    return TrialWeights(str(number), trial, paths.split_csv)


def _missing_reason(record: TrialRecord, keep: int) -> str:
    if record.imported is not None:
        return f"this trial was imported from {record.imported}, which has its weights"
    if record.state != "complete":
        return f"this trial is {record.state}; only complete trials keep their weights"
    return (
        f"its weights were deleted: only the best {keep} trials keep them (budget.keep); raise "
        "budget.keep in study.yaml before a study runs, or train the configuration again with "
        "`harness confirm`"
    )


def _list_available(paths: StudyPaths) -> str:
    numbers = [str(trial.number) for trial in paths.all_trials() if trial.model.is_dir()]
    return f"; weights are available of trial {', '.join(numbers)}" if numbers else ""


def _confirmed_weights(paths: StudyPaths, *, ensemble: bool) -> tuple[TrialWeights, ...]:
    """The weights that the confirmation recommends, or all complete runs of its choice."""
    confirmation = load_confirmation(paths)
    if confirmation is None:
        raise _no_choice_error(paths, "has no confirmation")
    return confirmed_weights(paths, confirmation, ensemble=ensemble)


def confirmed_weights(
    paths: StudyPaths, confirmation: Confirmation, *, ensemble: bool = False
) -> tuple[TrialWeights, ...]:
    """The weights of the choice of a confirmation; arguments and errors as in `select_weights`."""
    # Without a decision there is no choice: testing several candidates and keeping the best one
    # would select on the test images.
    choice, best_run = confirmation.choice, confirmation.weights
    if choice is None or best_run is None:
        raise _no_choice_error(paths, f"has no confirmed choice ({confirmation.sentence})")
    complete = [run for run in choice.runs if run.state == "complete"]
    selected = []
    # Refused as a whole if one run's weights are
    # missing: a smaller ensemble would be another model.
    for run in complete if ensemble else [best_run]:
        trial = paths.confirm.trial(run.number)
        if not trial.model.is_dir():
            raise UserError(
                f"{trial.model}: the weights of confirming trial {run.number} are missing; choose "
                f"a trial of the search with --trial N{_list_available(paths)}"
            )
        labels = read_record(trial.trial_json).labels
        selected.append(
            TrialWeights(f"confirm/{run.number}", trial, paths.confirm.split_for(labels))
        )
    return tuple(selected)


def _no_choice_error(paths: StudyPaths, reason: str) -> UserError:
    """Error of a test without a confirmed choice, with both remedies."""
    return UserError(
        f"study {paths.name} {reason}; confirm it first: harness confirm --study {paths.name} "
        f"--top 5 --seeds 3, or choose one trial: harness test --study {paths.name} --trial N"
    )


def group_held_out_images(
    weights: Sequence[TrialWeights],
) -> list[tuple[tuple[int, ...], list[SplitRow]]]:
    """Validation images in groups, each with the indices of the weights not trained on them.

    Weights of one split share all validation images; weights of folds each have their own, so an
    ensemble of folds is never evaluated on images that a member was trained on.
    """
    rows: dict[int, SplitRow] = {}
    indices: dict[int, list[int]] = {}
    for index, member in enumerate(weights):
        for row in read_split(member.split_csv):
            if row.role == "val":
                # Row numbers are the same in all folds of a study, so
                # they identify an image across members.
                rows[row.row] = row
                indices.setdefault(row.row, []).append(index)
    groups: dict[tuple[int, ...], list[SplitRow]] = {}
    for number in sorted(rows):
        groups.setdefault(tuple(indices[number]), []).append(rows[number])
    return list(groups.items())
