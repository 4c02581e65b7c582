"""The examples of docs/parts.md do what the page says, from the command to the report."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import harness
from harness.config import components
from harness.config.data import IGNORE_INDEX
from harness.config.study import TrialConfig
from harness.config.user_code import ENTRY_POINT_GROUP, read_parts_file, register_parts_file
from harness.core import strict_yaml
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths
from harness.core.records import read_epochs
from harness.models import registry
from harness.report.tables.study_tables import load_study_tables
from harness.training.metrics.image_scores import read_scores
from tests.conftest import TINY

PAGE = (Path(__file__).parents[1] / "docs" / "parts.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_packages_register_under_the_group_that_the_page_names() -> None:
    assert ENTRY_POINT_GROUP == "harness.parts"
    assert f'[project.entry-points."{ENTRY_POINT_GROUP}"]' in blocks("toml")[0]


@pytest.fixture
def file(tmp_path: Path) -> Any:
    """The file of the page, registered."""
    path = tmp_path / "parts.py"
    path.write_text(blocks("python")[0], encoding="utf-8")
    register_parts_file(read_parts_file(path))
    yield path
    register_parts_file(None)


@pytest.mark.usefixtures("file")
def test_each_example_by_hand() -> None:
    network = components.find_component("network", "stack").build(in_channels=4, classes=2, width=8)
    assert network(torch.zeros(2, 4, 16, 24)).shape == (2, 2, 16, 24)

    hardest = components.find_component("loss", "hardest").build
    logits = torch.tensor([0.0, 9.0, -9.0, -2.0]).reshape(1, 1, 2, 2)
    target = torch.tensor([1.0, 1.0, 0.0, IGNORE_INDEX]).reshape(1, 1, 2, 2)
    assert float(hardest(logits, target, share=0.4)) == pytest.approx(np.log(2))  # 1 of 3 pixels

    area = components.find_component("metric", "area_error").build
    probability = np.array([[0.9, 0.8, 0.7, 0.1]], np.float32)
    truth, valid = np.array([[True, False, False, False]]), np.array([[True, True, True, False]])
    assert area(probability, truth, valid) == 2.0
    assert area(probability, ~valid, valid) is None


def space(**changes: Any) -> dict[str, Any]:
    page: dict[str, Any] = strict_yaml.load_yaml(blocks("yaml")[0], source="docs").value
    parameters = {k: v for k, v in page["parameters"].items() if k.startswith("loss.")}
    small = {k: v for k, v in TINY["fixed"].items() if k.startswith(("model.", "data."))}
    fixed = {**page["fixed"], **small, "train.batch_size": 8, **changes}
    return {"parameters": parameters, "fixed": fixed}


@pytest.mark.slow
def test_a_study_with_a_loss_and_a_metric(workspace: Path, polyps: Path, file: Path) -> None:
    paths = StudyPaths(workspace / "studies" / "hard")
    paths.root.mkdir(parents=True)
    (paths.root / "parts.py").write_bytes(file.read_bytes())
    paths.study_yaml.write_text(blocks("yaml")[1], encoding="utf-8")
    study = harness.run_study("hard", space=space(), data=polyps, trials=1)
    recorded = strict_yaml.load_yaml(paths.study_yaml.read_text("utf-8"), source="").value
    assert recorded["parts"] == {"file": "parts.py", "sha256": read_parts_file(file).sha256}
    assert recorded["objective"] == {"metric": "val/area_error", "direction": "minimize"}

    trial, best = paths.trial(0), study.best
    assert best is not None and set(best.params) == {"loss.hardest", "loss.hardest_share"}
    lines = read_epochs(trial)
    assert all("train/loss_hardest" in line for line in lines)
    values = [line["val/area_error"] for line in lines]
    assert best.value == best.best["best/area_error"] == min(values)
    scores = read_scores(trial.scores_csv)
    column = scores.extra_columns["area_error"]
    assert np.array_equal(~np.isnan(column), scores.has_truth), "None where there is nothing"
    by_hand = np.abs(scores.tp + scores.fp - scores.sum_y) / np.maximum(scores.sum_y, 1)
    assert column[scores.has_truth] == pytest.approx(by_hand[scores.has_truth])

    register_parts_file(None)  # the report reads a study whose parts nobody has registered
    assert load_study_tables(paths).config.objective.metric == "val/area_error"
    html = study.report().read_text(encoding="utf-8")
    assert "val/area_error" in html and "loss.hardest_share" in html

    (paths.root / "parts.py").write_bytes(file.read_bytes() + b"# changed\n")
    with pytest.raises(ConfigError, match=r"parts\.sha256: '[0-9a-f]{64}' -> '[0-9a-f]{64}'"):
        harness.run_study("hard", data=polyps, trials=2)
    other = harness.run_study("plain", space=TINY, data=polyps, trials=1)
    assert other.best is not None
    assert "val/area_error" not in read_epochs(other.paths.trial(0))[0], "studies are not mixed"


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(registry, "archs"), reason="networks of the user's own are not built yet"
)
def test_a_study_with_a_network(workspace: Path, polyps: Path, file: Path) -> None:
    page = strict_yaml.load_yaml(blocks("yaml")[0], source="docs").value
    page["fixed"]["train.batch_size"] = 8
    study = harness.run_study("mine", space=page, data=polyps, trials=1, parts=file)
    assert study.best is not None and study.best.params["model.options.width"] in (8, 16)
    assert (study.paths.root / "parts.py").read_bytes() == file.read_bytes()
    assert "stack" in study.report().read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "instead", "said"),
    [
        (
            "    return error.topk(",
            "    raise ValueError('no such pixels')\n    return error.topk(",
            r"parts\.py:\d+: loss 'hardest': ValueError: no such pixels",
        ),
        (
            "return abs(predicted - true) / true",
            "return float('nan') + true",
            r"parts\.py: metric 'area_error' returned nan for image \S+, class foreground; it must",
        ),
        (
            "    return error.topk(",
            "    return float('inf') * error.topk(",
            r"the training loss is .* in epoch 1 \(loss\.hardest\)",
        ),
    ],
)
def test_what_fails_in_a_trial_is_named(
    line: str, instead: str, said: str, workspace: Path, polyps: Path, tmp_path: Path
) -> None:
    path = tmp_path / "parts.py"
    path.write_text(blocks("python")[0].replace(line, instead, 1), encoding="utf-8")
    study = harness.run_study("bad", space=space(), data=polyps, trials=1, parts=path)
    failure = study.tables.record(0).failure
    assert failure is not None and re.search(said, failure.message), failure
    assert failure.cause == ("diverged" if "training loss" in said else "bad_configuration")


def test_options_are_checked_before_trial_0(workspace: Path, polyps: Path, file: Path) -> None:
    for wrong, said in {
        "loss.hardest_shar": "--set: loss.hardest_shar: unknown setting; did you mean",
        "loss.hardest_share": r"hardest_share: .*valid number .got 'much'",
    }.items():
        with pytest.raises(ConfigError, match=said):
            harness.run_study(
                "s",
                space={"fixed": dict(TINY["fixed"])},
                data=polyps,
                parts=file,
                fixed={wrong: "much"},
            )
    assert not (workspace / "studies").exists()


@pytest.mark.usefixtures("file")
def test_a_configuration_of_a_trial_names_every_setting_of_the_loss() -> None:
    flat = TrialConfig().flat()
    assert (flat["loss.hardest"], flat["loss.hardest_share"]) == (0.0, 0.25)
