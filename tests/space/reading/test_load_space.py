from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core import strict_yaml
from harness.core.errors import ConfigError
from harness.space.reading.load_space import (
    AllowedValues,
    first_comment,
    read_space,
    space_from_dict,
    with_fixed,
)
from harness.space.reading.row_space import check_row_space
from harness.space.space import AnyOf, Categorical, FloatRange, IntRange, RangeMatch, SearchSpace
from tests.space.spaces import LEGAL, problems_of, space_of

ENCODERS = """\
# Which encoder earns its memory under U-Net++ and Linknet?
parameters:
  model.arch:          {choices: [UnetPlusPlus, Linknet]}
  model.encoder_name:  {choices: [mobilenet_v2, resnet34]}
  model.encoder_depth: {low: 3, high: 5}
  model.options.decoder_attention_type: {choices: [null, scse], when: {model.arch: UnetPlusPlus}}
  optim.lr:            {low: 1e-5, high: 1e-2, log: true}
  loss.dice:           {low: 0.0, high: 1.0}
  loss.bce:            {low: 0.0, high: 1.0}
fixed:   {train.epochs: 20, data.image_size: 256}
forbid:  [{model.arch: Linknet, model.encoder_depth: 3}]
enqueue: [{model.arch: UnetPlusPlus, model.encoder_depth: 5, optim.lr: 3e-4, loss.dice: 1}]
"""
WRONG = """\
parameters:
  model.arch: {choices: [Unett, Linknet]}
  model.encoder: {choices: [a]}
  lr: {low: 1e-2, high: 1e-5, log: true}
  optim.lr: {low: 0.1, high: 0.2}
  model.encoder_depth: {low: 3, high: 5}
  model.options.decoder_dropout: {low: 0.0, high: 0.5, when: {model.encoder_depth: 9, foo: 1}}
  optim.momentum: {low: 0.5, high: 0.9}
fixed:
  loss.dise: 1
  model.encoder_depth: 4
  data.fit: strech
forbid:
  - {model.arch: Linknett, model.encoder_depth: {low: 6}}
  - {data.fit: pad}
  - {}
enqueue:
  - {model.encoder_depth: 7}
  - {data.subset: 1}
  - 3
foo: 1
train.epochs: 3
format: 2
"""


def test_space_is_read_as_it_is_written(tmp_path: Path) -> None:
    unetpp = {"model.arch": AnyOf(("UnetPlusPlus",))}
    assert space_of(ENCODERS, tmp_path) == SearchSpace(
        parameters=(
            Categorical("model.arch", ("UnetPlusPlus", "Linknet")),
            Categorical("model.encoder_name", ("mobilenet_v2", "resnet34")),
            IntRange("model.encoder_depth", 3, 5),
            Categorical("model.options.decoder_attention_type", (None, "scse"), unetpp),
            FloatRange("optim.lr", 1e-5, 1e-2, None, True),
            FloatRange("loss.dice", 0.0, 1.0),
            FloatRange("loss.bce", 0.0, 1.0),
        ),
        fixed={"train.epochs": 20, "data.image_size": 256},
        forbid=({"model.arch": AnyOf(("Linknet",)), "model.encoder_depth": AnyOf((3,))},),
        enqueue=(
            {"model.arch": "UnetPlusPlus", "model.encoder_depth": 5, "optim.lr": 3e-4,
             "loss.dice": 1.0},
        ),
    )  # fmt: skip


