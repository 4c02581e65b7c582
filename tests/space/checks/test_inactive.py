"""Each rule on a space that it must refuse, and on one that it must accept."""

from pathlib import Path

import pytest

from harness.config import components
from harness.core.errors import ConfigError
from harness.space.reading.load_space import space_from_dict
from harness.space.space import AllowedValues
from tests.space.spaces import problems_of, space_of

SGD = "optim.name: {choices: [adamw, sgd]}"


def parameters(*lines: str, fixed: str = "{}") -> str:
    return f"fixed: {fixed}\nparameters:\n" + "".join(f"  {line}\n" for line in lines)


@pytest.mark.parametrize(
    ("lines", "fixed", "what"),
    [
        (["momentum: {low: 0.5, high: 0.9}"], "{}", "optim.name is never sgd"),
        (["momentum: {low: 0.5, high: 0.9}"], "{optim.name: adam}", "optim.name is never sgd"),
        (["momentum: {low: 0.5, high: 0.9, when: {optim.name: adamw}}", SGD], "{}",
         "optim.name is never sgd"),
        (["loss.focal_gamma: {low: 1, high: 3}"], "{}", "loss.focal is never above 0"),
        (["tversky_alpha: {low: 0.2, high: 0.8}"], "{loss.tversky: 0}",
         "loss.tversky is never above 0"),
        (["label_smoothing: {low: 0.0, high: 0.1}"], "{loss.bce: 0}",
         "it changes the targets of loss.bce, loss.ce and loss.focal, "
         "whose weights are never above 0"),
        (["loss.dice: {low: 0.1, high: 1.0}"], "{loss.bce: 0}",
         "loss.bce, loss.ce, loss.focal, loss.jaccard, loss.tversky, loss.lovasz, "
         "loss.boundary are always 0, so its share is always 1"),
        (["optim.lr: {low: 0.1, high: 0.5}"], "{optim.encoder_lr: 0.1, optim.decoder_lr: 0.1}",
         "optim.encoder_lr and optim.decoder_lr are always set and override it"),
        (["encoder_lr_scale: {choices: [0.1, null]}"], "{optim.encoder_lr: 0.1}",
         "optim.encoder_lr is always set and overrides it"),
        (["encoder_lr: {low: 0.1, high: 0.5}"], "{train.freeze_encoder_epochs: 20}",
         "the encoder is frozen in all epochs (train.freeze_encoder_epochs 20 or more)"),
        (["encoder_lr_scale: {low: 0.1, high: 0.5}"], "{train.freeze_encoder_epochs: 20}",
         "the encoder is frozen in all epochs (train.freeze_encoder_epochs 20 or more)"),
        (["data.normalize: {choices: [imagenet, encoder]}"], "{model.encoder_weights: null}",
         "without model.encoder_weights, encoder is the same as imagenet"),
        (["patience: {low: 30, high: 40}", "epochs: {low: 10, high: 30}"], "{}",
         "train.epochs is never above 30, so patience never runs out"),
        (["checkpoint_s: {low: 1, high: 9}"], "{}",
         "it does not change the training; put it under fixed:"),
    ],
)  # fmt: skip
def test_parameter_that_cannot_act_is_refused(
    lines: list[str], fixed: str, what: str, tmp_path: Path
) -> None:
    (line,) = problems_of(parameters(*lines, fixed=fixed), tmp_path)
    assert line.startswith("s.yaml:3: ")
    assert line.endswith(f": has no effect: {what}")


