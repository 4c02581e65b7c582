"""What was asked and what was answered: the five lines at the top of the page."""

import math
import shlex
from collections import Counter
from dataclasses import dataclass

from harness.data.splits import SplitRow
from harness.records import FINISHED, TrialRecord
from harness.report.failures import REMEDIES
from harness.report.tables import StudyTables, ranked_records
from harness.report.wording import among, be, count, duration, text_of
from harness.search.repeats import identity

_NAMED = 6  # parameters


@dataclass(frozen=True)
class Line:
    """One fact under a title of a word or two; `command`: what to type, shown before the text."""

    title: str
    text: str
    command: str = ""


@dataclass(frozen=True)
class Confirmed:
    """What came of training the leading configurations again.

    Attributes:
        sentence: which configuration is better, or which are tied.
        looks: how often the test images have been opened.
    """

    sentence: str
    looks: int = 0


def answer_lines(
    tables: StudyTables, split: list[SplitRow], confirmed: Confirmed | None = None
) -> list[Line]:
    """Asked, searched, answered, how sure, next: always five, whatever there is.

    Args:
        split: may be empty, where split.csv is missing.
        confirmed: None before anything was trained again.
    """
    ranked = ranked_records(tables)
    title = "Leading" if confirmed is None else "Confirmed"
    return [
        Line("Asked", tables.config.question or "study.yaml states no question."),
        Line("Searched", _searched(tables)),
        Line(title, _answered(tables, ranked, confirmed)),
        Line("How sure", _sure(ranked, confirmed)),
        _next(tables, split, ranked, confirmed),
    ]


def _searched(tables: StudyTables) -> str:
    keys = [key.removeprefix("model.").removeprefix("options.") for key in tables.parameters]
    more = [f"{len(keys) - _NAMED} more"] if len(keys) > _NAMED else []
    named = f": {among([*keys[:_NAMED], *more])}" if keys else ""
    what = f"{count(len(keys), 'parameter')}{named}" if keys else "One configuration"
    return f"{what}. {_trials(tables)}"


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


def _answered(tables: StudyTables, ranked: list[TrialRecord], confirmed: Confirmed | None) -> str:
    if confirmed is not None:
        return confirmed.sentence
    if not ranked:
        return "No trial is complete yet, so there is nothing to rank."
    return _leading(tables, ranked[0])


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


def _sure(ranked: list[TrialRecord], confirmed: Confirmed | None) -> str:
    if confirmed is not None:
        return (
            "Configurations were trained again on fresh seeds or folds, and compared by them; the "
            "interval and the optimism of the search are under Confirmation."
        )
    return f"Leading, not confirmed. {_caution(ranked)}" if ranked else "Not at all yet."


def _caution(ranked: list[TrialRecord]) -> str:
    n_different = len({identity(record) for record in ranked})
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


def _next(
    tables: StudyTables,
    split: list[SplitRow],
    ranked: list[TrialRecord],
    confirmed: Confirmed | None,
) -> Line:
    name = shlex.quote(tables.paths.name)
    own = [record for record in tables.records if record.imported is None]
    wanted = tables.config.budget.trials or 0
    left = wanted - sum(record.state in FINISHED for record in own)
    if left > 0:
        text = f"goes on: {left} of {wanted} trials {be(left)} left."
        return Line("Next", text, f"harness run --study {name}")
    if not ranked:
        return Line("Next", _nothing_complete(own))
    if confirmed is None:
        text = "trains the leading configurations again on fresh seeds and says which is better."
        return Line("Next", text, f"harness confirm --study {name} --top 5 --seeds 3")
    if confirmed.looks == 0 and any(row.role == "test" for row in split):
        text = "opens the test images, which nobody has looked at."
        return Line("Next", text, f"harness test --study {name}")
    return Line("Next", "Use it on images from elsewhere before you rely on it.")


def _nothing_complete(own: list[TrialRecord]) -> str:
    failed = Counter(record.failure.cause for record in own if record.failure)
    cause = failed.most_common(1)[0][0] if failed else ""
    stopped = "The pruner stopped them: let trials train to the end (pruner: none)."
    return f"No trial was completed. {REMEDIES.get(cause, stopped)}"