def test_every_mistake_is_named_at_once_with_its_line(tmp_path: Path) -> None:
    assert problems_of(WRONG, tmp_path) == [
        "s.yaml:2: model.arch: unknown value 'Unett'; did you mean Unet?",
        "s.yaml:3: model.encoder: unknown setting; did you mean model.encoder_name?",
        "s.yaml:4: optim.lr: low 0.01 is above high 1e-05; swap them",
        "s.yaml:5: optim.lr: appears twice in this section; keep one",
        "s.yaml:7: model.options.decoder_dropout: when: model.encoder_depth: "
        "9 is outside the searched range, whole numbers 3 to 5",
        "s.yaml:7: model.options.decoder_dropout: when: foo: unknown setting; "
        "settings begin with data., model., loss., optim., train.",
        "s.yaml:8: optim.momentum: has no effect: optim.name is never sgd",
        "s.yaml:10: loss.dise: unknown setting; did you mean loss.dice?",
        "s.yaml:11: model.encoder_depth: both fixed and searched; "
        "keep it under parameters: or under fixed:",
        "s.yaml:12: data.fit: input should be 'stretch' or 'pad' (got 'strech'); "
        "did you mean stretch?",
        "s.yaml:14: forbid: model.encoder_depth: "
        "no searched value of model.encoder_depth lies in this range",
        "s.yaml:15: forbid: names no searched key, so it forbids everything or nothing",
        "s.yaml:16: forbid: must name keys and values, e.g. {model.arch: Unet}",
        "s.yaml:18: enqueue: model.encoder_depth: 7 is outside the searched range, "
        "whole numbers 3 to 5",
        "s.yaml:19: enqueue: data.subset: not searched here; "
        "add it to parameters: or remove it from this row",
        "s.yaml:20: enqueue: must name keys and values, e.g. {optim.lr: 3e-4}",
        "s.yaml:21: foo: unknown section; "
        "choose from enqueue, fixed, forbid, labels, parameters, rows",
        "s.yaml:22: train.epochs: not a section; put settings under parameters: or fixed:",
        "s.yaml:23: format: this harness reads format 1 (got 2)",
    ]


def test_misspelt_key_is_not_blamed_a_second_time(tmp_path: Path) -> None:
    """The misspelt optim.nam may mean sgd, so momentum must not be reported as without effect."""
    text = "parameters:\n  optim.nam: {choices: [sgd]}\n  momentum: {low: 0.5, high: 0.9}\n"
    assert problems_of(text, tmp_path) == [
        "s.yaml:2: optim.nam: unknown setting; did you mean optim.name?"
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "s.yaml:1: a space must be a mapping with `parameters:`; this is empty"),
        ("hello\n", "s.yaml:1: a space must be a mapping with `parameters:`; this is 'hello'"),
        ("- a\n", "s.yaml:1: a space must be a mapping with `parameters:`; this is ['a']"),
        ("a: b: c", "s.yaml:1: not YAML: mapping values are not allowed here"),
        ("parameters: 3", "s.yaml:1: parameters: must be a mapping of keys (got 3)"),
        ("fixed: [1]", "s.yaml:1: fixed: must be a mapping of keys (got [1])"),
        ("forbid: {}", "s.yaml:1: forbid: must be a list of mappings (got {})"),
        ("parameter: {}", "s.yaml:1: parameter: unknown section; did you mean parameters?"),
        ("format: true", "s.yaml:1: format: this harness reads format 1 (got true)"),
        ("parameters:\n  lr: {value: 1}\n  optim.lr: {value: 1}\n",
         "s.yaml:3: optim.lr: appears twice in this section; keep one"),
        ("fixed: {lr: 1, optim.lr: 1}",
         "s.yaml:1: optim.lr: appears twice in this section; keep one"),
        ("parameters:\n  lr: {value: 1, when: {model.arch: []}}",
         "s.yaml:2: lr: when: model.arch: an empty list never matches; list at least one value"),
        ("parameters:\n  lr: {value: 1, when: Unet}",
         "s.yaml:2: lr: when: must name keys and values, e.g. {model.arch: Unet}"),
        ("parameters:\n  lr: {value: 1, when: {model.arch: Unett}}",
         "s.yaml:2: lr: when: model.arch: unknown value 'Unett'; did you mean Unet?"),
        ("parameters:\n  lr: {value: 1, when: {arch: Unet, model.arch: Unet}}",
         "s.yaml:2: lr: when: model.arch: appears twice; keep one"),
        ("parameters:\n  arch: {choices: [Unet, FPN]}\n  lr: {value: 1, when: {arch: Linknet}}",
         "s.yaml:3: lr: when: arch: 'Linknet' is not among its choices [Unet, FPN]"),
        ("parameters:\n  lr: {value: 1, when: {epochs: {low: 3, most: 5}}}",
         "s.yaml:2: lr: when: epochs: most: unknown field of a range; choose from low, high"),
        ("parameters:\n  lr: {value: 1, when: {epochs: {low: 5, high: 3}}}",
         "s.yaml:2: lr: when: epochs: low 5 is above high 3; swap them"),
        ("parameters:\n  lr: {value: 1, when: {epochs: {}}}",
         "s.yaml:2: lr: when: epochs: a range needs low, high or both"),
        ("parameters:\n  lr: {value: 1, when: {epochs: {low: x}}}",
         "s.yaml:2: lr: when: epochs: low must be a number (got 'x')"),
        ("parameters:\n  lr: {value: 1, when: {epochs: 20}}\n"
         "  epochs: {choices: [20], when: {lr: 1}}",
         "s.yaml:2: when: circular conditions: optim.lr → train.epochs → optim.lr"),
        ("parameters: {lr: {value: 1}}\nforbid:\n - {fit: pad}",
         "s.yaml:3: forbid: names no searched key, so it forbids everything or nothing"),
    ],
)  # fmt: skip
def test_wrong_space_gives_one_clear_line(text: str, problem: str, tmp_path: Path) -> None:
    assert problems_of(text, tmp_path) == [problem]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("{model.encoder_depth: 6}", "model.encoder_depth: 6 is outside the searched range, "
                                     "whole numbers 3 to 5"),
        ("{model.arch: Unet}",
         "model.arch: 'Unet' is not among its choices [UnetPlusPlus, Linknet]"),
        ("{optim.lr: 0.1}", "optim.lr: 0.1 is outside the searched range, 1e-05 to 0.01"),
        ("{epochs: 20}", "train.epochs: fixed at 20 here; remove it from this row"),
        ("{model.arch: Linknet, model.encoder_depth: 3}",
         "forbidden by {'model.arch': 'Linknet', 'model.encoder_depth': 3}"),
        ("{model.arch: Linknet, decoder_attention_type: scse}",
         "model.options.decoder_attention_type: "
         "inactive with the other values of this row; remove it"),
        ("{model.arch: Linknet, model.encoder_name: resnet34, model.encoder_depth: 4, lr: 1e-3, "
         "dice: 0, bce: 0}", "this combination: loss: all weights are 0; "
                             "set one of dice, bce, ce, focal, jaccard, tversky, lovasz above 0"),
    ],
)  # fmt: skip
def test_row_that_cannot_be_tried_is_refused(row: str, problem: str, tmp_path: Path) -> None:
    text = ENCODERS.replace("enqueue: [", f"enqueue:\n  - {row}\n  - ").replace("1}]", "1}")
    assert problems_of(text, tmp_path) == [f"s.yaml:13: enqueue: {problem}"]