@pytest.mark.parametrize(
    ("lines", "fixed"),
    [
        (["momentum: {low: 0.5, high: 0.9}", SGD], "{}"),
        (["momentum: {low: 0.5, high: 0.9}"], "{optim.name: sgd}"),
        (["momentum: {low: 0.5, high: 0.9, when: {optim.name: sgd}}", SGD], "{}"),
        (["loss.focal_gamma: {low: 1, high: 3}", "loss.focal: {low: 0.0, high: 1.0}"], "{}"),
        (["focal_gamma: {low: 1, high: 3, when: {loss.focal: {low: 0.1}}}",
          "loss.focal: {low: 0.0, high: 1.0}"], "{}"),
        (["tversky_alpha: {low: 0.2, high: 0.8}"], "{loss.tversky: 0.5}"),
        (["label_smoothing: {low: 0.0, high: 0.1}"], "{loss.bce: 0, loss.focal: 1}"),
        (["loss.dice: {low: 0.1, high: 1.0}"], "{loss.bce: 0, loss.jaccard: 1}"),
        (["optim.lr: {low: 0.1, high: 0.5}"], "{optim.encoder_lr: 0.1}"),
        (["encoder_lr_scale: {choices: [0.1, null]}", "encoder_lr: {choices: [null, 0.1]}"], "{}"),
        (["encoder_lr: {low: 0.1, high: 0.5}"], "{train.freeze_encoder_epochs: 19}"),
        (["encoder_lr_scale: {low: 0.1, high: 0.5}"], "{train.freeze_encoder_epochs: 19}"),
        (["data.normalize: {choices: [imagenet, encoder]}"], "{}"),
        (["data.normalize: {choices: [imagenet, encoder, none]}"],
         "{model.encoder_weights: null}"),
        (["warmup_epochs: {low: 1.0, high: 30.0}"], "{}"),
        (["epochs: {low: 3, high: 30}"], "{optim.warmup_epochs: 29}"),
        (["patience: {low: 3, high: 40}"], "{}"),
    ],
)  # fmt: skip
def test_parameter_that_can_act_is_taken(lines: list[str], fixed: str, tmp_path: Path) -> None:
    assert space_of(parameters(*lines, fixed=fixed), tmp_path).parameters


def test_parameter_that_is_absent_beside_another_counts_by_its_default(tmp_path: Path) -> None:
    """Under FPN the weight has its default, 0, so the gamma has an effect under Unet only."""
    lines = [
        "model.arch: {choices: [Unet, FPN]}",
        "loss.focal: {choices: [0.5, 1], when: {model.arch: Unet}}",
        "loss.focal_gamma: {low: 1, high: 3, when: {model.arch: FPN}}",
    ]
    assert problems_of(parameters(*lines), tmp_path) == [
        "s.yaml:5: loss.focal_gamma: has no effect: loss.focal is never above 0"
    ]
    lines[2] = lines[2].replace("FPN", "Unet")
    assert len(space_of(parameters(*lines), tmp_path).parameters) == 3


def test_condition_that_never_holds_is_refused(tmp_path: Path) -> None:
    fixed = parameters("momentum: {low: 0.5, high: 0.9, when: {optim.name: sgd}}")
    assert problems_of(fixed, tmp_path) == [
        "s.yaml:3: optim.momentum: never active: optim.name is not searched and always 'adamw'"
    ]
    chain = parameters(
        "model.arch: {choices: [Unet, Linknet]}",
        "decoder_attention_type: {choices: [null, scse], when: {model.arch: Unet}}",
        "grad_clip: {choices: [1.0, 2.0], "
        "when: {model.options.decoder_attention_type: scse, model.arch: Linknet}}",
    )
    assert problems_of(chain, tmp_path) == [
        "s.yaml:5: optim.grad_clip: never active: its conditions exclude every value of model.arch"
    ]


