"""Lines below the answer: next command, search, confidence, failures, noise and images."""

import math
import shlex
from collections import Counter
from dataclasses import dataclass

from harness.core.records import FINISHED_STATES, TrialRecord
from harness.core.text import count, format_duration, join_words, was_or_were
from harness.data.splits.splits import SplitRow
from harness.report.analysis.noise import estimate_pooled_noise, noise_sentence
from harness.report.page.failures import REMEDIES
from harness.report.page.held_out_section import held_out_note
from harness.report.tables.study_tables import StudyTables, ranked_records
from harness.search.imports.duplicates import config_key

_MAX_PARAMETERS = 6  # names that fit into two lines of the headline; more are counted


@dataclass(frozen=True)
class SummaryLine:
    """One fact under a short title; `command`, if any, is shown before the text."""

    title: str
    text: str
    command: str = ""


@dataclass(frozen=True)
class ConfirmationSummary:
    """Result of a confirmation, that is of training the leading configurations again.

    Attributes:
        n_tests: number of times the test images have been opened.
    """

    n_tests: int = 0


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
    # A budget that was lowered between two runs can be below the number of finished trials.
    planned_text = f" of {n_planned}" if n_planned and n_planned >= finished else ""
    states = ", ".join(f"{counts[state]} {state}" for state in FINISHED_STATES)
    running = f"; {counts['running']} running" if counts["running"] else ""
    seconds = [r.costs["cost/seconds"] for r in own_records if "cost/seconds" in r.costs]
    n_epochs = int(tables.epochs["number"].isin([record.number for record in own_records]).sum())
    effort = f" {count(n_epochs, 'epoch')} trained"
    effort += f" in {format_duration(math.fsum(seconds))} of training." if seconds else "."
    return f"{finished}{planned_text} finished: {states}{running}.{effort}{_origins_text(tables)}"


def _origins_text(tables: StudyTables) -> str:
    """Sentences about imported trials, second chances and priors; "" without any."""
    chances = [r.number for r in tables.records if r.second_chance is not None]
    text = _imports_text(tables)
    if chances:
        trials = count(len(chances), "stopped trial")
        numbers = ", ".join(map(str, chances))
        text += f" {trials} had a second chance at the end ({numbers})."
    if tables.config.priors:
        n_rows = sum(len(prior.rows) for prior in tables.config.priors)
        studies = ", ".join(prior.study for prior in tables.config.priors)
        text += f" {count(n_rows, 'good configuration')} of {studies} guided the search."
    return text


def _imports_text(tables: StudyTables) -> str:
    """Number of imported trials and the studies that they come from; "" without any."""
    origins = [record.imported for record in tables.records if record.imported is not None]
    if not origins:
        return ""
    # An origin is `<study>/<trial>`; a dict keeps the order of the studies, a set would not.
    studies = ", ".join(dict.fromkeys(origin.rpartition("/")[0] for origin in origins))
    n = len(origins)
    return f" In addition, {count(n, 'trial')} {was_or_were(n)} imported from {studies}."


def _confidence_text(ranked: list[TrialRecord], confirmation: ConfirmationSummary | None) -> str:
    if confirmation is not None:
        return (
            "The best configurations were trained again on new seeds or folds and compared on "
            "those. The section Confirmation shows how far the search was too optimistic."
        )
    return f"Leading, not confirmed. {_caution_text(ranked)}" if ranked else "No result yet."


def _caution_text(ranked: list[TrialRecord]) -> str:
    # Repeats of one configuration differ by chance alone; `config_key` ignores the training seed.
    n_different = len({config_key(record) for record in ranked})
    if 1 == n_different < len(ranked):
        return "All complete trials have the same configuration and differ only in their seeds."
    subject = (
        "Every configuration was" if n_different == len(ranked) else "Most configurations were"
    )
    caveat = f"{subject} trained once, on one seed, so part of each difference is chance"
    if len(ranked) == 1:
        return f"{caveat}. There is no second complete trial to compare with."
    gap = abs((ranked[1].value or 0.0) - (ranked[0].value or 0.0))
    return (
        f"{caveat}: trial {ranked[1].number} is second, {gap:.4f} behind. The search cannot decide "
        "which of them is better; it shows which configurations to train again."
    )


