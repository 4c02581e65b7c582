"""Creation of trials: sample or resume a configuration, record it, and make a worker's task."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import optuna
from optuna.storages import BaseStorage

from harness.config.study import TrialConfig
from harness.core import files, strict_yaml
from harness.core.environment import EnvironmentInfo
from harness.core.paths import StudyPaths
from harness.core.records import TrialRecord, read_record, read_records, write_record
from harness.core.timestamps import utc_timestamp
from harness.execution.protocol import TrialTask
from harness.search.definition.definition import StudyDefinition
from harness.search.imports.duplicates import config_key, first_trial_by_config
from harness.search.run.running_trial import RunningTrial
from harness.search.sampling.distributions import recorded_distributions, suggest_values
from harness.search.sampling.sampler import row_index_of_trial
from harness.search.sampling.seeds import derive_seed

ENQUEUED_ATTR = "harness.enqueued"  # of a study: how many rows were handed to Optuna


@dataclass(frozen=True)
class TrialContext:
    """Folders and device of a study's trials; `data_on_device` as in `ComputeOptions`.

    Attributes:
        report_steps: workers report their progress within an epoch, too.
    """

    paths: StudyPaths
    data_root: Path
    cache: Path
    device: str
    data_on_device: bool = False
    report_steps: bool = False


@dataclass(frozen=True)
class TrialFactory:
    """Creates and resumes the trials of one study.

    Attributes:
        study: the Optuna study, with its sampler set.
        storage: database of the Optuna study.
        definition: configuration and search space of the study.
        context: folders of the study and its data.
        environment: versions and commit, written into each record.
    """

    study: optuna.Study
    storage: BaseStorage
    definition: StudyDefinition
    context: TrialContext
    environment: EnvironmentInfo

    def enqueue_rows(self) -> None:
        """Enqueue the space's own configurations in Optuna, once in the life of the study.

        A row that occurs twice is trained twice, with two seeds.
        """
        if ENQUEUED_ATTR in self.study.user_attrs:
            return
        space = self.definition.space
        trials = self.study.get_trials(deepcopy=False)
        n_enqueued = sum("fixed_params" in trial.system_attrs for trial in trials)
        for row in space.enqueue[n_enqueued:]:  # a kill may have interrupted this before
            self.study.enqueue_trial(space.to_optuna(row))
        self.study.set_user_attr(ENQUEUED_ATTR, len(space.enqueue))

    def create_trial(self) -> RunningTrial:
        """Create a trial: sample its configuration and write its record."""
        trial = self.study.ask()
        return self._write_trial(trial, self._new_record(trial))

    def resume_trial(self, number: int) -> RunningTrial:
        """Resume a trial that an earlier run left unfinished: same number, same parameters.

        Suggesting values that are already stored returns the stored ones, and our sampler is a
        function of seed, number and history, so a trial that was killed between two suggestions
        is completed as it would have been.
        """
        # The constructor calls the sampler's `before_trial` once more, which ours does not use.
        trial = optuna.Trial(self.study, self.trial_id(number))
        path = self.context.paths.trial(number).trial_json
        if not path.exists():
            return self._write_trial(trial, self._new_record(trial))
        record = read_record(path)
        reported_steps = sorted(trial._cached_frozen_trial.intermediate_values)
        # `judged` is written when an attempt starts, and Optuna has the epochs since then; after a
        # rebuild of the database, the record may be ahead.
        last_epoch = max(record.judged, reported_steps[-1] + 1 if reported_steps else 0)
        if record.state == "running":
            update = {"attempt": record.attempt + 1, "judged": last_epoch}
            record = record.model_copy(update=update)
        running = self._write_trial(trial, record)
        running.last_pruner_epoch, running.unregistered_steps = last_epoch, reported_steps
        return running

    def make_task(self, running: RunningTrial) -> TrialTask:
        """Make the task that a worker needs to train this trial."""
        study = self.definition.config
        return TrialTask(
            number=running.record.number,
            attempt=running.record.attempt,
            config=running.config,
            seed=running.record.seed,
            objective=study.objective,
            trial_dir=self.context.paths.trial(running.record.number).root,
            data_root=self.context.data_root,
            split_csv=self.context.paths.split_for(running.record.labels),
            cache=self.context.cache,
            augments=self.context.paths.augments,
            parts=None if study.parts is None else self.context.paths.parts(study.parts.file),
            parts_sha256=None if study.parts is None else study.parts.sha256,
            data=study.data,
            max_pixels=study.limits.max_pixels,
            device=self.context.device,
            micro_batch=running.record.micro_batch,
            data_on_device=self.context.data_on_device,
            report_steps=self.context.report_steps,
        )

    def trial_id(self, number: int) -> int:
        """Optuna's internal id of a trial, which is unique across studies."""
        return int(
            self.storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)
        )

    @cached_property
    def _first_trial_by_config(self) -> dict[str, int]:
        """Number of the first trial with each configuration."""
        return first_trial_by_config(read_records(self.context.paths))

    def _new_record(self, trial: optuna.Trial) -> TrialRecord:
        values = suggest_values(self.definition.space, trial)
        config = self.definition.trial_config(values)
        active = [p for p in self.definition.space.parameters if p.key in values]
        record = TrialRecord(
            study=self.context.paths.name,
            number=trial.number,
            state="running",
            params=dict(trial.params),
            # Stored with the values, as Optuna's rows cannot be rebuilt from values alone.
            distributions=recorded_distributions(active),
            labels=self._row_labels(trial.number),
            epochs=config.train.epochs,
            seed=trial_seed(config, self.definition.config.seed, trial.number),
            versions=self.environment.versions,
            git_commit=self.environment.git_commit,
            started=utc_timestamp("milliseconds"),
        )
        first = self._first_trial_by_config.setdefault(config_key(record), record.number)
        return record.model_copy(update={"repeats": first if first < record.number else None})

    def _row_labels(self, number: int) -> dict[str, str]:
        labels = self.definition.space.labels
        return dict(labels[row_index_of_trial(self.study, number)]) if labels else {}

    def _write_trial(self, trial: optuna.Trial, record: TrialRecord) -> RunningTrial:
        config = self.definition.trial_config(suggest_values(self.definition.space, trial))
        paths = self.context.paths.trial(record.number)
        # trial.json is written last: `resume_trial` takes its presence for a complete folder.
        files.write_text(paths.config_yaml, strict_yaml.dump_yaml(config.model_dump(mode="json")))
        write_record(paths, record)
        return RunningTrial(trial, record, config)


def trial_seed(config: TrialConfig, study_seed: int, number: int) -> int:
    """The seed of a trial: `train.seed` if set, otherwise from the study's seed and its number."""
    own = config.train.seed
    return derive_seed(study_seed, number) if own is None else own
