"""Descriptions of a study and of its trials in MLflow, as Markdown."""

from collections import Counter
from collections.abc import Sequence

from harness.config.progress import short_configuration
from harness.config.study import StudyConfig
from harness.core.paths import StudyPaths
from harness.core.records import TrialRecord

NOTE_TAG = "mlflow.note.content"  # of a run and of an experiment
N_BEST = 5
_BEGINNING = "- Question: "
_TRIAL_BEGINNING = "- State: "
_STATES = ("complete", "pruned", "failed", "running")


def study_note(paths: StudyPaths, config: StudyConfig, records: Sequence[TrialRecord]) -> str:
    """Write the note: five lines and a table of the best trials."""
    ranked = config.objective.ranked(records)
    n_in_state = Counter[str](record.state for record in records)
    counts = ", ".join(f"{n_in_state[state]} {state}" for state in _STATES if n_in_state[state])
    metric = _one_line(config.objective.metric)
    best = f"{ranked[0].value:.4f} (trial {ranked[0].number})" if ranked else "no complete trial"
    lines = [
        f"{_BEGINNING.removeprefix('- ')}{_one_line(config.question or 'none stated')}",
        f"Data: {_one_line(str(config.data.root))}",
        f"Trials: {counts or 'none'}",
        f"Best {metric}: {best}",
        f"Report: report.html of the run {paths.name}; on disk studies/{paths.name}/report.html",
    ]
    # A list: Markdown joins plain lines to one paragraph.
    entries = [f"- {line}" for line in lines]
    return "\n".join([*entries, *_table(metric, ranked[:N_BEST])]) + "\n"


def trial_note(record: TrialRecord) -> str:
    """Write the note of an ended trial: its configuration, metrics of the best epoch, costs."""
    best = "no epoch" if record.best_epoch is None else f"best epoch {record.best_epoch}"
    lines = [f"{_TRIAL_BEGINNING}{record.state}, {best} of {record.epochs} planned"]
    if record.params:
        lines.append(f"- Configuration: {_one_line(short_configuration(record.params))}")
    values = record.best | record.costs
    if values:
        lines += ["", "| metric | value |", "|---|---|"]
        lines += [f"| {_one_line(key)} | {_number(value)} |" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def is_own_note(text: str) -> bool:
    """True for an empty note and for one written here; a person's text must stay."""
    return not text or text.startswith((_BEGINNING, _TRIAL_BEGINNING))


def _table(metric: str, records: Sequence[TrialRecord]) -> list[str]:
    if not records:
        return []
    rows = [
        f"| {record.number} | {record.value:.4f} | {_score(record, 'dice')} | "
        f"{_score(record, 'iou')} | {_one_line(short_configuration(record.params))} |"
        for record in records
    ]
    return [
        "",
        f"| trial | {metric} | Dice | IoU | configuration |",
        "|---|---|---|---|---|",
        *rows,
    ]


def _score(record: TrialRecord, name: str) -> str:
    value = record.best.get(f"best/{name}")
    return "–" if value is None else f"{value:.4f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1e6 else f"{value:.6g}"


def _one_line(text: str) -> str:
    """Text without characters that Markdown or HTML would interpret."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return "".join(f"&#{ord(c)};" if c in "|<>&[]`*_\\#" else c for c in plain)