@pytest.mark.parametrize(
    ("lines", "fixed", "problem"),
    [
        (["model.arch: {choices: [Unet, FPN]}", "decoder_channels: {choices: [[8], [4]]}"], "{}",
         "s.yaml:4: model.options.decoder_channels: unknown option of FPN; "
         "add `when: {model.arch: [Unet]}`"),
        (["decoder_dropout: {low: 0.0, high: 0.5}"], "{model.arch: Linknet}",
         "s.yaml:3: model.options.decoder_dropout: has no effect: unknown option of Linknet; "
         "choose from decoder_use_norm"),
        (["model.arch: {choices: [Unet, FPN]}"], "{decoder_dropout: 0.2}",
         "s.yaml:1: model.options.decoder_dropout: unknown option of Unet; search it instead, "
         "as {value: …, when: {model.arch: [FPN]}}"),
    ],
)  # fmt: skip
def test_option_that_an_architecture_lacks_is_refused(
    lines: list[str], fixed: str, problem: str, tmp_path: Path
) -> None:
    assert problems_of(parameters(*lines, fixed=fixed), tmp_path) == [problem]


def test_option_is_taken_where_its_condition_leaves_those_that_have_it(tmp_path: Path) -> None:
    lines = [
        "model.arch: {choices: [Unet, UnetPlusPlus, FPN]}",
        "decoder_attention_type: {choices: [null, scse], when: {model.arch: [Unet, UnetPlusPlus]}}",
        # Active under Unet and UnetPlusPlus only, through the condition of the parameter it names.
        "decoder_channels: {value: [9, 9, 9, 9, 9], "
        "when: {model.options.decoder_attention_type: scse}}",
        "decoder_dropout: {value: 0.2, when: {model.arch: FPN}}",
    ]
    assert len(space_of(parameters(*lines), tmp_path).parameters) == 4


def test_space_in_which_nothing_is_allowed_is_refused_with_an_example(tmp_path: Path) -> None:
    text = "parameters: {model.arch: {choices: [Unet, FPN]}}\nforbid: [{arch: Unet}, {arch: FPN}]\n"
    assert problems_of(text, tmp_path) == [
        "s.yaml:1: parameters: no combination can be trained; e.g. {'model.arch': 'Unet'}: "
        "forbidden by {'model.arch': 'Unet'}"
    ]
    endless = "parameters: {optim.lr: {low: 0.1, high: 0.5}}\nforbid: [{lr: {low: 0.1}}]\n"
    (line,) = problems_of(endless, tmp_path)
    assert line.startswith("s.yaml:1: parameters: none of 2,003 combinations, drawn")
    assert line.endswith("forbidden by {'optim.lr': {'low': 0.1}}")


@pytest.mark.parametrize(
    ("lines", "forbid"),
    [
        (["optim.lr: {low: 1e-5, high: 1e-2}"], "[{optim.lr: {low: 1.1e-5}}]"),
        (["optim.lr: {low: 1e-5, high: 1e-2}"],
         "[{optim.lr: {high: 0.001}}, {optim.lr: {low: 0.0010001}}]"),
        (["optim.lr: {low: 1e-5, high: 1e-2}", "epochs: {low: 1, high: 9999}"],
         "[{optim.lr: {low: 1.1e-5}}, {epochs: {high: 499}}, {epochs: {low: 501}}]"),
        (["data.subset: {low: 0.0001, high: 1.0, step: 0.0001}"],
         "[{subset: {high: 0.5}}, {subset: {low: 0.5002}}]"),
        (["warmup_epochs: {low: 19.999, high: 300}"], "[]"),
    ],
)  # fmt: skip
def test_a_slit_that_the_rules_leave_is_found(
    lines: list[str], forbid: str, tmp_path: Path
) -> None:
    """Even in the easiest of these, 2,000 random draws find the gap with a chance below a fifth."""
    assert space_of(parameters(*lines) + f"forbid: {forbid}\n", tmp_path).parameters


def test_fixed_values_that_exclude_each_other_are_refused(tmp_path: Path) -> None:
    fixed = "fixed:\n  optim.encoder_lr: 0.1\n  train.epochs: 3\n  encoder_lr_scale: 0.1\n"
    conflict = (
        "s.yaml:4: optim.encoder_lr and optim.encoder_lr_scale: "
        "encoder_lr and encoder_lr_scale are both set; keep one"
    )
    assert problems_of(fixed, tmp_path) == [conflict]
    searched = fixed + "parameters:\n  momentum: {low: 0.1, high: 0.9}\n"
    assert problems_of(searched, tmp_path) == [
        conflict,
        "s.yaml:6: optim.momentum: has no effect: optim.name is never sgd",
    ]
    zeros = "fixed:\n  loss.dice: 0\n  loss.bce: 0\n  train.epochs: 3\n"
    (line,) = problems_of(zeros, tmp_path)
    assert line.startswith("s.yaml:3: loss.dice and loss.bce: all weights are 0; set one of ")


