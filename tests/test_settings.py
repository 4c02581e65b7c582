import pytest

from harness.config import ModelConfig, OptimConfig, SamplerConfig
from harness.errors import ConfigError
from harness.settings import flatten, literal_values, nest


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