def test_part_of_a_row_is_left_to_the_sampler(tmp_path: Path) -> None:
    row = "{decoder_attention_type: scse}"
    text = ENCODERS.replace("enqueue: [", f"enqueue:\n  - {row}\n  - ").replace("1}]", "1}")
    first = space_of(text, tmp_path).enqueue[0]
    assert first == {"model.options.decoder_attention_type": "scse"}


def test_recorded_space_reads_back_equal(tmp_path: Path) -> None:
    space = space_of(
        ENCODERS.replace(
            "  optim.lr:  ",
            "  optim.grad_clip: {choices: [1, null], when: {loss.bce: {low: 0.5}}}\n"
            "  model.options.decoder_channels: {choices: [[8, 4, 2, 1, 1]], "
            "when: {model.arch: UnetPlusPlus, model.encoder_depth: [5]}}\n  optim.lr:  ",
        ),
        tmp_path,
    )
    assert len(space.parameters) == 9
    written = strict_yaml.dump_yaml(space.as_dict())
    assert (
        space_from_dict(strict_yaml.load_yaml(written, source="x").value, source="x", legal=LEGAL)
        == space
    )
    (tmp_path / "again.yaml").write_text(written, encoding="utf-8")
    assert read_space(tmp_path / "again.yaml", legal=LEGAL) == space


def test_record_spells_out_full_keys_and_defaults() -> None:
    space = space_from_dict(
        {"parameters": {"epochs": {"low": 1, "high": 3}, "lr": {"min": 0.1, "max": 1.0}}},
        source="x",
        legal=LEGAL,
    )
    assert space.as_dict() == {
        "format": 1,
        "parameters": {
            "train.epochs": {"low": 1, "high": 3, "step": 1, "log": False},
            "optim.lr": {"low": 0.1, "high": 1.0, "step": None, "log": False},
        },
        "fixed": {},
        "forbid": [],
        "enqueue": [],
    }


