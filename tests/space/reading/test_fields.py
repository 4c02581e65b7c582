# ruff: noqa: E501  # each case is written on one line
from typing import Any

import pytest

from harness.space.parameters import Categorical, FloatRange, IntRange, Parameter
from harness.space.reading.fields import read_parameter
from tests.space.spaces import LEGAL


def read(key: str, written: Any) -> tuple[Parameter | None, list[tuple[str, str]]]:
    notes: list[tuple[str, str]] = []
    parameter = read_parameter(key, written, LEGAL, lambda name, what: notes.append((name, what)))
    return parameter, notes


@pytest.mark.parametrize(
    ("key", "written", "parameter"),
    [
        ("model.arch", {"choices": ["Unet", "FPN"]}, Categorical("model.arch", ("Unet", "FPN"))),
        ("train.epochs", {"low": 3, "high": 5}, IntRange("train.epochs", 3, 5)),
        ("train.epochs", {"low": 4, "high": 12, "step": 4}, IntRange("train.epochs", 4, 12, 4)),
        ("train.epochs", {"low": 1, "high": 64, "log": True}, IntRange("train.epochs", 1, 64, 1, True)),
        ("optim.lr", {"low": 1e-5, "high": 1, "log": True}, FloatRange("optim.lr", 1e-5, 1.0, None, True)),
        ("loss.dice", {"low": 0.0, "high": 1.0}, FloatRange("loss.dice", 0.0, 1.0)),
        ("loss.dice", {"low": 0, "high": 1, "step": 0.5}, FloatRange("loss.dice", 0.0, 1.0, 0.5)),
        ("loss.dice", {"low": 0.0, "high": 0.6, "step": 0.2}, FloatRange("loss.dice", 0.0, 0.6, 0.2)),
        ("optim.warmup_epochs", {"low": 0, "high": 3}, IntRange("optim.warmup_epochs", 0, 3)),
        ("train.epochs", {"low": 3, "high": 5, "step": None, "log": False},
         IntRange("train.epochs", 3, 5)),
        # Names of W&B sweep configurations.
        ("train.epochs", {"values": [3, 5]}, Categorical("train.epochs", (3, 5))),
        ("train.epochs", {"value": 3}, Categorical("train.epochs", (3,))),
        ("train.epochs", {"min": 3, "max": 5}, IntRange("train.epochs", 3, 5)),
        ("optim.lr", {"min": 0.1, "max": 1}, FloatRange("optim.lr", 0.1, 1.0)),
    ],
)  # fmt: skip
def test_kind_is_read_from_the_fields(key: str, written: Any, parameter: Parameter) -> None:
    found, notes = read(key, written)
    assert notes == []
    assert found == parameter and type(found) is type(parameter)
    if isinstance(found, FloatRange):
        assert all(isinstance(end, float) for end in (found.low, found.high))


