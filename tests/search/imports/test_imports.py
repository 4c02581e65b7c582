import shutil
from pathlib import Path

import optuna
import pytest

from harness.config.study import SamplerConfig
from harness.core.errors import ConfigError, UserError
from harness.core.paths import StudyPaths
from harness.core.records import TrialFailure, read_epochs, read_record, read_records
from harness.report.tables.study_tables import load_study_tables
from harness.search.definition.definition import StudyDefinition
from harness.search.imports.copy_trials import copy_imports
from harness.search.imports.imports import check_import_names, exclusion_lines
from harness.search.run.retention import ArtifactRetention
from harness.search.sampling.sampler import SpaceSampler
from harness.search.storage.optuna_study import own_trials
from harness.search.storage.rebuild import add_missing_trials
from tests.report.studies import Builder
from tests.search.earlier import SPACE, begin, new_definition
from tests.search.fakes import FakeExecutor, Silence, controller_of

RANGE = {"name": "FloatDistribution", "attributes": {"step": None, "low": 0.0, "high": 10.0}}


@pytest.fixture
def old(study: Builder) -> Builder:
    """Complete, pruned, failed, complete with another depth, running; searched in [0, 1]."""
    study.trial(0, [0.6, 0.5, 0.4, 0.45], {"loss.dice": 0.25})
    study.trial(1, [0.9, 0.95], {"loss.dice": 1.0}, state="pruned")
    failure = TrialFailure(cause="crashed", message="x")
    study.trial(2, [0.8], {"loss.dice": 0.5}, state="failed", failure=failure)
    study.trial(3, [0.6, 0.5, 0.4, 0.3], {"loss.dice": 0.5, "model.encoder_depth": 4})
    study.trial(4, [0.6], {"loss.dice": 0.5}, state="running")
    study.trial(5, [0.6, 0.5, 0.4, 0.35], {"loss.dice": 0.25})
    return study


def in_memory(paths: StudyPaths, definition: StudyDefinition) -> optuna.Study:
    study = optuna.create_study(direction="minimize")
    add_missing_trials(study, paths, definition)
    return study


def test_finished_trials_that_fit_come_first_and_marked(old: Builder) -> None:
    paths, definition = begin(old.root, [old])
    copy_imports(paths, definition)
    records = read_records(paths)
    assert [record.imported for record in records] == ["old/0", "old/1", "old/5"]
    assert [(r.number, r.study, r.state) for r in records] == [
        (0, "new", "complete"),
        (1, "new", "pruned"),
        (2, "new", "complete"),
    ]
    assert [record.repeats for record in records] == [None, None, 0]
    first = read_record(old.paths.trial(0).trial_json)
    assert (records[0].value, records[0].best, records[0].seed) == (0.4, first.best, first.seed)
    assert records[0].distributions["loss.dice"]["attributes"]["high"] == 10.0
    epochs = read_epochs(paths.trial(0))
    assert epochs == read_epochs(old.paths.trial(0)) and len(epochs) == 4
    assert not paths.trial(0).model.exists()


def test_what_does_not_fit_is_recorded_and_told_by_reason(old: Builder) -> None:
    _, definition = begin(old.root, [old])
    (plan,) = definition.config.imports
    assert (plan.study, plan.id, plan.trials) == ("old", "0" * 32, (0, 1, 5))
    assert plan.left_out == {
        "failed": (2,),
        "model.encoder_depth was searched there and is 5 here": (3,),
        "still running": (4,),
    }
    assert exclusion_lines(plan)[0] == "failed: 1 trial (2)"


def test_optuna_has_states_steps_and_the_new_distributions(old: Builder) -> None:
    paths, definition = begin(old.root, [old])
    copy_imports(paths, definition)
    study = in_memory(paths, definition)
    complete, pruned, _ = study.trials
    assert complete.state.name == "COMPLETE" and complete.value == 0.4
    assert complete.intermediate_values == {0: 0.6, 1: 0.5, 2: 0.4, 3: 0.45}
    assert pruned.state.name == "PRUNED" and pruned.intermediate_values == {0: 0.9, 1: 0.95}
    assert complete.user_attrs["harness.imported"] == "old/0"
    assert complete.distributions == {"loss.dice": optuna.distributions.FloatDistribution(0, 10)}
    assert own_trials(study) == []
    add_missing_trials(study, paths, definition)
    assert len(study.trials) == 3, "telling again must change nothing"


