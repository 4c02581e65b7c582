"""What has to be said beside the answer, in lines that claim no more than was measured."""

from collections import Counter

from harness.data.splits import SplitRow
from harness.records import TrialRecord
from harness.report.answer import Line
from harness.report.noise import noise_sentence, pooled_noise
from harness.report.tables import StudyTables, ranked_records
from harness.report.wording import count


def summary_lines(tables: StudyTables, split: list[SplitRow]) -> list[Line]:
    """What stands below the answer: failures, noise, what was measured; `split` may be empty."""
    lines = []
    failures = Counter(record.failure.cause for record in tables.records if record.failure)
    if failures:
        causes = ", ".join(f"{cause} ({n})" for cause, n in failures.most_common())
        lines.append(Line("Failures", f"{causes}; what helps is below."))
    squeezed = [record for record in tables.records if record.micro_batch is not None]
    if squeezed:
        lines.append(Line("GPU memory", _squeezed(squeezed)))
    ranked = ranked_records(tables)
    if not ranked:
        return lines
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


def _measured(tables: StudyTables, split: list[SplitRow]) -> str:
    roles = Counter(row.role for row in split)
    size = tables.config.data.eval_size
    images = count(roles["val"], "validation image") if split else "The validation images"
    untouched = f"; {count(roles['test'], 'test image')} left untouched" if roles["test"] else ""
    return (
        f"{images} at {size} × {size} pixels{untouched}. The validation images chose each trial's "
        "best epoch and the order of the trials, so on new images expect somewhat less."
    )
