"""Trials before they are trained: drawn or adopted, recorded, and made into a task."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import optuna
from optuna.distributions import distribution_to_json
from optuna.storages import BaseStorage

from harness import files, strict_yaml
from harness.config import TrialConfig
from harness.execution.protocol import TrialTask
from harness.paths import StudyPaths
from harness.records import Failure, TrialRecord, read_record, read_records, write_record
from harness.search.definition import Definition
from harness.search.failures import Attempts
from harness.search.repeats import first_of_each, identity
from harness.search.sampler import derive_seed, distribution_of, row_of, suggest
from harness.search.stamp import Stamp

ENQUEUED = "harness.enqueued"  # of a study: how many rows were handed to Optuna


@dataclass(frozen=True)
class Place:
    """Where a study's trials find what they need."""

    paths: StudyPaths
    data_root: Path
    cache: Path
    device: str


@dataclass
class Running:
    """A trial in a worker's hands."""

    trial: optuna.Trial
    record: TrialRecord
    config: TrialConfig
    attempts: Attempts = field(default_factory=Attempts)
    verdict: Failure | None = None  # the controller's own, while the worker winds up
    judged: int = 0  # the last epoch that the pruner has judged, in any attempt
    unmarked: Sequence[int] = ()  # steps judged before, which Optuna may have no notes of


@dataclass(frozen=True)
class TrialDesk:
    """Draws and adopts the trials of one study.

    Attributes:
        study: its Optuna study, with its sampler set.
        storage: where that lives.
        definition: what the study is.
        place: where its folder and data are.
        stamp: versions and commit, written into each record.
    """

    study: optuna.Study
    storage: BaseStorage
    definition: Definition
    place: Place
    stamp: Stamp

    def enqueue(self) -> None:
        """Hand the space's own configurations to Optuna, once in the life of the study.

        A row that is there twice is trained twice, on two seeds.
        """
        if ENQUEUED in self.study.user_attrs:
            return
        space = self.definition.space
        trials = self.study.get_trials(deepcopy=False)
        n_there = sum("fixed_params" in trial.system_attrs for trial in trials)
        for row in space.enqueue[n_there:]:  # the first ones, if this was interrupted
            self.study.enqueue_trial(space.stored(row))
        self.study.set_user_attr(ENQUEUED, len(space.enqueue))

    def draw(self) -> Running:
        """A new trial, with its configuration drawn and written down."""
        trial = self.study.ask()
        return self._written(trial, self._new_record(trial))

    def adopt(self, number: int) -> Running:
        """A trial that an earlier controller left running: same number, same parameters.

        Asking again for values that are already stored gives the stored ones, and our sampler is
        a function of seed, number and history, so a half-asked trial is completed as it would
        have been.
        """
        trial = optuna.Trial(self.study, self.trial_id(number))
        path = self.place.paths.trial(number).trial_json
        if not path.exists():
            return self._written(trial, self._new_record(trial))
        record = read_record(path)
        held = sorted(trial._cached_frozen_trial.intermediate_values)
        judged = max(record.judged, held[-1] + 1 if held else 0)
        if record.state == "running":
            update = {"attempt": record.attempt + 1, "judged": judged}
            record = record.model_copy(update=update)
        running = self._written(trial, record)
        running.judged, running.unmarked = judged, held
        return running

    def task(self, running: Running) -> TrialTask:
        """All that a worker needs to train this trial."""
        study = self.definition.config
        return TrialTask(
            number=running.record.number,
            attempt=running.record.attempt,
            config=running.config,
            seed=running.record.seed,
            objective=study.objective,
            trial_dir=self.place.paths.trial(running.record.number).root,
            data_root=self.place.data_root,
            split_csv=self.place.paths.split_of(running.record.labels),
            cache=self.place.cache,
            augments=self.place.paths.augments,
            parts=None if study.parts is None else self.place.paths.parts(study.parts.file),
            parts_sha256=None if study.parts is None else study.parts.sha256,
            data=study.data,
            max_pixels=study.limits.max_pixels,
            device=self.place.device,
            micro_batch=running.record.micro_batch,
        )

    def trial_id(self, number: int) -> int:
        """Optuna's own id of a trial."""
        return int(
            self.storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)
        )

    @cached_property
    def _first_of_each(self) -> dict[str, int]:
        """Each configuration that was drawn, with the first trial that has it."""
        return first_of_each(read_records(self.place.paths))

    def _new_record(self, trial: optuna.Trial) -> TrialRecord:
        values = suggest(self.definition.space, trial)
        config = self.definition.trial_config(values)
        distributions = {
            p.key: json.loads(distribution_to_json(distribution_of(p)))
            for p in self.definition.space.parameters
            if p.key in values
        }
        record = TrialRecord(
            study=self.place.paths.name,
            number=trial.number,
            state="running",
            params=dict(trial.params),
            distributions=distributions,
            labels=self._labels(trial.number),
            epochs=config.train.epochs,
            seed=seed_of(config, self.definition.config.seed, trial.number),
            versions=self.stamp.versions,
            git_commit=self.stamp.git_commit,
            started=now(),
        )
        first = self._first_of_each.setdefault(identity(record), record.number)
        return record.model_copy(update={"repeats": first if first < record.number else None})

    def _labels(self, number: int) -> dict[str, str]:
        labels = self.definition.space.labels
        return dict(labels[row_of(self.study, number)]) if labels else {}

    def _written(self, trial: optuna.Trial, record: TrialRecord) -> Running:
        config = self.definition.trial_config(suggest(self.definition.space, trial))
        paths = self.place.paths.trial(record.number)
        files.write_text(paths.config_yaml, strict_yaml.dump(config.model_dump(mode="json")))
        write_record(paths, record)
        return Running(trial, record, config)


def seed_of(config: TrialConfig, study_seed: int, number: int) -> int:
    """The seed a trial trains with: its own setting, else from the study's and its number."""
    own = config.train.seed
    return derive_seed(study_seed, number) if own is None else own


def now() -> str:
    """This moment, UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
