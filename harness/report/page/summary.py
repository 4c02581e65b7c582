"""What has to be said beside the answer, in lines that claim no more than was measured."""

from collections import Counter

from harness.core.records import TrialRecord
from harness.core.text import count
from harness.data.splits.splits import SplitRow
from harness.report.analysis.noise import estimate_pooled_noise, noise_sentence
from harness.report.page.headline import SummaryLine
from harness.report.page.held_out_section import held_out_note
from harness.report.tables.study_tables import StudyTables, ranked_records


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
