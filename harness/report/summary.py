"""What was asked and what came of it, in a few lines that claim no more than was measured."""

import json
import math
from collections import Counter
from dataclasses import dataclass

from harness.data.splits import SplitRow
from harness.records import FINISHED, TrialRecord
from harness.report.looks import untouched
from harness.report.noise import noise_sentence, pooled_noise
from harness.report.tables import StudyTables, ranked_records
from harness.report.wording import count, duration, text_of


@dataclass(frozen=True)
class Line:
    """One fact of the summary."""

    title: str
    text: str


def summary_lines(tables: StudyTables, split: list[SplitRow]) -> list[Line]:
    """The summary, from the question to what the numbers do not say; `split` may be empty."""
    lines = [Line("Asked", tables.config.question)] if tables.config.question else []
    lines.append(Line("Trials", _trials(tables)))
    failures = Counter(record.failure.cause for record in tables.records if record.failure)
    if failures:
        causes = ", ".join(f"{cause} ({n})" for cause, n in failures.most_common())
        lines.append(Line("Failures", f"{causes}; details are below the leaderboard."))
    squeezed = [record for record in tables.records if record.micro_batch is not None]
    if squeezed:
        lines.append(Line("GPU memory", _squeezed(squeezed)))
    ranked = ranked_records(tables)
    if not ranked:
        lines.append(Line("Leading", "No trial is complete yet, so there is nothing to rank."))
        return lines
    lines.append(Line("Leading", _leading(tables, ranked[0])))
    lines.append(Line("Not confirmed", _caution(ranked)))
    noise = pooled_noise(tables.records, ranked)
    if noise is not None:
        lines.append(Line("Noise", noise_sentence(noise, ranked)))
    lines.append(Line("Measured on", _measured(tables, split)))
    return lines


def _squeezed(records: list[TrialRecord]) -> str:
    each = ", ".join(f"{record.number} ({record.micro_batch})" for record in records)
    return (
        f"{count(len(records), 'trial')} ran out of it and went on with whole batches, but fewer "
        f"images at once in the network: {each}. BatchNorm saw no more than those."
    )


def _trials(tables: StudyTables) -> str:
    own = [record for record in tables.records if record.imported is None]
    counts = Counter(record.state for record in own)
    finished = sum(counts[state] for state in FINISHED)
    wanted = tables.config.budget.trials
    of = f" of {wanted}" if wanted and wanted >= finished else ""
    states = ", ".join(f"{counts[state]} {state}" for state in FINISHED)
    running = f"; {counts['running']} running" if counts["running"] else ""
    seconds = [r.costs["cost/seconds"] for r in own if "cost/seconds" in r.costs]
    n_epochs = int(tables.epochs["number"].isin([record.number for record in own]).sum())
    effort = f" {count(n_epochs, 'epoch')} trained"
    effort += f" in {duration(math.fsum(seconds))} of training." if seconds else "."
    return f"{finished}{of} finished: {states}{running}.{effort}{_imported(tables)}"


def _imported(tables: StudyTables) -> str:
    """How many trials earlier studies gave, and which studies."""
    origins = [record.imported for record in tables.records if record.imported is not None]
    if not origins:
        return ""
    studies = ", ".join(dict.fromkeys(origin.rpartition("/")[0] for origin in origins))
    return f" {count(len(origins), 'trial')} imported from {studies} beside them."


def _leading(tables: StudyTables, best: TrialRecord) -> str:
    metric = tables.config.objective.metric
    also = [
        f"{key.replace('best/', 'val/')} {best.best[key]:.4f}"
        for key in ("best/dice", "best/iou")
        if key in best.best and key != metric.replace("val/", "best/")
    ]
    values = ", ".join(f"{key} {text_of(value)}" for key, value in best.params.items())
    return (
        f"Trial {best.number}: {metric} {best.value:.4f}"
        + (f" ({', '.join(also)})" if also else "")
        + f" at epoch {best.best_epoch} of {best.epochs}"
        + (f", with {values}." if values else ".")
    )


def _caution(ranked: list[TrialRecord]) -> str:
    n_different = len({json.dumps(record.params, sort_keys=True) for record in ranked})
    if 1 == n_different < len(ranked):
        return "All complete trials are one configuration: they differ by their seeds alone."
    which = "Every configuration was" if n_different == len(ranked) else "Most configurations were"
    once = f"{which} trained once, on one seed, so part of each difference is chance"
    if len(ranked) == 1:
        return f"{once}. There is no second complete trial to compare with."
    gap = abs((ranked[1].value or 0.0) - (ranked[0].value or 0.0))
    return (
        f"{once}: trial {ranked[1].number} is second, {gap:.4f} behind. Which of them is "
        "better this study does not say; it says which to look at again."
    )


def _measured(tables: StudyTables, split: list[SplitRow]) -> str:
    roles = Counter(row.role for row in split)
    size = tables.config.data.eval_size
    images = count(roles["val"], "validation image") if split else "The validation images"
    return (
        f"{images} at {size} × {size} pixels{untouched(tables.paths, split)}. The validation "
        "images chose each trial's best epoch and the order of the trials, so on new images expect "
        "somewhat less."
    )