def test_parameter_comes_after_those_its_condition_names(tmp_path: Path) -> None:
    text = (
        "parameters:\n"
        "  decoder_attention_type: {choices: [null, scse], when: {arch: [Unet]}}\n"
        "  arch: {choices: [Unet, FPN]}\n"
    )
    assert [p.key for p in space_of(text, tmp_path).parameters] == [
        "model.arch",
        "model.options.decoder_attention_type",
    ]


def test_condition_may_be_a_range(tmp_path: Path) -> None:
    text = (
        "parameters:\n  loss.focal: {low: 0.0, high: 1.0}\n"
        "  focal_gamma: {low: 1.0, high: 3.0, when: {loss.focal: {min: 0.1}}}\n"
    )
    assert space_of(text, tmp_path).parameters[1].when == {"loss.focal": RangeMatch(0.1, None)}


def test_space_may_have_no_parameters() -> None:
    assert space_from_dict({}, source="x", legal=LEGAL) == SearchSpace()
    assert space_from_dict({"parameters": None}, source="x", legal=LEGAL) == SearchSpace()


def test_dict_takes_tuples_and_numbers_of_numpy() -> None:
    value: dict[str, Any] = {
        "parameters": {
            "data.image_size": {"choices": [(96, 128), 64]},
            "epochs": {"low": np.int64(1), "high": np.int64(5)},
            "lr": {"low": np.float32(0.25), "high": np.float64(0.5)},
        }
    }
    space = space_from_dict(value, source="space", legal=LEGAL)
    assert space.parameters == (
        Categorical("data.image_size", ([96, 128], 64)),
        IntRange("train.epochs", 1, 5),
        FloatRange("optim.lr", 0.25, 0.5),
    )
    assert type(space.parameters[2].low) is float


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"parameters": {3: {}}}, "space: 3: a key must be text"),
        ({"fixed": {"optim.lr": {1}}}, "space: {1}: must be text, a number, true, false, null"),
        ({"fixed": {"optim.lr": -1}}, "space: optim.lr: input should be greater than 0"),
    ],
)
def test_dict_is_checked_as_a_file_is(value: dict[Any, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        space_from_dict(value, source="space", legal=LEGAL)
    assert str(caught.value).startswith(message)


def test_reading_leaves_the_dict_alone() -> None:
    channels = [[8, 4, 2, 1, 1]]
    value = {"parameters": {"decoder_channels": {"choices": channels}}}
    space = space_from_dict(value, source="x", legal=LEGAL)
    channels[0].append(0)
    assert space.parameters[0].choices == ([8, 4, 2, 1, 1],)


def test_place_is_the_path_as_seen_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "search_spaces").mkdir()
    file = tmp_path / "search_spaces" / "s.yaml"
    file.write_text("foo: 1")
    with pytest.raises(ConfigError, match=r"^search_spaces/s\.yaml:1: foo: "):
        read_space(file, legal=LEGAL)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\n\xff\xfe", ":2: not UTF-8 text, so not a search space$"),
        (b"\x89PNG\r\n\x1a\n", ":1: not UTF-8 text"),
        (b"#" * 1_000_001, ": larger than 1 MB, so it was not read$"),
        (b"a\x00b", ":1: not YAML: a character that text may not contain$"),
    ],
)
def test_file_that_is_no_text_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_bytes(data)
    with pytest.raises(ConfigError, match=message):
        read_space(tmp_path / "s.yaml", legal=LEGAL)


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"s\.yaml: cannot be read: No such file"):
        read_space(tmp_path / "s.yaml", legal=LEGAL)


def test_values_laid_over_replace_the_fixed_ones(tmp_path: Path) -> None:
    space = space_of(ENCODERS, tmp_path)
    laid = with_fixed(space, {"epochs": 3, "train.batch_size": 4}, source="--set", legal=LEGAL)
    assert laid.fixed == {"train.epochs": 3, "data.image_size": 256, "train.batch_size": 4}
    assert laid.parameters == space.parameters and laid.enqueue == space.enqueue
    assert space.fixed == {"train.epochs": 20, "data.image_size": 256}