def next_step(
    tables: StudyTables, split: list[SplitRow], confirmation: ConfirmationSummary | None = None
) -> SummaryLine:
    """Command that brings the study forward, and what it does.

    Args:
        split: rows of split.csv; empty if the file is missing.
        confirmation: None before a confirmation has a result.
    """
    ranked = ranked_records(tables)
    name = shlex.quote(tables.paths.name)
    own_records = [record for record in tables.records if record.imported is None]
    n_planned = tables.config.budget.trials or 0
    n_remaining = n_planned - sum(record.state in FINISHED_STATES for record in own_records)
    if n_remaining > 0:
        text = f"runs the remaining {n_remaining} of {count(n_planned, 'trial')}."
        return SummaryLine("Next step", text, f"harness run --study {name}")
    if not ranked:
        return SummaryLine("Next step", _no_result_text(own_records))
    if confirmation is None:
        text = "trains the leading configurations again on new seeds and compares them."
        return SummaryLine("Next step", text, f"harness confirm --study {name} --top 5 --seeds 3")
    if confirmation.n_tests == 0 and any(row.role == "test" for row in split):
        text = "evaluates the confirmed model on the test images, which have never been opened."
        return SummaryLine("Next step", text, f"harness test --study {name}")
    text = "Test the model on images from elsewhere before you rely on it."
    return SummaryLine("Next step", text)


def _no_result_text(own_records: list[TrialRecord]) -> str:
    cause_counts = Counter(record.failure.cause for record in own_records if record.failure)
    cause = cause_counts.most_common(1)[0][0] if cause_counts else ""
    advice = REMEDIES.get(cause, "")
    if not advice and any(record.state == "pruned" for record in own_records):
        advice = "The pruner stopped them: let trials train to the end (pruner: none)."
    return f"No trial is complete. {advice}".strip()


def summary_lines(
    tables: StudyTables, split: list[SplitRow], confirmation: ConfirmationSummary | None = None
) -> list[SummaryLine]:
    """Search, confidence, failures, reduced micro-batches, noise, and the images measured on.

    Args:
        split, confirmation: as in `next_step`.
    """
    ranked = ranked_records(tables)
    lines = [
        SummaryLine("Search", _search_text(tables)),
        SummaryLine("Confidence", _confidence_text(ranked, confirmation)),
    ]
    failures = Counter(record.failure.cause for record in tables.records if record.failure)
    if failures:
        causes = ", ".join(f"{cause} ({n})" for cause, n in failures.most_common())
        lines.append(SummaryLine("Failures", f"{causes}; see Failures for remedies."))
    reduced_records = [record for record in tables.records if record.micro_batch is not None]
    if reduced_records:
        lines.append(SummaryLine("GPU memory", _micro_batch_text(reduced_records)))
    if not ranked:
        return lines
    noise = estimate_pooled_noise(tables.records, ranked)
    if noise is not None:
        lines.append(SummaryLine("Noise", noise_sentence(noise, ranked)))
    lines.append(SummaryLine("Measured on", _measured_on_text(tables, split)))
    if ranked[0].seam_index is not None:
        lines.append(SummaryLine("Windows", _seam_text(ranked[0])))
    return lines


def _seam_text(leader: TrialRecord) -> str:
    return (
        f"Trial {leader.number} predicts in windows: its decisions change {leader.seam_index:.2f} "
        "times as often at their borders as elsewhere (seam index). Near 1 no border can be seen "
        "in the masks; if it is far above 1, raise data.tile.overlap."
    )


def _micro_batch_text(records: list[TrialRecord]) -> str:
    trial_texts = ", ".join(f"{record.number} ({record.micro_batch})" for record in records)
    return (
        f"{count(len(records), 'trial')} ran out of memory and continued with the full batch split "
        f"into micro-batches (trial and images): {trial_texts}. BatchNorm normalises over the "
        "micro-batch."
    )


def _measured_on_text(tables: StudyTables, split: list[SplitRow]) -> str:
    roles = Counter(row.role for row in split)
    size = tables.config.data.metrics_size_text
    images = count(roles["val"], "validation image") if split else "The validation images"
    return (
        f"{images} at {size}{held_out_note(tables.paths, split)}. The best epoch "
        "of each trial and the order of the trials were selected on the validation images, so "
        "expect somewhat worse values on new images."
    )
