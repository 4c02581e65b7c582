"""Options on the command line: their values, their help, and the arguments that they become."""

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import typer

import harness
from harness.api.confirm import ConfirmOptions
from harness.cli.app import build_app, main
from harness.cli.arguments import api_arguments, check_name, parse_duration, parse_per_gpu
from harness.cli.check import check
from harness.cli.confirm import confirm
from harness.cli.lr_find import lr_find
from harness.cli.run import run
from harness.core.errors import ConfigError, StudyInterrupted


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3600", 3600),
        ("90m", 5400),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1d", 86400),
        ("0.5h", 1800),
        ("2H", 7200),
        ("90s", 90),
        ("1h1m1s", 3661),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "m", "1w", "nan", "inf", "1h 30m", "30m1h", "1e3", "9" * 400, "١h"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="must be a time such as 8h, 90m"):
        parse_duration(text)


def test_trials_per_gpu_are_a_number_or_auto() -> None:
    assert (parse_per_gpu("2"), parse_per_gpu("auto")) == (2, "auto")
    for text in ("0", "65", "max", "-1", "1.5", "٢"):
        with pytest.raises(ConfigError, match=f"--per-gpu {text}: must be from 1 to 64, or auto"):
            parse_per_gpu(text)


@pytest.mark.parametrize(("number", "code", "name"), [(2, 130, "SIGINT"), (15, 143, "SIGTERM")])
def test_interrupted_study_says_how_to_continue(
    number: int,
    code: int,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise StudyInterrupted(number)

    monkeypatch.setattr("harness.api.run_study", interrupted)
    with pytest.raises(SystemExit) as left:
        main(["run", "--space", "my space.yaml", "--trials", "3"])
    assert left.value.code == code
    assert capsys.readouterr().err.strip() == (
        f"interrupted by {name}; continue with: harness run --space 'my space.yaml' --trials 3"
    )


COMMANDS = {
    run: harness.run_study,
    check: harness.check,
    lr_find: harness.find_lr,
    confirm: ConfirmOptions,
}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_options_of_a_command_are_arguments_of_the_api(command: Callable[..., None]) -> None:
    """A value for each: some belong to the command, and study and workspace open the study."""
    values: dict[str, Any] = dict.fromkeys(signature(command).parameters, "1")
    values |= {name: ["a=1"] for name in ("set_",) if name in values}
    api = COMMANDS[command]
    names = set(getattr(api, "__annotations__", {})) - {"return"}
    own = {check: {"json_"}, confirm: {"study", "workspace"}, run: {"no_report"}}
    assert set(api_arguments(values)) - own.get(command, set()) == names - {"progress"}


def test_options_that_were_not_given_are_left_to_the_api() -> None:
    defaults = {name: option.default for name, option in signature(run).parameters.items()}
    arguments = api_arguments(defaults)
    names = ("skip_bad", "data_on_device", "trusted_network", "ship_code", "no_report")
    flags = dict.fromkeys(names, False)
    assert arguments == flags | {"device": "auto", "workspace": Path()}


@pytest.mark.parametrize("name", ["run", "check", "confirm", "test", "lr-find"])
def test_help_shows_every_default_with_an_example(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    command: Any = typer.main.get_command(build_app(name)).commands[name]  # type: ignore[attr-defined]
    for option in command.params:
        if option.name not in ("help",):
            assert option.required or "Default: " in option.help, option.name
            assert option.is_flag or f"Example: {option.opts[0]} " in option.help, option.name
    with pytest.raises(SystemExit):
        main([name, "--help"])
    assert "─ Storage ─" in capsys.readouterr().out


def test_help_of_run_has_four_panels(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    panels = [printed.index(f"─ {panel} ─") for panel in ("Space", "Search", "Compute", "Storage")]
    assert panels == sorted(panels)
    for text in (
        "Default: the number of rows of a CSV space, otherwise 20.",
        "Default: tpe.",
        "Default: halving.",
        "Default: 0.",
        "Default: val/dice_loss.",
    ):
        assert text in printed


def test_unknown_name_lists_those_that_are_allowed() -> None:
    check_name("--sampler", "sampler", None, ("tpe", "gp"))
    check_name("--sampler", "sampler", "gp", ("tpe", "gp"))
    message = r"^--sampler foo: unknown sampler; choose from gp, tpe$"
    with pytest.raises(ConfigError, match=message):
        check_name("--sampler", "sampler", "foo", ("tpe", "gp"))
    with pytest.raises(ConfigError, match=r"^--sampler tpee: unknown sampler; did you mean tpe\?$"):
        check_name("--sampler", "sampler", "tpee", ("tpe", "gp"))
