import json
import math

import optuna
import pytest

from harness.core import files
from harness.core.errors import ConfigError
from harness.report.analysis.importance import (
    importance_shares,
    pedanova_shares,
    sample_by_rank,
    space_branches,
)
from harness.report.tables.study_tables import StudyTables, load_study_tables
from tests.report.studies import Builder


def many(study: Builder, n: int, sign: float = 1.0) -> StudyTables:
    """n trials whose value follows the learning rate alone."""
    for i in range(n):
        rate, share = 10 ** (-5 + 3 * i / (n - 1)), (i * 7 % n) / n
        loss = 0.5 + sign * (0.4 * i / (n - 1) - 0.2)
        study.trial(i, [loss], {"optim.lr": rate, "loss.dice": share})
    return load_study_tables(study.paths)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_importances_name_the_parameter_that_decides(study: Builder, sign: float) -> None:
    tables = many(study, 24, sign)
    every = pedanova_shares(tables)
    assert list(every) == ["optim.lr", "loss.dice"]
    assert every["optim.lr"] > 0.8 and math.fsum(every.values()) == pytest.approx(1.0)
    assert importance_shares(tables) == {"optim.lr": 1.0}  # the weight is not told from chance


def test_shares_equal_those_of_an_optuna_study_with_the_same_trials(study: Builder) -> None:
    tables = many(study, 60)  # from 50 trials on, the best tenth is Optuna's own choice
    other = optuna.create_study()
    for record in tables.records:
        other.enqueue_trial(record.params)
        trial = other.ask()
        trial.suggest_float("optim.lr", 1e-5, 1e-2, log=True)
        trial.suggest_float("loss.dice", 0, 1)
        other.tell(trial, record.value)
    expected = optuna.importance.get_param_importances(other)
    assert pedanova_shares(tables) == pytest.approx(expected)


def test_importances_say_nothing_about_too_few_trials(study: Builder) -> None:
    assert importance_shares(many(study, 4)) == {}


def test_importances_say_nothing_where_all_trials_are_alike(study: Builder) -> None:
    for number in range(8):
        study.trial(number, [0.1 * number], {"model.encoder_depth": 4, "optim.lr": 1e-3})
    assert importance_shares(load_study_tables(study.paths)) == {}


def test_importances_name_the_trial_whose_record_disagrees_with_itself(study: Builder) -> None:
    many(study, 6)
    path = study.paths.trial(2).trial_json
    record = json.loads(path.read_text())
    record["params"]["optim.lr"] = "fast"
    path.write_text(json.dumps(record))
    with pytest.raises(ConfigError, match=r"0002.trial\.json: parameters do not match"):
        importance_shares(load_study_tables(study.paths))


BRANCHED = """parameters:
  model.arch: {choices: [Unet, Linknet, FPN]}
  model.options.decoder_attention_type: {choices: [null, scse], when: {model.arch: [Unet]}}
"""


def test_a_branch_for_each_value_that_others_depend_on(study: Builder) -> None:
    files.write_text(study.paths.space_yaml, BRANCHED)
    for number, arch in enumerate(["Unet", "Linknet", "Unet"]):
        more = {"model.options.decoder_attention_type": None} if arch == "Unet" else {}
        params = {"model.arch": arch, "model.encoder_name": "resnet18", **more}
        study.trial(number, [0.5 - 0.1 * number], params)
    found = space_branches(load_study_tables(study.paths))
    assert [(one.key, one.value) for one in found] == [
        ("model.arch", "Linknet"),
        ("model.arch", "Unet"),
    ]
    assert [[record.number for record in one.records] for one in found] == [[1], [2, 0]]


def test_a_space_without_conditions_has_no_branches(tables: StudyTables) -> None:
    assert space_branches(tables) == []


def test_importances_of_a_branch_know_its_trials_only(study: Builder) -> None:
    """Loss follows the rate under Unet, the weight under Linknet."""
    for i in range(48):
        arch, rate, weight = ("Unet", "Linknet")[i % 2], i / 47, (i * 29 % 48) / 47
        params = {"model.arch": arch, "optim.lr": 10 ** (-5 + 3 * rate), "loss.dice": weight}
        study.trial(i, [0.1 + 0.8 * (rate if arch == "Unet" else weight)], params)
    files.write_text(study.paths.space_yaml, BRANCHED)
    tables = load_study_tables(study.paths)
    linknet, unet = space_branches(tables)
    assert next(iter(importance_shares(tables, unet.records))) == "optim.lr"
    assert next(iter(importance_shares(tables, linknet.records))) == "loss.dice"
    assert "model.arch" not in importance_shares(tables, unet.records)


def test_many_trials_are_sampled_evenly_from_best_to_worst(study: Builder) -> None:
    record = study.trial(0, [0.5])
    many = [record.model_copy(update={"number": number}) for number in range(5000)]
    kept = [one.number for one in sample_by_rank(many)]
    assert len(kept) == 1000 and kept[:3] == [0, 5, 10] and kept[-1] == 4995
    assert sample_by_rank(many[:1000]) == many[:1000]
