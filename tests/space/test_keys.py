import pytest

from harness.config.study import TrialConfig
from harness.core.errors import ConfigError
from harness.space.keys import accepts_floats, full_key, known_keys, setting_problem
from harness.space.space import AllowedValues
from tests.space.spaces import LEGAL


@pytest.mark.parametrize(
    ("written", "full"),
    [
        ("optim.lr", "optim.lr"), ("lr", "optim.lr"), ("dice", "loss.dice"),
        ("epochs", "train.epochs"), ("image_size", "data.image_size"),
        ("decoder_channels", "model.options.decoder_channels"),
        ("model.options.decoder_dropout", "model.options.decoder_dropout"),
    ],
)  # fmt: skip
def test_last_part_serves_for_the_full_key(written: str, full: str) -> None:
    assert full_key(written, LEGAL) == full


def test_ambiguous_last_part_is_refused_with_the_full_keys() -> None:
    legal = AllowedValues(options={"Mine": ("dice",)})
    with pytest.raises(ConfigError, match=r"ambiguous; write loss.dice or model.options.dice$"):
        full_key("dice", legal)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("model.encoder", "unknown setting; did you mean model.encoder_name?"),
        ("momentun", "unknown setting; did you mean optim.momentum?"),
        ("optim.dice", "unknown setting; did you mean loss.dice or loss.ce?"),
        ("modl.options.decoder_chanels",
         "unknown setting; did you mean model.options.decoder_channels?"),
        ("learning_rate", "unknown setting; did you mean optim.lr?"),
        ("model.backbone", "unknown setting; did you mean model.encoder_name?"),
        ("optim", "is a group; name one of its settings, e.g. optim.name"),
        ("model.options.x", "unknown setting; choose from model.options.decoder_attention_type, "
                            "model.options.decoder_channels, model.options.decoder_dropout, "
                            "model.options.decoder_use_norm"),
        ("zzz", "unknown setting; settings begin with data., model., loss., optim., train."),
        ("", "unknown setting; settings begin with data., model., loss., optim., train."),
    ],
)  # fmt: skip
def test_unknown_key_is_refused_with_the_nearest(written: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        full_key(written, LEGAL)
    assert str(caught.value) == message


def test_any_option_name_is_taken_where_none_are_known() -> None:
    assert full_key("model.options.whatever", AllowedValues()) == "model.options.whatever"
    with pytest.raises(ConfigError, match="unknown setting"):
        full_key("model.options.not.one", AllowedValues())


def test_known_keys_are_those_of_the_trial_configuration_and_the_options() -> None:
    options = {key for key in known_keys(LEGAL) if key.startswith("model.options.")}
    assert set(known_keys(LEGAL)) - options == set(TrialConfig().flat())
    assert len(options) == 4


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("model.arch", "Unett", "unknown value 'Unett'; did you mean Unet?"),
        ("model.arch", [1], "unknown value [1]; choose from FPN, Linknet, Unet, UnetPlusPlus"),
        ("data.fit", "strech",
         "input should be 'stretch' or 'pad' (got 'strech'); did you mean stretch?"),
        ("model.encoder_weights", "imagnet",
         "input should be 'imagenet', 'advprop', 'imagenet+5k', 'imagenet+background', "
         "'instagram', 'noisy-student', 'noisy-student-475', 'ssl' or 'swsl', or null "
         "(got 'imagnet'); did you mean imagenet?"),
        ("optim.lr", "1e-4", "input should be a valid number (got '1e-4'); remove the quotes"),
        ("optim.lr", 0, "input should be greater than 0 (got 0)"),
        ("optim.lr", float("inf"), "must be a finite number below 2**63 (got inf)"),
        ("train.epochs", 10**30, f"must be a finite number below 2**63 (got {10**30})"),
        ("train.epochs", 3.0, "input should be a valid integer (got 3.0)"),
        ("train.compile", 1, "input should be a valid boolean (got 1)"),
        ("data.image_size", 8, "must be n or [height, width], 16 to 4096 pixels (got 8)"),
        ("optim.name", {"a": 1}, "is a group here; write one line for each full key"),
    ],
)  # fmt: skip
def test_illegal_value_is_refused_with_the_reason(key: str, value: object, problem: str) -> None:
    assert setting_problem(key, value, LEGAL) == problem


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.arch", "Unet"), ("optim.lr", 1), ("optim.encoder_lr", None), ("loss.dice", 0),
        ("data.image_size", [96, 128]), ("model.options.decoder_channels", [64, 32]),
        ("optim.encoder_lr_scale", 0.1), ("model.encoder_name", "anything"),
    ],
)  # fmt: skip
def test_legal_value_is_legal_whatever_the_other_settings_are(key: str, value: object) -> None:
    assert setting_problem(key, value, LEGAL) is None


def test_long_values_are_cut_in_messages() -> None:
    problem = setting_problem("optim.lr", "x" * 100_000, LEGAL)
    assert problem is not None and len(problem) < 200


def test_check_is_asked_where_values_cannot_be_listed() -> None:
    legal = AllowedValues(
        checks={"model.encoder_name": lambda v: None if v == "a" else f"no encoder {v}"}
    )
    assert setting_problem("model.encoder_name", "a", legal) is None
    assert setting_problem("model.encoder_name", "b", legal) == "no encoder b"
    assert (
        setting_problem("model.encoder_name", 3, legal) == "input should be a valid string (got 3)"
    )


def test_takes_fractions_tells_float_settings() -> None:
    keys = ("optim.lr", "optim.encoder_lr", "train.epochs", "train.patience", "data.image_size")
    assert [accepts_floats(key) for key in keys] == [True, True, False, False, False]
    assert not accepts_floats("model.options.decoder_dropout")