@pytest.mark.parametrize(
    ("key", "written", "notes"),
    [
        ("train.epochs", 5, [("", "write {choices: [5]} or {low: …, high: …}; "
                                  "put a single value under fixed:")]),
        ("train.epochs", [4, 8], [("", "write {choices: [4, 8]} or {low: …, high: …}; "
                                       "put a single value under fixed:")]),
        ("train.epochs", {"choise": [1]}, [("choise", "choise: unknown field; did you mean choices?")]),
        ("optim.lr", {"low": 0.1, "min": 0.1, "high": 1.0},
         [("min", "min means the same as another field, low; keep one")]),
        ("optim.lr", {"choices": [0.1], "low": 0.1}, [("choices", "choices cannot be combined with low; keep one kind")]),
        ("optim.lr", {"choices": []}, [("choices", "choices must be a list of 1 to 1000 values")]),
        ("optim.lr", {"choices": 0.1}, [("choices", "choices must be a list of 1 to 1000 values")]),
        ("train.epochs", {"choices": list(range(1, 1002))},
         [("choices", "choices must be a list of 1 to 1000 values")]),
        ("optim.lr", {"low": 0.1}, [("", "high missing; a parameter has choices, or low and high")]),
        ("optim.lr", {}, [("", "low and high missing; a parameter has choices, or low and high")]),
        ("optim.lr", {"low": 1e-2, "high": 1e-5}, [("low", "low 0.01 is above high 1e-05; swap them")]),
        ("optim.lr", {"low": -1.0, "high": 11},
         [("low", "low: input should be greater than 0 (got -1.0)"),
          ("high", "high: input should be less than or equal to 10 (got 11)")]),
        ("optim.lr", {"low": "1e-5", "high": 1.0},
         [("low", "low: input should be a valid number (got '1e-5'); remove the quotes")]),
        ("model.options.decoder_dropout", {"low": True, "high": "x"},
         [("low", "low: must be a number (got true)"), ("high", "high: must be a number (got 'x')")]),
        ("train.epochs", {"low": 3.0, "high": 5.0},
         [("low", "low: input should be a valid integer (got 3.0)"),
          ("high", "high: input should be a valid integer (got 5.0)")]),
        ("train.epochs", {"low": 3, "high": 5, "step": 0.5},
         [("low", "low: input should be a valid integer (got 3.0)")]),
        ("loss.dice", {"low": 0.0, "high": 1.0, "log": True},
         [("low", "log needs low above 0 (got 0.0)")]),
        ("loss.dice", {"low": 0.1, "high": 1.0, "log": "yes"},
         [("log", "log must be true or false (got 'yes')")]),
        ("loss.dice", {"low": 0.1, "high": 1.0, "log": True, "step": 0.1},
         [("step", "step cannot be combined with log; keep one")]),
        ("loss.dice", {"low": 0.0, "high": 1.0, "step": 0},
         [("step", "step must be a number above 0 (got 0)")]),
        ("loss.dice", {"low": 0.0, "high": 1.0, "step": 0.3},
         [("high", "high 1.0 is not reached from 0.0 in steps of 0.3; write 0.9")]),
        ("optim.lr", {"low": 1e-5, "high": 1e-2, "step": 1e-12},
         [("step", "step 1e-12 makes more than 1,000,000 values; use a larger step, or "
                   "omit it to allow every number in between")]),
        ("optim.lr", {"low": 1e-5, "high": 1e-2, "step": 1e-300},
         [("step", "step 1e-300 makes more than 1,000,000 values; use a larger step, or "
                   "omit it to allow every number in between")]),
        ("train.epochs", {"low": 1, "high": 6, "step": 2},
         [("high", "high 6 is not reached from 1 in steps of 2; write 5")]),
        ("loss.dice", {"low": 0, "high": 1},
         [("high", "two whole numbers allow only 0 and 1; write 0.0 and 1.0 "
                   "to allow every number in between, "
                   "or choices: [0, 1]")]),
        ("train.epochs", {"choices": [1, "a", 1.5]},
         [("choices", "input should be a valid integer (got 'a')"),
          ("choices", "input should be a valid integer (got 1.5)")]),
        ("loss.dice", {"choices": [1, 1.0]}, [("choices", "1.0 appears twice")]),
        ("model.options.decoder_use_norm", {"choices": [1, True]}, [("choices", "true appears twice")]),
        ("model.options.decoder_channels", {"choices": [[64, 32], "[64, 32]"]},
         [("choices", "'[64, 32]' appears twice")]),
        ("model.options.decoder_channels", {"choices": [{"a": 1}]},
         [("choices", "is a group here; write one line for each full key")]),
    ],
)  # fmt: skip
def test_wrong_fields_are_noted_with_what_would_be_right(
    key: str, written: Any, notes: list[tuple[str, str]]
) -> None:
    assert read(key, written) == (None, notes)


def test_whole_numbers_of_a_float_setting_may_be_meant() -> None:
    """A step, or a range of more than two numbers, shows that whole numbers are intended."""
    assert read("loss.dice", {"low": 0, "high": 1, "step": 1})[0] == IntRange("loss.dice", 0, 1)
    assert read("loss.dice", {"low": 0, "high": 2})[0] == IntRange("loss.dice", 0, 2)
