import numpy as np
import pytest

from harness.report.analysis.importance import measure_importances
from harness.report.analysis.interactions import find_interactions, measure_interactions
from harness.report.figures.importances import interaction_sentence
from harness.report.tables.study_tables import StudyTables, load_study_tables, ranked_records
from tests.report.studies import Builder

KEYS = ("loss.dice", "loss.bce", "optim.lr")


def random_trials(study: Builder, interaction: float, seed: int = 0) -> StudyTables:
    """60 trials whose loss is a + b + c (a - 1/2)(b - 1/2) with little noise; the rate is idle."""
    rng = np.random.default_rng(seed)
    for number in range(60):
        a, b = (float(value) for value in rng.random(2))
        params = {"loss.dice": a, "loss.bce": b, "optim.lr": float(10 ** rng.uniform(-5, -2))}
        loss = 0.2 * a + 0.2 * b + interaction * (a - 0.5) * (b - 0.5)
        study.trial(number, [0.3 + loss + 0.02 * float(rng.normal())], params)
    return load_study_tables(study.paths)


def test_a_product_of_two_parameters_is_named(study: Builder) -> None:
    tables = random_trials(study, 1.0)
    found = find_interactions(ranked_records(tables), KEYS)
    assert found.n_pairs == 3
    (pair,) = found.named
    assert {pair.first, pair.second} == {"loss.dice", "loss.bce"}
    assert pair.explained > 0.5 > pair.shuffled > 0
    assert "loss.dice with loss.bce" in interaction_sentence(found)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_effects_that_add_up_are_no_interaction(study: Builder, seed: int) -> None:
    tables = random_trials(study, 0.0, seed)
    found = find_interactions(ranked_records(tables), KEYS)
    assert found.n_pairs == 3 and found.named == ()
    assert interaction_sentence(found) == (
        "Of 3 pairs of these parameters, none explains more together than shuffled values do."
    )


def test_only_parameters_that_matter_are_paired(study: Builder) -> None:
    tables = random_trials(study, 1.0)
    importances = measure_importances(tables)
    assert {parameter.key for parameter in importances.named} == {"loss.dice", "loss.bce"}
    assert measure_interactions(tables, importances).n_pairs == 1


def test_few_trials_test_no_pair(tables: StudyTables) -> None:
    found = measure_interactions(tables, measure_importances(tables))
    assert found.n_pairs == 0 and interaction_sentence(found) == ""
