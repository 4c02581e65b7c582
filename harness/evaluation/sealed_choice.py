"""Which weights a look is taken with: one trial's, or those of the confirmed choice."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from harness import files, strict_yaml
from harness.config import TrialConfig
from harness.errors import UserError
from harness.evaluation.confirmed import load_confirmation
from harness.paths import StudyPaths, TrialPaths
from harness.records import TrialRecord, read_record, read_records
from harness.settings import flatten


@dataclass(frozen=True)
class Weights:
    """The saved weights of one trial.

    Attributes:
        label: as in the ledger: "7" for a trial of the search, "confirm/2" for a confirming one.
        split_csv: whose validation images the weights have not been trained on.
    """

    label: str
    paths: TrialPaths
    split_csv: Path

    @property
    def config(self) -> TrialConfig:
        """Of the trial. Raises ConfigError when its config.yaml is not one."""
        place = str(self.paths.config_yaml)
        nested = strict_yaml.load(self.paths.config_yaml.read_text(encoding="utf-8"), place=place)
        return TrialConfig.from_flat(flatten(nested.value), place=place)

    @property
    def sha256(self) -> str:
        """Over the lines `<hash> <name>` of the files in `best/model`, sorted by name."""
        found = sorted(path for path in self.paths.model.iterdir() if path.is_file())
        lines = "".join(f"{files.sha256(path)} {path.name}\n" for path in found)
        return hashlib.sha256(lines.encode()).hexdigest()


def chosen_trial(
    paths: StudyPaths, trial: int | None, *, ensemble: bool = False, keep: int = 5
) -> tuple[Weights, ...]:
    """The weights that were asked for: of a trial of the search, else of the confirmed choice.

    Args:
        trial: number of a trial of the search; None: the confirmed choice.
        ensemble: all confirming trials of the choice; otherwise the best of them by the objective.
        keep: how many trials keep their models, for the message.

    Raises:
        UserError: there is no such trial, nothing is confirmed, or the weights are gone.
    """
    if trial is not None:
        if ensemble:
            raise UserError(
                "--ensemble averages the confirmed seeds of the choice; leave out --trial"
            )
        return (_searched(paths, trial, keep),)
    return _confirmed(paths, ensemble=ensemble)


def _searched(paths: StudyPaths, number: int, keep: int) -> Weights:
    records = {record.number: record for record in read_records(paths)}
    if number not in records:
        there = f"they are 0 to {max(records)}" if records else "there is none yet"
        raise UserError(f"--trial {number}: no such trial in study {paths.name}; {there}")
    record, trial = records[number], paths.trial(number)
    if not trial.model.is_dir():
        raise UserError(f"--trial {number}: {_why_gone(record, keep)}{_with_models(paths)}")
    return Weights(str(number), trial, paths.split_csv)


def _why_gone(record: TrialRecord, keep: int) -> str:
    if record.imported is not None:
        return f"was imported from {record.imported}, and its weights are there"
    if record.state != "complete":
        return f"is {record.state}; only complete trials keep their weights"
    return (
        f"its weights were thinned away: only the best {keep} keep them (budget.keep); raise it "
        "in study.yaml before a study runs, or retrain the configuration with `harness confirm`"
    )


def _with_models(paths: StudyPaths) -> str:
    there = [str(trial.number) for trial in paths.all_trials() if trial.model.is_dir()]
    return f"; weights are there of trial {', '.join(there)}" if there else ""


def _confirmed(paths: StudyPaths, *, ensemble: bool) -> tuple[Weights, ...]:
    """The weights that the confirmation offers, or those of all complete runs of its choice."""
    confirmation = load_confirmation(paths)
    if confirmation is None:
        raise _unconfirmed(paths, "is not confirmed")
    choice, offered = confirmation.choice, confirmation.weights
    if choice is None or offered is None:
        raise _unconfirmed(paths, f"has no confirmed choice ({confirmation.sentence})")
    complete = [run for run in choice.runs if run.state == "complete"]
    found = []
    for run in complete if ensemble else [offered]:
        trial = paths.confirm.trial(run.number)
        if not trial.model.is_dir():
            raise UserError(
                f"{trial.model}: the weights of confirming trial {run.number} are gone; name a "
                f"trial of the search with --trial N{_with_models(paths)}"
            )
        labels = read_record(trial.trial_json).labels
        found.append(Weights(f"confirm/{run.number}", trial, paths.confirm.split_of(labels)))
    return tuple(found)


def _unconfirmed(paths: StudyPaths, why: str) -> UserError:
    """The error of a test without a choice, with both ways out."""
    return UserError(
        f"study {paths.name} {why}; confirm first: harness confirm --study {paths.name} --top 5 "
        f"--seeds 3, or name one trial: harness test --study {paths.name} --trial N"
    )
