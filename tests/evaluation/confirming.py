"""Searches and their confirmations on disk, without any training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.config.study_files import read_study_config
from harness.core import files, strict_yaml
from harness.core.paths import StudyPaths
from harness.core.records import TrialFailure, TrialRecord, write_record
from harness.evaluation.confirm.plan import ConfirmationPlan, run_labels, write_confirmation_plan
from harness.training.metrics.image_scores import ScoreEntry, scores_from_entries, write_scores
from tests.report.studies import Builder

N_IMAGES = 60


def a_search(root: Path, losses: Sequence[float] = (0.30, 0.20, 0.25), **config: Any) -> Builder:
    """A study `tiny` of one trial per loss, each with a learning rate of its own."""
    study = Builder(root, config=config)
    for number, loss in enumerate(losses):
        study.trial(number, [0.9, loss], {"optim.lr": 1e-3 * (number + 1)})
    return study


def begun(paths: StudyPaths, plan: ConfirmationPlan) -> None:
    """What `harness confirm` writes before its first trial."""
    config = read_study_config(paths).model_copy(update={"id": "c" * 32})
    files.write_text(
        paths.confirm.study_yaml, strict_yaml.dump_yaml(config.model_dump(mode="json"))
    )
    write_confirmation_plan(paths, plan)


def trained(
    paths: StudyPaths,
    plan: ConfirmationPlan,
    number: int,
    losses: Sequence[float],
    *,
    seconds: float = 2.0,
) -> TrialRecord:
    """A complete confirming trial; `losses` is 1 - soft Dice of each image.

    The search must have made the images p00, p01, ...; those of fold k have names of their own.
    """
    run = plan.runs[number]
    trial = paths.confirm.trial(number)
    entries: list[ScoreEntry] = []
    for row, loss in enumerate(losses):
        # sums with (2 py + 1) / (p + y + 1) = 1 - loss, for y = 99 and p = 100
        py = ((1 - loss) * 200 - 1) / 2
        name = f"images/{run.part if plan.folds else 0}-{row:02d}.png"
        entries.append((row, name, 1, py, 100.0, 99.0, 1, 0, 0, 1))
    trial.scores_csv.parent.mkdir(parents=True, exist_ok=True)
    write_scores(trial.scores_csv, scores_from_entries(entries))
    return _record(paths, plan, number, state="complete", losses=losses, seconds=seconds)


def failed(paths: StudyPaths, plan: ConfirmationPlan, number: int) -> TrialRecord:
    """A confirming trial that diverged."""
    return _record(paths, plan, number, state="failed", losses=(), seconds=0.0)


def _record(
    paths: StudyPaths,
    plan: ConfirmationPlan,
    number: int,
    *,
    state: str,
    losses: Sequence[float],
    seconds: float,
) -> TrialRecord:
    run = plan.runs[number]
    values: dict[str, Any] = {
        "study": paths.confirm.name,
        "number": number,
        "state": state,
        "params": {"optim.lr": 1e-3 * (run.trial + 1), "train.seed": run.seed},
        "distributions": {},
        "labels": run_labels(plan, run),
        "epochs": 2,
        "seed": run.seed,
        "value": float(np.mean(losses)) if len(losses) else None,
        "best_epoch": 2 if len(losses) else None,
        "costs": {"cost/parameters": 1e6 * (run.trial + 1), "cost/seconds": seconds},
        "ended": f"2026-11-20T10:{number:02d}:00.000+00:00",
        "failure": None if len(losses) else TrialFailure(cause="diverged", message="loss is nan"),
    }
    record = TrialRecord.model_validate(values)
    write_record(paths.confirm.trial(number), record)
    return record
