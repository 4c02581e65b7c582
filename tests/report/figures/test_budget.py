import pytest

from harness.report.figures.budget import budget_section, categorical_model_parameters
from harness.report.figures.style import ObjectiveLabel
from harness.report.tables.study_tables import StudyTables, load_study_tables
from tests.report.studies import Builder

LOSS = ObjectiveLabel("val/dice_loss", minimized=True)


def test_choices_are_categorical_parameters_of_the_network(tables: StudyTables) -> None:
    assert categorical_model_parameters(tables) == [
        "model.arch",
        "model.encoder_name",
        "model.options.decoder_attention_type",
    ]


def test_each_choice_with_two_groups_is_drawn(tables: StudyTables) -> None:
    found = budget_section(tables, LOSS)
    arch, encoder = found.charts
    assert [trace.name for trace in arch.figure.data if trace.name] == [
        "Unet (3 + 0 pruned)",
        "Linknet (2 + 1 pruned)",
    ]
    line = next(trace for trace in encoder.figure.data if trace.name)
    assert tuple(line.x) == (1, 2, 3)
    # of the four of resnet18, two of them pruned, three sets of three hold the best
    assert line.y[-1] == pytest.approx(0.75 * 0.1234567890123456 + 0.25 * 0.5)
    assert "Excluded values of model.arch, with fewer than 3 trials: FPN (1)." in found.caption


def test_without_choices_it_says_what_is_missing(study: Builder) -> None:
    study.trial(0, [0.5], {"optim.lr": 1e-3})
    assert budget_section(load_study_tables(study.paths), LOSS).empty == (
        "No categorical parameter of the network took two values in finished trials."
    )


def test_groups_that_are_too_small_say_how_many_trials_they_have(study: Builder) -> None:
    for number, name in enumerate(["resnet18", "mobilenet_v2", "resnet18"]):
        study.trial(number, [0.5], {"model.encoder_name": name})
    assert budget_section(load_study_tables(study.paths), LOSS).empty == (
        "Needs two values with 3 complete or pruned trials each. "
        "model.encoder_name: mobilenet_v2 has 1, resnet18 has 2."
    )
