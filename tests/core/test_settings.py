import pytest

from harness.config.study import (
    ModelConfig,
    OptimConfig,
    SamplerConfig,
    StudyConfig,
    TrialConfig,
    trial_keys,
)
from harness.core.errors import ConfigError
from harness.core.settings import flatten, literal_values, nest


def test_nest_and_flatten_are_each_other_s_inverse() -> None:
    flat = {"a.b": 1, "a.c.d": [2], "e": None}
    nested = {"a": {"b": 1, "c": {"d": [2]}}, "e": None}
    assert nest(flat) == nested
    assert flatten(nested) == flat


def test_nest_refuses_a_value_that_is_also_a_group() -> None:
    with pytest.raises(ConfigError, match=r"^optim.lr: optim is a value, not a group$"):
        nest({"optim": 1, "optim.lr": 2})


def test_literal_values_lists_what_a_field_allows() -> None:
    assert literal_values(SamplerConfig, "name") == ("tpe", "random", "gp", "qmc", "grid")
    assert literal_values(OptimConfig, "lr") == ()
    assert literal_values(ModelConfig, "arch") == ()


NULLABLE = {
    **{f"trial:{key}": key for key in trial_keys()},
    "study:ignore_index": "data.ignore_index",
    "study:folds": "split.folds",
    "study:gpu_hours": "budget.gpu_hours",
    "study:min_resource": "pruner.min_resource",
}


@pytest.mark.parametrize("place", NULLABLE)
def test_null_is_named_among_the_legal_values_exactly_where_it_is_one(place: str) -> None:
    """Python's None is a text in YAML, and no value of any of these settings."""
    kind, key = place.partition(":")[0], NULLABLE[place]

    def problems(value: object) -> str:
        try:
            if kind == "trial":
                TrialConfig.from_flat({key: value})
            else:
                group, _, name = key.partition(".")
                StudyConfig.from_mapping({group: {name: value}}, source="s")
        except ConfigError as error:
            return next((line for line in error.problems if f"{key}: " in line), "")
        return ""

    said = problems("None")
    if said or key not in ("model.arch", "model.encoder_name"):
        assert ("null" in said.partition("(got")[0]) == (problems(None) == ""), said
