"""What was asked and what was answered: the five lines at the top of the page."""

import math
import shlex
from collections import Counter
from dataclasses import dataclass

from harness.core.records import FINISHED_STATES, TrialRecord
from harness.core.text import count, display_value, format_duration, is_or_are, join_words
from harness.data.splits.splits import SplitRow
from harness.report.analysis.noise import estimate_pooled_noise, noise_sentence
from harness.report.page.failures import REMEDIES
from harness.report.page.held_out_section import held_out_note
from harness.report.tables.study_tables import StudyTables, ranked_records
from harness.search.imports.duplicates import config_key

_MAX_PARAMETERS = 6  # parameters


@dataclass(frozen=True)
class SummaryLine:
    """One fact under a title of a word or two; `command`: what to type, shown before the text."""

    title: str
    text: str
    command: str = ""


@dataclass(frozen=True)
class ConfirmationSummary:
    """What came of training the leading configurations again.

    Attributes:
        sentence: which configuration is better, or which are tied.
        n_tests: how often the test images have been opened.
    """

    sentence: str
    n_tests: int = 0


def headline_lines(
    tables: StudyTables, split: list[SplitRow], confirmation: ConfirmationSummary | None = None
) -> list[SummaryLine]:
    """Asked, searched, answered, how sure, next: always five, whatever there is.

    Args:
        split: may be empty, where split.csv is missing.
        confirmation: None before anything was trained again.
    """
    ranked = ranked_records(tables)
    title = "Leading" if confirmation is None else "Confirmed"
    return [
        SummaryLine("Asked", tables.config.question or "study.yaml states no question."),
        SummaryLine("Searched", _search_text(tables)),
        SummaryLine(title, _result_text(tables, ranked, confirmation)),
        SummaryLine("How sure", _confidence_text(ranked, confirmation)),
        _next_line(tables, split, ranked, confirmation),
    ]


def _search_text(tables: StudyTables) -> str:
    keys = [key.removeprefix("model.").removeprefix("options.") for key in tables.parameters]
    overflow = [f"{len(keys) - _MAX_PARAMETERS} more"] if len(keys) > _MAX_PARAMETERS else []
    names_text = f": {join_words([*keys[:_MAX_PARAMETERS], *overflow])}" if keys else ""
    subject = f"{count(len(keys), 'parameter')}{names_text}" if keys else "One configuration"
    return f"{subject}. {_trials_text(tables)}"


def _trials_text(tables: StudyTables) -> str:
    own_records = [record for record in tables.records if record.imported is None]
    counts = Counter(record.state for record in own_records)
    finished = sum(counts[state] for state in FINISHED_STATES)
    n_planned = tables.config.budget.trials
    planned_text = f" of {n_planned}" if n_planned and n_planned >= finished else ""
    states = ", ".join(f"{counts[state]} {state}" for state in FINISHED_STATES)
    running = f"; {counts['running']} running" if counts["running"] else ""
    seconds = [r.costs["cost/seconds"] for r in own_records if "cost/seconds" in r.costs]
    n_epochs = int(tables.epochs["number"].isin([record.number for record in own_records]).sum())
    effort = f" {count(n_epochs, 'epoch')} trained"
    effort += f" in {format_duration(math.fsum(seconds))} of training." if seconds else "."
    return f"{finished}{planned_text} finished: {states}{running}.{effort}{_imports_text(tables)}"


def _imports_text(tables: StudyTables) -> str:
    """How many trials earlier studies gave, and which studies."""
    origins = [record.imported for record in tables.records if record.imported is not None]
    if not origins:
        return ""
    studies = ", ".join(dict.fromkeys(origin.rpartition("/")[0] for origin in origins))
    return f" {count(len(origins), 'trial')} imported from {studies} beside them."


def _result_text(
    tables: StudyTables, ranked: list[TrialRecord], confirmation: ConfirmationSummary | None
) -> str:
    if confirmation is not None:
        return confirmation.sentence
    if not ranked:
        return "No trial is complete yet, so there is nothing to rank."
    return _leader_text(tables, ranked[0])


def _leader_text(tables: StudyTables, best: TrialRecord) -> str:
    metric = tables.config.objective.metric
    quality = [
        f"{key.replace('best/', 'val/')} {best.best[key]:.4f}"
        for key in ("best/dice", "best/iou")
        if key in best.best and key != metric.replace("val/", "best/")
    ]
    values = ", ".join(f"{key} {display_value(value)}" for key, value in best.params.items())
    return (
        f"Trial {best.number}: {metric} {best.value:.4f}"
        + (f" ({', '.join(quality)})" if quality else "")
        + f" at epoch {best.best_epoch} of {best.epochs}"
        + (f", with {values}." if values else ".")
    )