@pytest.mark.parametrize("n_told", [0, 1, 2])
@pytest.mark.parametrize("n_copied", [0, 1, 2, 3])
def test_a_kill_during_the_import_is_made_good(old: Builder, n_copied: int, n_told: int) -> None:
    paths, definition = begin(old.root, [old])
    copy_imports(paths, definition)
    whole = read_records(paths)
    study = in_memory(paths, definition)
    for number in range(n_copied, 3):  # epochs.jsonl came before the kill, trial.json did not
        paths.trial(number).trial_json.unlink()
    killed = optuna.create_study()
    killed.add_trials(study.trials[:n_told])
    copy_imports(paths, new_definition(paths, None))  # as recorded in study.yaml
    add_missing_trials(killed, paths, definition)
    assert read_records(paths) == whole
    assert [t.params for t in killed.trials] == [t.params for t in study.trials]


def test_continuing_needs_the_earlier_study_no_more(old: Builder) -> None:
    paths, definition = begin(old.root, [old])
    copy_imports(paths, definition)
    shutil.rmtree(old.paths.root)
    copy_imports(paths, new_definition(paths, None))
    assert len(read_records(paths)) == 3


def test_an_earlier_study_replaced_during_the_import_is_refused(old: Builder) -> None:
    paths, definition = begin(old.root, [old])
    text = old.paths.study_yaml.read_text()
    old.paths.study_yaml.write_text(text.replace("0" * 32, "1" * 32))
    with pytest.raises(UserError, match="study old was replaced while new imported it"):
        copy_imports(paths, definition)


def test_imported_trials_do_not_count_and_numbers_go_on(old: Builder) -> None:
    paths = StudyPaths(old.root / "studies" / "s")
    _, definition = begin(old.root, [old])
    copy_imports(paths, definition)
    executor, silence = FakeExecutor(lambda task: [0.5] * 4), Silence()
    controller = controller_of(old.root, definition, executor, silence)
    add_missing_trials(controller._study, paths, definition)
    controller.run(2)
    assert [task.number for task in executor.started] == [3, 4]
    assert controller.count_finished() == 2
    assert [record.state for record in silence.ended_records] == ["complete", "complete"]


def test_seeds_follow_from_the_number_alone(old: Builder, tmp_path: Path) -> None:
    """Trial 3 of a study with three imported trials has the seed of any trial 3 at that seed."""
    _, definition = begin(old.root, [old])
    seeds = []
    for root, n_trials in ((old.root, 1), (tmp_path / "plain", 4)):
        executor = FakeExecutor(lambda task: [0.5] * 4)
        controller = controller_of(root, definition, executor)
        if root == old.root:
            copy_imports(StudyPaths(root / "studies" / "s"), definition)
            add_missing_trials(controller._study, StudyPaths(root / "studies" / "s"), definition)
        controller.run(n_trials)
        assert executor.started[-1].number == 3
        seeds.append(executor.started[-1].seed)
    assert seeds[0] == seeds[1]


@pytest.mark.parametrize("best", [0.1, 0.9])
@pytest.mark.parametrize("seed", range(5))
def test_a_widened_range_is_entered_within_20_trials(
    study: Builder, seed: int, best: float
) -> None:
    """[0, 1] becomes [0, 10]: wherever the old optimum lay, a draw goes beyond 1."""
    for number in range(12):
        dice = (number + 0.5) / 12
        study.trial(number, [0.2 + abs(dice - best) / 2], {"loss.dice": dice})
    paths, definition = begin(study.root, [study])
    copy_imports(paths, definition)
    optuna_study = in_memory(paths, definition)
    optuna_study.sampler = SpaceSampler(definition.space, SamplerConfig(), seed)
    drawn = []
    for _ in range(20):
        trial = optuna_study.ask()
        drawn.append(trial.suggest_float("loss.dice", 0, 10))
        optuna_study.tell(trial, 0.2 + abs(drawn[-1] - best) / 20)
    assert max(drawn) > 1