@pytest.mark.parametrize(
    ("lines", "fixed", "problem"),
    [
        ([], "{optim.warmup_epochs: 20}",
         "s.yaml:1: optim.warmup_epochs: optim.warmup_epochs 20 is not below train.epochs 20; "
         "use a shorter warm-up or more epochs"),
        (["warmup_epochs: {low: 3.0, high: 9.0}"], "{train.epochs: 3}",
         "s.yaml:3: optim.warmup_epochs: optim.warmup_epochs is never below 3.0 and train.epochs "
         "never above 3; a warm-up must be shorter than its training"),
        (["epochs: {low: 3, high: 9}"], "{optim.warmup_epochs: 9.0}",
         "s.yaml:3: train.epochs: optim.warmup_epochs is never below 9.0 and train.epochs "
         "never above 9; a warm-up must be shorter than its training"),
        (["epochs: {low: 3, high: 9}", "warmup_epochs: {low: 9, high: 12}"], "{}",
         "s.yaml:4: optim.warmup_epochs: optim.warmup_epochs is never below 9 and train.epochs "
         "never above 9; a warm-up must be shorter than its training"),
    ],
)  # fmt: skip
def test_warmup_that_is_never_shorter_than_the_training_is_refused(
    lines: list[str], fixed: str, problem: str, tmp_path: Path
) -> None:
    assert problems_of(parameters(*lines, fixed=fixed), tmp_path) == [problem]


def test_combination_whose_warmup_is_too_long_is_not_trained(tmp_path: Path) -> None:
    lines = ["epochs: {choices: [2, 4]}", "warmup_epochs: {choices: [1, 2, 3, 4]}"]
    space = space_of(parameters(*lines), tmp_path)
    assert [tuple(row.values()) for row in space.grid()] == [(2, 1), (4, 1), (4, 2), (4, 3)]


def test_fixed_zeros_are_taken_where_a_searched_weight_remains(tmp_path: Path) -> None:
    text = "fixed: {loss.dice: 0, loss.bce: 0}\nparameters:\n" + (
        "  loss.focal: {low: 0.1, high: 1.0}\n  loss.jaccard: {low: 0.0, high: 1.0}\n"
    )
    assert len(space_of(text, tmp_path).parameters) == 2


def test_one_allowed_combination_is_enough(tmp_path: Path) -> None:
    text = (
        "parameters:\n  epochs: {low: 1, high: 50}\n  batch_size: {low: 1, high: 40}\n"
        "forbid: [{epochs: {high: 49}}, {batch_size: {high: 39}}]\n"
    )
    space = space_of(text, tmp_path)
    assert list(space.grid()) == [{"train.epochs": 50, "train.batch_size": 40}]


def test_what_an_architecture_does_not_look_at_needs_a_condition() -> None:
    legal = AllowedValues(
        values={"model.arch": ("Unet", "attention_unet")},
        options={"Unet": (), "attention_unet": ("cbam",)},
        inactive_keys={"attention_unet": ("model.encoder_name",)},
    )
    encoders = {"choices": ["resnet18", "resnet34"]}

    def read(**parameters: object) -> None:
        space_from_dict({"parameters": parameters}, source="s", legal=legal)

    archs = {"choices": ["Unet", "attention_unet"]}
    with pytest.raises(
        ConfigError, match=r"has no effect under attention_unet; add `when: .*\[Unet\]"
    ):
        read(**{"model.arch": archs, "model.encoder_name": encoders})
    there = encoders | {"when": {"model.arch": "attention_unet"}}
    with pytest.raises(ConfigError, match="has no effect: attention_unet does not use it"):
        read(**{"model.arch": archs, "model.encoder_name": there})
    elsewhere = encoders | {"when": {"model.arch": "Unet"}}
    read(**{"model.arch": archs, "model.encoder_name": elsewhere})


