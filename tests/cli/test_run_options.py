import pytest

from harness.cli.app import main
from harness.cli.run import parse_duration
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
