"""`harness lr-find` from the command line to the files it leaves."""

import csv
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.cli.app import main
from harness.cli.lr_find import sparkline
from harness.config.study import TrialConfig
from harness.core import strict_yaml
from harness.core.errors import ConfigError
from harness.search.definition.definition import StudyDefinition
from harness.search.definition.lr_find import _resolve_definition, _study_paths
from harness.search.definition.options import RunOptions
from harness.space.reading.load_space import space_from_dict
from harness.space.space import AllowedValues
from tests.conftest import TINY
from tests.report.studies import Builder

FIXED: dict[str, Any] = {**TINY["fixed"], "train.batch_size": 4}  # type: ignore[dict-item]


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["lr-find", *arguments])
    out, err = capsys.readouterr()
    assert isinstance(left.value.code, int)
    return left.value.code, out, err


def settings(**more: object) -> list[str]:
    values = FIXED | more
    return [f"--set={key}={'null' if value is None else value}" for key, value in values.items()]


def test_curve_suggestion_and_a_line_that_a_space_takes(
    workspace: Path, polyps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--data", str(polyps), "--steps", "60", "--low", "1e-5", "--device", "cpu"]
    code, out, err = run([*common, "--name", "first", *settings()], capsys)
    assert code == 0, err
    folder = workspace / "lr-find" / "first"
    page = (folder / "curve.html").read_text()
    assert str(folder / "curve.html") in out and "training 60 steps on cpu" in err
    assert "Plotly.newPlot" in page and 'src="http' not in page and "default-src 'none'" in page
    with (folder / "points.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["step", "lr", "loss", "smoothed"] and len(rows) > 20
    assert [int(row["step"]) for row in rows] == [*range(1, len(rows) + 1)]
    config = strict_yaml.load_yaml((folder / "config.yaml").read_text(), source="config.yaml").value
    assert TrialConfig.model_validate(config) == TrialConfig.from_flat(FIXED)
    (line,) = [text.strip() for text in out.splitlines() if "log: true" in text]
    written = strict_yaml.load_yaml(line, source="line").value
    (parameter,) = space_from_dict(
        {"parameters": written}, source="s", legal=AllowedValues()
    ).parameters
    assert parameter.key == "optim.lr" and line in page
    again = harness.find_lr(
        data=polyps, fixed=FIXED, steps=60, low=1e-5, device="cpu", workspace=workspace
    )
    assert again.page.parent != folder
    assert (again.page.parent / "points.csv").read_text() == (folder / "points.csv").read_text()
    assert again.lines == (line,)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--low", "1", "--high", "0.1"],
            ["--low 1 --high 0.1: low must be above 0 and below high"],
        ),
        (["--high", "20", "--steps", "3"], ["high at most 10", "--steps 3: must be 20 to"]),
        (["--set", "optim.lrr=1"], ["--set: optim.lrr: unknown setting; did you mean optim.lr?"]),
        (["--set", "optim.lr=fast"], ["optim.lr", "fast"]),
        (["--set", "loss.class_weights=balanced"], ["loss.class_weights: act in multiclass and"]),
        (["--name", "../x"], ["--name '../x'"]),
        (["--study", "none"], ["there is no study none in"]),
        (["--data", "nowhere"], ["--data nowhere"]),
        (["--device", "gpu"], ["--device gpu: unknown device"]),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(
    workspace: Path,
    polyps: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: list[str],
) -> None:
    data = [] if "--data" in arguments else ["--data", str(polyps)]
    code, _, err = run([*data, *arguments], capsys)
    assert code == 2 and "Traceback" not in err
    for word in words:
        assert word in err
    assert not (workspace / "lr-find").exists()


def test_folder_of_an_earlier_test_is_kept(
    workspace: Path, polyps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / "lr-find" / "first").mkdir(parents=True)
    code, _, err = run(["--data", str(polyps), "--name", "first"], capsys)
    assert code == 2 and "first exists already; choose another name" in err


def test_study_lends_data_split_and_fixed_values(
    workspace: Path, polyps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = workspace / "studies" / "lent" / "study.yaml"
    study.parent.mkdir(parents=True)
    content = {"data": {"root": str(polyps), "eval_size": 32}, "fixed": FIXED}
    study.write_text(strict_yaml.dump_yaml(content))
    asked = ["--study", "lent", "--steps", "20", "--name", "x", "--set", "optim.name=sgd"]
    code, _, err = run(asked, capsys)
    assert code == 0, err
    text = (workspace / "lr-find" / "x" / "config.yaml").read_text()
    config = TrialConfig.model_validate(strict_yaml.load_yaml(text, source="config.yaml").value)
    assert config == TrialConfig.from_flat(FIXED | {"optim.name": "sgd"})
    assert [path.name for path in study.parent.iterdir()] == ["study.yaml"]


@pytest.mark.parametrize("written", [False, True])
def test_values_of_an_earlier_study_are_resolved(workspace: Path, written: bool) -> None:
    earlier = Builder(workspace, "baselines")
    earlier.trial(0, [0.5], {"model.arch": "FPN"})
    taken = {"model.arch": {"from": "baselines"}}
    study = workspace / "studies" / "hyper" / "study.yaml"
    study.parent.mkdir(parents=True)
    study.write_text(strict_yaml.dump_yaml({"fixed": taken}))
    asked: dict[str, Any] = {"study": "hyper"} if written else {"fixed": taken}

    def resolved(**asked: Any) -> StudyDefinition:
        options = RunOptions.from_arguments({"workspace": workspace, **asked})
        return _resolve_definition(options, _study_paths(options))

    definition = resolved(**asked)
    assert definition.trial_config({}).model.arch == "FPN"
    message = r"--set: arch: there is no study baseline in .*; did you mean baselines"
    with pytest.raises(ConfigError, match=message):
        resolved(fixed={"arch": {"from": "baseline"}})


def test_spark_spans_the_fall_and_cuts_what_lies_above_its_beginning() -> None:
    assert sparkline([3.0, 1.0, 2.0, 50.0]) == "█▁▅█"  # 0.5 of 7 heights is 3.5, to even: 4
    assert sparkline([1.0, 2.0, 3.0]) == "▁▅█", "where nothing falls, all is shown"
    assert len(sparkline([float(k) for k in range(1000)])) <= 60