@pytest.mark.parametrize(("option", "switch"), [("aspp_rates", "aspp"), ("cbam_reduction", "cbam")])
def test_option_of_a_part_that_is_never_built_is_refused(option: str, switch: str) -> None:
    legal = AllowedValues(options={"attention_unet": (option, switch), "mine": (option, switch)})

    def read(arch: str, **parameters: object) -> None:
        both = {f"model.options.{key}": one for key, one in parameters.items()}
        both[f"model.options.{option}"] = {"choices": [8, 16]}
        space_from_dict(
            {"parameters": both, "fixed": {"model.arch": arch}}, source="s", legal=legal
        )

    said = f"{option}: has no effect: model.options.{switch} is never true"
    for off in ({}, {switch: {"choices": [False]}}):
        with pytest.raises(ConfigError, match=said):
            read("attention_unet", **off)
        read("mine", **off)
    read("attention_unet", **{switch: {"choices": [False, True]}})


@pytest.fixture
def soft(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registered user-defined loss with three options."""
    monkeypatch.setattr(components, "_COMPONENTS", dict(components._COMPONENTS))

    def soft(
        logits: object, target: object, label_smoothing: float, width: int = 3, share: float = 0.5
    ) -> float:
        return 0.0

    components.loss(origin="parts.py")(soft)


@pytest.mark.usefixtures("soft")
def test_settings_of_a_registered_loss_are_searched_like_any_other(tmp_path: Path) -> None:
    lines = [
        "soft: {low: 0.0, high: 1.0}",
        "loss.soft_width: {low: 1, high: 9}",
        "soft_share: {low: 0.1, high: 0.5}",
        "loss.label_smoothing: {low: 0.0, high: 0.1}",
    ]
    text = parameters(*lines, fixed="{loss.bce: 0}")
    space = space_of(text, tmp_path)
    assert [(one.key, type(one).__name__) for one in space.parameters] == [
        ("loss.soft", "FloatRange"),
        ("loss.soft_width", "IntRange"),
        ("loss.soft_share", "FloatRange"),
        ("loss.label_smoothing", "FloatRange"),
    ]
    configuration = space.configuration({"loss.soft": 0.5, "loss.soft_width": 7})
    assert configuration.loss.weights == {"dice": 2 / 3, "soft": 1 / 3}


@pytest.mark.usefixtures("soft")
@pytest.mark.parametrize(
    ("lines", "fixed", "what"),
    [
        (["loss.soft_width: {low: 1, high: 9}"], "{}",
         "loss.soft_width: has no effect: loss.soft is never above 0"),
        (["loss.soft: {low: 0.1, high: 1.0}"], "{loss.bce: 0, loss.dice: 0}",
         "loss.soft: has no effect: loss.dice, loss.bce, loss.ce, loss.focal, loss.jaccard"),
        (["loss.sofft: {low: 0.0, high: 1.0}"], "{}", "did you mean loss.soft?"),
        (["loss.soft: {low: -1.0, high: 1.0}"], "{}", "greater than or equal to 0"),
        (["loss.soft: {low: 0, high: 1}"], "{}", "loss.soft:"),
        (["loss.soft_width: {choices: [1, wide]}"], "{loss.soft: 1}", "valid integer"),
    ],
)  # fmt: skip
def test_mistakes_about_a_registered_loss_have_their_line(
    lines: list[str], fixed: str, what: str, tmp_path: Path
) -> None:
    (problem,) = problems_of(parameters(*lines, fixed=fixed), tmp_path)
    assert problem.startswith("s.yaml:3: ") and what in problem