def _confidence_text(ranked: list[TrialRecord], confirmation: ConfirmationSummary | None) -> str:
    if confirmation is not None:
        return (
            "Configurations were trained again on fresh seeds or folds, and compared by them; the "
            "interval and the optimism of the search are under Confirmation."
        )
    return f"Leading, not confirmed. {_caution_text(ranked)}" if ranked else "Not at all yet."


def _caution_text(ranked: list[TrialRecord]) -> str:
    n_different = len({config_key(record) for record in ranked})
    if 1 == n_different < len(ranked):
        return "All complete trials are one configuration: they differ by their seeds alone."
    subject = (
        "Every configuration was" if n_different == len(ranked) else "Most configurations were"
    )
    caveat = f"{subject} trained once, on one seed, so part of each difference is chance"
    if len(ranked) == 1:
        return f"{caveat}. There is no second complete trial to compare with."
    gap = abs((ranked[1].value or 0.0) - (ranked[0].value or 0.0))
    return (
        f"{caveat}: trial {ranked[1].number} is second, {gap:.4f} behind. Which of them is "
        "better this study does not say; it says which to look at again."
    )


def _next_line(
    tables: StudyTables,
    split: list[SplitRow],
    ranked: list[TrialRecord],
    confirmation: ConfirmationSummary | None,
) -> SummaryLine:
    name = shlex.quote(tables.paths.name)
    own_records = [record for record in tables.records if record.imported is None]
    n_planned = tables.config.budget.trials or 0
    n_remaining = n_planned - sum(record.state in FINISHED_STATES for record in own_records)
    if n_remaining > 0:
        text = f"goes on: {n_remaining} of {n_planned} trials {is_or_are(n_remaining)} left."
        return SummaryLine("Next", text, f"harness run --study {name}")
    if not ranked:
        return SummaryLine("Next", _no_result_text(own_records))
    if confirmation is None:
        text = "trains the leading configurations again on fresh seeds and says which is better."
        return SummaryLine("Next", text, f"harness confirm --study {name} --top 5 --seeds 3")
    if confirmation.n_tests == 0 and any(row.role == "test" for row in split):
        text = "opens the test images, which nobody has looked at."
        return SummaryLine("Next", text, f"harness test --study {name}")
    return SummaryLine("Next", "Use it on images from elsewhere before you rely on it.")


def _no_result_text(own_records: list[TrialRecord]) -> str:
    cause_counts = Counter(record.failure.cause for record in own_records if record.failure)
    cause = cause_counts.most_common(1)[0][0] if cause_counts else ""
    default_advice = "The pruner stopped them: let trials train to the end (pruner: none)."
    return f"No trial was completed. {REMEDIES.get(cause, default_advice)}"


def summary_lines(tables: StudyTables, split: list[SplitRow]) -> list[SummaryLine]:
    """What stands below the answer: failures, noise, what was measured; `split` may be empty."""
    lines = []
    failures = Counter(record.failure.cause for record in tables.records if record.failure)
    if failures:
        causes = ", ".join(f"{cause} ({n})" for cause, n in failures.most_common())
        lines.append(SummaryLine("Failures", f"{causes}; what helps is below."))
    reduced_records = [record for record in tables.records if record.micro_batch is not None]
    if reduced_records:
        lines.append(SummaryLine("GPU memory", _micro_batch_text(reduced_records)))
    ranked = ranked_records(tables)
    if not ranked:
        return lines
    noise = estimate_pooled_noise(tables.records, ranked)
    if noise is not None:
        lines.append(SummaryLine("Noise", noise_sentence(noise, ranked)))
    lines.append(SummaryLine("Measured on", _measured_on_text(tables, split)))
    return lines


def _micro_batch_text(records: list[TrialRecord]) -> str:
    trial_texts = ", ".join(f"{record.number} ({record.micro_batch})" for record in records)
    return (
        f"{count(len(records), 'trial')} ran out of it and went on with whole batches, but fewer "
        f"images at once in the network: {trial_texts}. BatchNorm saw no more than those."
    )


def _measured_on_text(tables: StudyTables, split: list[SplitRow]) -> str:
    roles = Counter(row.role for row in split)
    size = tables.config.data.eval_size
    images = count(roles["val"], "validation image") if split else "The validation images"
    return (
        f"{images} at {size} × {size} pixels{held_out_note(tables.paths, split)}. The validation "
        "images chose each trial's best epoch and the order of the trials, so on new images expect "
        "somewhat less."
    )