def test_a_grid_leaves_out_what_was_imported(old: Builder) -> None:
    space = SPACE | {"parameters": {"loss.dice": {"choices": [0.25, 0.5, 1.0]}}}
    paths, definition = begin(old.root, [old], space)
    copy_imports(paths, definition)
    sampler = SpaceSampler(definition.space, SamplerConfig(name="grid"), 0)
    study = in_memory(paths, definition)
    assert sampler.n_grid_trials(study) == 1
    study.sampler = sampler
    trial = study.ask()
    assert trial.suggest_categorical("loss.dice", [0.25, 0.5, 1.0]) == 0.5


def test_every_study_that_cannot_be_imported_is_named(old: Builder) -> None:
    other = Builder(old.root, "other", {"data": {"root": "tiny", "eval_size": 64}})
    empty = Builder(old.root, "empty")
    ghost = Builder(old.root, "ghost")
    shutil.rmtree(ghost.paths.root)
    with pytest.raises(ConfigError) as caught:
        begin(old.root, [old, other, empty, ghost])
    assert caught.value.problems[:2] == [
        "--from other: values would not be comparable: data.eval_size: 64 there, 32 here",
        "--from empty: no trial of it fits; it has no trials",
    ]
    assert caught.value.problems[2].startswith(
        f"--from ghost: there is no study ghost in {old.root}/studies; choose from empty, old"
    )
    assert not (old.root / "studies" / "new").exists()


def test_a_trial_that_two_studies_have_is_imported_once(old: Builder) -> None:
    paths, definition = begin(old.root, [old])
    copy_imports(paths, definition)
    both = Builder(old.root, "copied")
    for number, record in enumerate(read_records(paths)):
        both.trial(number, [record.value or 0.0], dict(record.params), imported=record.imported)
    both.trial(3, [0.7], {"loss.dice": 0.75})
    shutil.rmtree(paths.root)
    _, definition = begin(old.root, [old, both])
    assert [plan.trials for plan in definition.config.imports] == [(0, 1, 5), (3,)]
    assert definition.config.imports[1].left_out == {
        "imported already, from another study": (0, 1, 2)
    }


def test_a_study_that_has_begun_imports_nothing_new(old: Builder) -> None:
    paths, definition = begin(old.root, [old])
    check_import_names(["old"], paths, definition.config)
    with pytest.raises(
        ConfigError, match="--from encoders: study new has started without this import"
    ):
        check_import_names(["old", "encoders"], paths, definition.config)
    again = new_definition(paths)
    assert again.is_started and again.config.imports == definition.config.imports


def test_a_report_tells_imported_trials_apart(old: Builder) -> None:
    from harness.report.page.headline import summary_lines
    from harness.report.tables.sheets import ranking_sheet

    paths, definition = begin(old.root, [old])
    copy_imports(paths, definition)
    tables = load_study_tables(paths)
    lines = {line.title: line.text for line in summary_lines(tables, [])}
    assert lines["Search"] == (
        "1 parameter: loss.dice. 0 finished: 0 complete, 0 pruned, 0 failed. 0 epochs trained. "
        "In addition, 3 trials were imported from old."
    )
    sheet = ranking_sheet(tables)
    marks = [i for i, c in enumerate(sheet.columns) if c.title in ("repeats", "imported")]
    assert [[row[i].text for i in marks] for row in sheet.rows] == [["0", "old/5"], ["", "old/0"]]
    assert list(tables.trials["imported"]) == ["old/0", "old/1", "old/5"]


def test_imported_trials_displace_no_model_and_can_be_the_best(old: Builder) -> None:
    for number, loss in ((10, 0.39), (11, 0.41)):
        old.trial(number, [loss], {"loss.dice": 0.1})
        old.paths.trial(number).model.mkdir(parents=True)
    record = old.trial(12, [0.2], {"loss.dice": 0.2}, imported="older/3")
    for number in (0, 1, 3, 5):  # the others are no part of this
        shutil.rmtree(old.paths.trial(number).root)
    config = load_study_tables(old.paths).config
    keep = config.model_copy(update={"budget": config.budget.model_copy(update={"keep": 1})})
    keeper = ArtifactRetention(old.paths, keep)
    assert keeper.best == record
    assert [old.paths.trial(n).model.exists() for n in (10, 11)] == [True, False]