@pytest.mark.parametrize(
    ("fixed", "problem"),
    [
        ({"lr": 0.1}, "--set: optim.lr: searched by this space; remove it from the space, "
                      "or do not set it"),
        ({"optim.lrr": 0.1}, "--set: optim.lrr: unknown setting; did you mean optim.lr?"),
        ({"epochs": 0}, "--set: train.epochs: input should be greater than or equal to 1 (got 0)"),
        ({"optim.encoder_lr": 0.1, "optim.decoder_lr": 0.1},
         "--set: optim.lr: has no effect: optim.encoder_lr and optim.decoder_lr are always set "
         "and override it"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_are_not_laid_over(
    fixed: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        with_fixed(space_of(ENCODERS, tmp_path), fixed, source="--set", legal=LEGAL)
    assert caught.value.problems == [problem]


def test_hostile_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    text = "fixed:\n" + "".join(f"  modl.encodr_{i}: 1\n" for i in range(5_000))
    problems = problems_of(text, tmp_path, AllowedValues())
    assert (
        len(problems) == 101
        and problems[-1] == "s.yaml: more problems follow; the rest was not read"
    )


LISTED = """\
fixed: {train.epochs: 2}
rows:
  - {lr: 1e-3}
  - {lr: 1e-4, decoder_dropout: 0.1}
  - {lr: 1e-4, optim.warmup_epochs: 2}
  - {optim.lrr: 1e-4}
"""


def test_rows_are_checked_with_everything_else_and_have_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(LISTED, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_space(file, legal=LEGAL, overrides={})
    assert [line.replace(f"{tmp_path}/", "") for line in caught.value.problems] == [
        "s.yaml:4: rows: model.options.decoder_dropout: "
        "unknown option of Unet; choose from decoder_attention_type, decoder_channels",
        "s.yaml:5: rows: optim.warmup_epochs 2 is not below train.epochs 2; use a shorter "
        "warm-up or more epochs",
        "s.yaml:6: optim.lrr: unknown setting; did you mean optim.lr?",
    ]


def test_rows_are_checked_beside_what_is_set_now_or_later(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("rows:\n  - {decoder_dropout: 0.1}\n\n  - {lr: 1}\n", encoding="utf-8")
    assert read_space(file, legal=LEGAL, overrides={"arch": "FPN"}).rows
    assert read_space(file, legal=LEGAL, overrides={"arch": {"from": "another"}}).rows
    with pytest.raises(ConfigError, match=r"s\.yaml:2: rows: .*unknown option of Unet"):
        read_space(file, legal=LEGAL, overrides={})
    later = read_space(file, legal=LEGAL)
    assert [place.rpartition("/")[2] for place in later.row_locations] == ["s.yaml:2", "s.yaml:4"]
    with pytest.raises(
        ConfigError, match=r"s\.yaml:2: model\.options\.decoder_dropout: unknown option of Unet"
    ):
        check_row_space(later, LEGAL)


def test_rows_beside_contradictory_fixed_values_are_not_blamed(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("rows: [{lr: 1}, {lr: 2}]\nfixed:\n  loss.dice: 0\n  bce: 0\n")
    with pytest.raises(ConfigError) as caught:
        read_space(file, legal=LEGAL, overrides={})
    (line,) = caught.value.problems
    assert "s.yaml:4: loss.dice and loss.bce: all weights are 0" in line


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("fixed: {}\nrows: []\n",
         "s.yaml:2: rows: is empty; write one row for each trial, or omit rows"),
        ("fixed: {}\nlabels: [{a: b}]\n",
         "s.yaml:2: labels: labels are tags of rows, but this space has no rows"),
        ("rows: null\nlabels: [{a: b}]\n",
         "s.yaml:2: labels: labels are tags of rows, but this space has no rows"),
    ],
)  # fmt: skip
def test_empty_rows_and_labels_without_rows_are_refused(
    text: str, problem: str, tmp_path: Path
) -> None:
    assert problems_of(text, tmp_path) == [problem]


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("# Why?    harness run --space s.yaml\n", "Why?"),
        ("#Why so?\n", "Why so?"),
        ("#\n# Why?\n", None),
        ("parameters: {}  # Why?\n", None),
        ("", None),
        ("# " + "x" * 1000, "x" * 498),
    ],
)
def test_first_comment(tmp_path: Path, text: str, question: str | None) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text, encoding="utf-8")
    assert first_comment(path) == question


def test_first_comment_of_a_csv_is_none(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("# Why?\n", encoding="utf-8")
    assert first_comment(path) is None
