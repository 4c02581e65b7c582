"""A study with a finished confirmation whose runs have saved predictions."""

import copy
from pathlib import Path

from harness.evaluation.confirm.load_confirmation import load_confirmation
from harness.evaluation.confirm.plan import run_labels
from harness.evaluation.confirm.results import Confirmation
from tests.evaluation.confirm.test_load_confirmation import plan_of
from tests.evaluation.confirming import begun
from tests.report.studies import Builder


def confirmed_study(root: Path) -> tuple[Builder, Confirmation]:
    """Trial 0 leads the search; trained again on two seeds, trial 1 is better."""
    study = Builder(root)
    for number, skill in enumerate((0.9, 0.8)):
        study.trial(number, [0.9, 0.1 + number / 10], {"optim.lr": 1e-3 + number}, skill=skill)
    plan = plan_of([0, 1], 2)
    begun(study.paths, plan)
    confirming = copy.copy(study)
    confirming.paths = study.paths.confirm
    for number, run in enumerate(plan.runs):
        skill, loss = (0.3, 0.6) if run.trial == 0 else (0.95, 0.2 - run.part / 100)
        params = {"optim.lr": 1e-3 + run.trial}
        labels = run_labels(plan, run)
        confirming.trial(number, [0.9, loss], params, skill=skill, labels=labels, planned=2)
    confirmation = load_confirmation(study.paths)
    assert confirmation is not None and confirmation.choice is not None
    return study, confirmation
