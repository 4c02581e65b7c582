"""Files and packages that register parts."""

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from harness.config import components, user_code
from harness.config.study import LossConfig, StudyConfig, TrialConfig, trial_keys
from harness.config.user_code import (
    MAX_BYTES,
    read_parts_file,
    register_packages,
    register_parts_file,
)
from harness.core.errors import ConfigError
from harness.models.registry import ARCHS

SOFT = """from harness import parts

@parts.loss()
def {name}(logits, target, *, width: int = 3):
    return logits.mean()
"""


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(components, "_COMPONENTS", dict(components._COMPONENTS))
    register_packages.cache_clear()
    yield
    register_packages.cache_clear()
    register_parts_file(None)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def use(path: Path) -> None:
    register_parts_file(read_parts_file(path))


def test_a_file_gives_way_to_the_next(tmp_path: Path) -> None:
    one = write(tmp_path / "one.py", SOFT.format(name="first"))
    two = write(tmp_path / "two.py", SOFT.format(name="second"))
    use(one)
    assert components.find_component("loss", "first").origin == str(one)
    use(two)
    assert "second" in components.get_components(
        "loss"
    ) and "first" not in components.get_components("loss")
    register_parts_file(None)
    assert "second" not in components.get_components("loss")


def test_a_file_is_executed_once_and_again_when_it_changes(tmp_path: Path) -> None:
    path = write(tmp_path / "parts.py", SOFT.format(name="soft"))
    use(path)
    before = components.find_component("loss", "soft")
    use(path)
    assert components.find_component("loss", "soft") is before
    use(write(path, SOFT.format(name="hard")))
    assert "soft" not in components.get_components("loss") and "hard" in components.get_components(
        "loss"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = 1\nx = = 2\n", r"parts\.py:2: SyntaxError: invalid syntax"),
        ("import math\n\nmath.sqrt(-1)\n", r"parts\.py:3: ValueError: .*"),
        ("import no_such_module\n", r"parts\.py:1: ModuleNotFoundError: No module named"),
        ("raise SystemExit(3)\n", r"parts\.py:1: SystemExit: 3"),
        (SOFT.format(name="dice"), r"parts\.py:3: loss 'dice': the name is in use by the harness"),
        (
            "from harness import parts\n\n@parts.network()\n"
            "def Unet(in_channels, classes): ...\n",
            r"parts\.py:3: network 'Unet': the name is in use by the harness",
        ),
        (
            SOFT.format(name="soft").replace(": int = 3", ""),
            r"parts\.py:3: loss 'soft': option width needs a default",
        ),
        (
            SOFT.format(name="a").replace("width", "b_c")
            + SOFT.format(name="a_b").replace("width", "c"),
            r"loss 'a_b': its setting loss\.a_b_c is already in use",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_has_its_line(tmp_path: Path, text: str, problem: str) -> None:
    before = dict(components._COMPONENTS)
    with pytest.raises(ConfigError, match=problem):
        use(write(tmp_path / "parts.py", text))
    assert dict(components._COMPONENTS) == before, "nothing of a broken file stays"


def test_only_a_regular_file_of_text_is_read(tmp_path: Path) -> None:
    target = write(tmp_path / "parts.py", "")
    link = tmp_path / "link.py"
    link.symlink_to(target)
    (tmp_path / "odd.py").write_bytes(b"x = 1\ny = '\xff'\n")
    (tmp_path / "big.py").write_bytes(b"#" * (MAX_BYTES + 1))
    for name, problem in {
        "none.py": "cannot be read: No such file",
        "link.py": "not a regular file",
        "odd.py": r"odd\.py:2: not UTF-8 text",
        "big.py": "larger than 1 MB",
    }.items():
        with pytest.raises(ConfigError, match=problem):
            read_parts_file(tmp_path / name)


@pytest.mark.parametrize("name", ["../parts.py", "/etc/parts.py", "parts.txt", ".py", "a/b.py"])
def test_a_study_names_a_file_beside_it(name: str) -> None:
    with pytest.raises(ConfigError, match=r"study.yaml: parts\.file: must be the plain name"):
        StudyConfig.from_mapping({"parts": name})


def test_packages_register_and_broken_ones_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "good_package_parts.py", SOFT.format(name="soft"))
    write(tmp_path / "broken_package_parts.py", SOFT.format(name="half") + "1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    points = [
        EntryPoint(name, f"{name}_package_parts", user_code.ENTRY_POINT_GROUP)
        for name in ("good", "broken")
    ]
    monkeypatch.setattr(user_code, "entry_points", lambda group: points)
    (line,) = register_packages()
    assert line == (
        "parts of package broken_package_parts are not registered "
        "(broken_package_parts: ZeroDivisionError: division by zero)"
    )
    assert components.find_component("loss", "soft").origin == "package good_package_parts"
    assert "half" not in components.get_components("loss")
    use(write(tmp_path / "parts.py", SOFT.format(name="mine")))
    register_parts_file(None)
    assert "soft" in components.get_components("loss"), "packages stay"


def problems(flat: dict[str, object]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        TrialConfig.from_flat(flat, source="here")
    return caught.value.problems


def test_settings_of_a_registered_loss(tmp_path: Path) -> None:
    use(write(tmp_path / "parts.py", SOFT.format(name="soft")))
    assert {"loss.soft", "loss.soft_width"} < set(trial_keys())
    assert {"loss.soft": 0.0, "loss.soft_width": 3}.items() <= TrialConfig().flat().items()
    config = TrialConfig.from_flat({"loss.soft": 2, "loss.soft_width": 5})
    assert config.loss.weights == {"dice": 0.25, "bce": 0.25, "soft": 0.5}
    assert TrialConfig.model_validate_json(config.model_dump_json()) == config
    wrong = {"loss.soft": -1, "loss.soft_width": "5", "loss.sofft": 1, "loss.dice": -2}
    assert problems(wrong) == [
        "here: loss.dice: input should be greater than or equal to 0 (got -2)",
        "here: loss.soft: input should be greater than or equal to 0 (got -1)",
        "here: loss.soft_width: input should be a valid integer (got '5')",
        "here: loss.sofft: unknown setting; did you mean loss.soft?",
    ]
    assert problems({"loss.soft": True}) == ["here: loss.soft: input should be a valid number "
                                             "(got True)"]  # fmt: skip
    assert problems({"loss.dice": 0, "loss.bce": 0})[0].endswith("lovasz, soft above 0")


def test_settings_of_a_loss_that_is_not_registered_can_be_read(tmp_path: Path) -> None:
    flat = LossConfig().model_dump() | {"soft": 1.0, "soft_width": 5}
    nested = {f"loss.{key}": value for key, value in flat.items()}
    assert "loss.soft" not in trial_keys()
    read = TrialConfig.from_flat(nested, allow_unregistered=True).flat()
    assert read["loss.soft_width"] == 5


def test_reserved_names_are_all_that_mean_something() -> None:
    assert components.RESERVED_NAMES["loss"] == set(LossConfig.model_fields)
    ours = {name for name, part in components.get_components("network").items() if part.is_builtin}
    assert components.RESERVED_NAMES["network"] == {*ARCHS} | ours


def test_direction_of_an_objective_is_that_of_the_metric(tmp_path: Path) -> None:
    text = "from harness import parts\n\n@parts.metric(direction='minimize')\n"
    use(write(tmp_path / "parts.py", text + "def far(probability, truth, valid): return 3.0\n"))
    objective = StudyConfig.from_mapping({"objective": {"metric": "val/far"}}).objective
    assert (objective.direction, objective.is_builtin) == ("minimize", False)
    assert objective.is_possible_value(17.5) and not objective.is_possible_value(float("inf"))
    with pytest.raises(ConfigError, match="direction of val/far must be minimize"):
        StudyConfig.from_mapping({"objective": {"metric": "val/far", "direction": "maximize"}})
    with pytest.raises(ConfigError, match=r"unknown metric 'val/farr'; did you mean val/far\?"):
        StudyConfig.from_mapping({"objective": {"metric": "val/farr"}})
    assert StudyConfig.from_mapping({"objective": {"metric": "val/iou"}}).objective.direction == (
        "maximize"
    )
