"""Both arms of the comparison do the same job: their masks are equal."""

import dataclasses
from pathlib import Path

import pytest

from benchmarks.predict import equal_share, ours, plain_loop
from harness.config.decision_rule import ClassDecision, DecisionRule
from harness.models.serialization import load_network
from tests.data.make import picture, save
from tests.deploy.made_study import NETWORK, made_study


@pytest.mark.parametrize(
    "clean", [{}, {"largest_only": True}, {"fill_holes": True, "min_size": 200}], ids=str
)
def test_plain_loop_writes_the_same_masks(tmp_path: Path, clean: dict[str, int]) -> None:
    study = made_study(tmp_path)
    files = [
        save(tmp_path / "in" / f"{k}.png", picture(k, 40 + 30 * k, 150 - 20 * k)) for k in range(5)
    ]
    predictor = study.predictor(device="cpu")
    rule = DecisionRule(task="binary", classes=(ClassDecision(threshold=0.5, **clean),))
    frozen = predictor.deployment.rule.model_copy(update={"rule": rule})
    predictor.deployment = dataclasses.replace(predictor.deployment, rule=frozen)
    network = load_network(study.paths.trial(0).model).eval()
    plain_loop(network, files, tmp_path / "plain-0", NETWORK["data.image_size"], rule)
    ours(predictor, files, tmp_path / "ours-0")
    assert equal_share(tmp_path, files, len(files)) > 0.9999
