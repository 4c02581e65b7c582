import pytest

from harness.report.figures.axes import ParameterAxis, log_ticks, parameter_axis
from harness.report.tables.study_tables import StudyTables, load_study_tables
from tests.report.studies import Builder


def test_kinds_of_axes(tables: StudyTables) -> None:
    def axis(key: str) -> ParameterAxis | None:
        return parameter_axis(key, tables.records)

    assert axis("optim.lr") == ParameterAxis("optim.lr", "log", (), 1e-5, 9e-3)
    assert axis("model.encoder_depth") == ParameterAxis("model.encoder_depth", "linear", (), 3, 5)
    assert axis("model.arch") == ParameterAxis("model.arch", "choice", ("Unet", "Linknet", "FPN"))
    null_first = ParameterAxis("model.options.decoder_attention_type", "choice", ("null", "scse"))
    assert axis("model.options.decoder_attention_type") == null_first
    assert axis("optim.momentum") is None


def test_choices_that_are_numbers_are_in_their_order(study: Builder) -> None:
    choices = {"name": "CategoricalDistribution", "attributes": {"choices": [8, 4, 16]}}
    for number, size in enumerate([16, 4, 8]):
        params = {"train.batch_size": size}
        shapes = {"train.batch_size": choices}
        study.trial(number, [0.5], params, distributions=shapes)
    axis = parameter_axis("train.batch_size", load_study_tables(study.paths).records)
    assert axis is not None and axis.choices == ("4", "8", "16")


@pytest.mark.parametrize(
    ("axis", "value", "position"),
    [
        (ParameterAxis("k", "linear", (), 2, 6), 3, 0.25),
        (ParameterAxis("k", "log", (), 1e-4, 1e-2), 1e-3, 0.5),
        (ParameterAxis("k", "choice", ("a", "b", "null")), None, 1.0),
        (ParameterAxis("k", "linear", (), 3, 3), 3, 0.5),
        (ParameterAxis("k", "choice", ("a",)), "a", 0.5),
    ],
)
def test_position_between_the_ends(axis: ParameterAxis, value: object, position: float) -> None:
    assert axis.position(value) == pytest.approx(position)


def test_an_axis_with_one_value_does_not_vary() -> None:
    assert (
        not ParameterAxis("k", "choice", ("a",)).varies
        and not ParameterAxis("k", "log", (), 1, 1).varies
    )
    assert (
        ParameterAxis("k", "choice", ("a", "b")).varies
        and ParameterAxis("k", "linear", (), 0, 1).varies
    )


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0.1, 0.4, ["0.1", "0.2", "0.5"]),
        (1e-5, 1e-2, ["1e-5", "1e-4", "0.001", "0.01"]),
        (0.01, 1.0, ["0.01", "0.03", "0.1", "0.3", "1"]),
    ],
)
def test_log_ticks_are_few_and_round(low: float, high: float, texts: list[str]) -> None:
    assert log_ticks(ParameterAxis("k", "log", (), low, high))["ticktext"] == texts
