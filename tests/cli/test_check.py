"""`harness check`: what it prints, its exit code, and that it writes nothing but caches."""

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.cli.app import main
from harness.core import strict_yaml
from harness.core.errors import ConfigError
from tests.conftest import TINY
from tests.report.studies import Builder

SPACE: dict[str, Any] = {
    "parameters": {
        "model.arch": {"choices": ["Unet", "PAN"]},
        "model.encoder_name": {"choices": ["resnet18", "vgg11"]},
        "train.batch_size": {"choices": [1, 4]},
    },
    "fixed": {**TINY["fixed"], "data.image_size": 64},
}
SPACE["fixed"] = {k: v for k, v in SPACE["fixed"].items() if k not in SPACE["parameters"]}


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and standard output of a command."""
    with pytest.raises(SystemExit) as left:
        main(["check", *arguments])
    assert isinstance(left.value.code, int)
    return left.value.code, capsys.readouterr().out


@pytest.fixture
def space(workspace: Path) -> Path:
    path = workspace / "two.yaml"
    path.write_text(strict_yaml.dump_yaml(SPACE), encoding="utf-8")
    return path


def test_matrix_names_what_is_impossible_and_why(
    space: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(["--space", str(space)], capsys)
    assert code == 0, said
    rows = [line.split() for line in said.splitlines() if "PAN" in line and "│" in line]
    assert "dilation" in rows[0] and "batch" in rows[1]
    assert "PAN dilates its encoder, vgg11" in " ".join(said.split())
    assert "3 of 8 networks cannot be built" in said
    assert "no data set was given or found, so only the space was checked" in " ".join(said.split())
    assert [path.name for path in workspace.iterdir()] == ["two.yaml"]


def test_json_has_every_network(
    space: Path, polyps: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(["--space", str(space), "--data", str(polyps), "--json"], capsys)
    found = json.loads(said)
    assert code == 0 and found["good"] and found["whole"] and found["problems"] == []
    bad = [
        (one["arch"], one["encoder_name"], one["batch_of_one"], one["kind"])
        for one in found["networks"]
        if not one["possible"]
    ]
    assert sorted(bad) == [
        ("PAN", "resnet18", True, "batch"),
        ("PAN", "vgg11", False, "dilation"),
        ("PAN", "vgg11", True, "dilation"),
    ]
    assert all(one["gflops"] > 0 for one in found["networks"] if one["possible"])
    assert found["data"]["statistics"]["n_pairs"] == 24
    assert not (workspace / "studies").exists() and not (workspace / "optuna.db").exists()


def test_the_next_command_has_the_options_of_the_check(
    workspace: Path, polyps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / "one.yaml").write_text(strict_yaml.dump_yaml(TINY), encoding="utf-8")
    data = shutil.copytree(polyps, workspace / "my polyps")
    options = ["--space", "one.yaml", "--data", str(data), "--set", "train.epochs=2", "--skip-bad"]
    code, said = run(options, capsys)
    assert code == 0, said
    assert f"all findings: harness data inspect '{data}'" in said
    last = said.splitlines()[-1]
    assert last.startswith("next: harness run ") and shlex.split(last)[3:] == options


def test_what_run_would_refuse_is_exit_2_and_all_is_said_at_once(
    space: Path, polyps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["model.encoder_weights=imagenet", "loss.class_weights=[1]"]
    settings += ["data.augment=strong.yaml"]
    options = [word for setting in settings for word in ("--set", setting)]
    code, said = run(["--space", str(space), "--data", "nowhere", *options], capsys)
    flat = " ".join(said.split())
    assert code == 2
    assert "error: loss.class_weights: act in multiclass and multilabel tasks" in flat
    assert "error: data.augment: no file 'strong.yaml'" in flat
    assert "error: --data nowhere: neither a folder nor a dataset" in flat
    assert "error: no imagenet weights for resnet18" in flat and "HF_HUB_OFFLINE" in flat


def test_space_without_a_possible_network_is_exit_2(
    space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = ["--set", "data.image_size=72", "--set", "model.encoder_depth=5"]
    space.write_text(
        strict_yaml.dump_yaml({**SPACE, "parameters": {"optim.lr": {"choices": [1e-3, 1e-4]}}}),
        encoding="utf-8",
    )
    fixed = ["--set", "model.arch=FPN", "--set", "model.encoder_name=resnet18"]
    code, said = run(["--space", str(space), *changed, *fixed], capsys)
    assert code == 2
    assert "no network of this space can be trained" in said and "divisible by 32" in said


def test_value_of_an_earlier_study_is_found(
    space: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = Builder(workspace, "baselines")
    earlier.trial(0, [0.5], {"model.encoder_depth": 4})
    plain = {key: one for key, one in SPACE["fixed"].items() if key != "model.encoder_depth"}
    space.write_text(strict_yaml.dump_yaml({**SPACE, "fixed": plain}), encoding="utf-8")
    code, said = run(
        ["--space", str(space), "--set", "model.encoder_depth=from:baselines", "--json"], capsys
    )
    found = json.loads(said)
    assert code == 0 and found["name"] == "two"
    assert {one["encoder_depth"] for one in found["networks"]} == {4}
    with pytest.raises(ConfigError, match=r"no study baseline in .*; did you mean baselines"):
        harness.check(space=space, fixed={"model.encoder_depth": {"from": "baseline"}})
    assert [path.name for path in (workspace / "studies").iterdir()] == ["baselines"]


def test_misspelt_study_is_refused_with_the_nearest(workspace: Path) -> None:
    Builder(workspace, "encoders")
    with pytest.raises(
        ConfigError, match=r"there is no study encoder in .*; did you mean encoders\?"
    ):
        harness.check("encoder")


def test_api_gives_the_same_as_a_value(space: Path, workspace: Path) -> None:
    found = harness.check(space=space)
    assert found.good and len(found.table.possible) == 5 and len(found.table.impossible) == 3
    assert found.as_json()["networks"][0]["parameters"] > 0
    with pytest.raises(ConfigError, match="did you mean"):
        harness.check(space=space, fixed={"optim.lrr": 1})


@pytest.mark.slow
def test_study_draws_no_network_that_cannot_be_built(
    space: Path, polyps: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed = {"train.epochs": 1, "data.augment": "none"}
    study = harness.run_study(space=space, data=polyps, trials=6, fixed=fixed)
    assert len(study.trials) == 6
    assert not (study.trials["state"] == "failed").any()
    params = [
        (r.params["model.arch"], r.params["model.encoder_name"]) for r in study.tables.records
    ]
    assert len(set(params)) > 1 and ("PAN", "vgg11") not in params
    said = capsys.readouterr().err
    assert "3 of 8 networks cannot be built: harness check --space" in said
