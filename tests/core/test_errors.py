import pytest

from harness.core.errors import (
    ConfigError,
    DataError,
    HarnessError,
    UserError,
    WeightsError,
    suggest_nearest,
)


def test_config_error_shows_one_problem_a_line() -> None:
    error = ConfigError(["a: wrong", "b: wrong"])
    assert str(error) == "a: wrong\nb: wrong" and error.problems == ["a: wrong", "b: wrong"]
    assert ConfigError("alone").problems == ["alone"]


@pytest.mark.parametrize("kind", [ConfigError, DataError, WeightsError])
def test_what_a_user_can_mend_is_a_user_error(kind: type[HarnessError]) -> None:
    assert issubclass(kind, UserError)


@pytest.mark.parametrize(
    ("word", "known", "end"),
    [
        ("resnet35", ["resnet34", "vgg11"], "; did you mean resnet34?"),
        ("optm.lr", ["optim.lr", "loss.dice"], "; did you mean optim.lr?"),
        ("polyp.yaml", ["unetpp.yaml", "polyps.yaml"], "; did you mean polyps.yaml?"),
        ("x.yaml", ["unetpp.yaml", "polyps.yaml"], "; choose from polyps.yaml, unetpp.yaml"),
        ("0003", ["000", "001", "002", "003", "004"], "; did you mean 003?"),
        ("UNET", ["Unet", "UnetPlusPlus"], "; did you mean Unet?"),
        ("fnc", ["FPN", "fcn"], "; did you mean fcn?"),
        ("train.lr", ["optim.lr", "loss.dice"], "; did you mean optim.lr?"),
        ("zzz", ["b", "a", "a"], "; choose from a, b"),
        ("zzz", [f"name{i:02d}" for i in range(15)], ""),
        ("zzz", [f"name{i:02d}" for i in range(14)],
         "; choose from " + ", ".join(f"name{i:02d}" for i in range(14))),
        ("zzz", [], ""),
    ],
)  # fmt: skip
def test_nearest_names_the_likely_word_or_all_of_few(word: str, known: list[str], end: str) -> None:
    assert suggest_nearest(word, known) == end
