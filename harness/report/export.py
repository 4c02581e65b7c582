"""The leaderboard for other programs and for papers: JSON, CSV and LaTeX."""

import dataclasses
import json
import math
from typing import Any, Literal

from harness import files
from harness.evaluation.confirmed import load_confirmation
from harness.evaluation.intervals import Interval
from harness.records import TrialRecord
from harness.report.baseline import Against
from harness.report.image_values import own_interval
from harness.report.importance import measured
from harness.report.listing import trials_as_plain
from harness.report.tables import StudyTables, ranked_records, trials_csv
from harness.report.wording import count, text_of

Format = Literal["json", "csv", "latex"]
BEST = 100  # trials with an interval
ROWS = 10  # of a table for a paper
QUALITY = ("best/dice", "best/iou")
_LATEX = {
    **{"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}"},
    **{"^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"},
    **{character: f"\\{character}" for character in "&%$#_"},
}


def export(tables: StudyTables, form: Format, baseline: Against | None = None) -> str:
    """The leaderboard as text.

    json: definition, every trial, the ranking, intervals of the best BEST, importances of the
    parameters that are told from chance, and, where there are any, comparison, confirmation and
    looks at the test images. csv: as trials.csv. latex: the best ROWS as a table for the package
    booktabs.
    """
    if form == "csv":
        return trials_csv(tables)
    if form == "latex":
        return _latex(tables)
    return json.dumps(as_plain(tables, baseline), indent=1, allow_nan=False) + "\n"


def as_plain(tables: StudyTables, baseline: Against | None = None) -> dict[str, Any]:
    """What the JSON holds; numbers that are not finite are null."""
    ranked = ranked_records(tables)
    confirmation = load_confirmation(tables.paths)
    value = {
        "format": 1,
        "study": tables.paths.name,
        "definition": tables.config.model_dump(mode="json"),
        "space": tables.space,
        "ranking": [record.number for record in ranked],
        "intervals": {
            str(record.number): dataclasses.asdict(found)
            for record in ranked[:BEST]
            if (found := interval(tables, record)) is not None
        },
        "importances": dataclasses.asdict(measured(tables)),
        "trials": trials_as_plain(tables),
        "baseline": None
        if baseline is None
        else dataclasses.asdict(baseline) | {"sentence": baseline.sentence},
        "confirmation": None
        if confirmation is None
        else dataclasses.asdict(confirmation) | {"sentence": confirmation.sentence},
        "test_looks": files.read_lines(tables.paths.test_looks),
    }
    plain: dict[str, Any] = _finite(value)
    return plain


def interval(tables: StudyTables, record: TrialRecord) -> Interval | None:
    """Of the objective's mean over validation images; None where it cannot be told."""
    return own_interval(tables, record, tables.config.objective.metric)


def _latex(tables: StudyTables) -> str:
    """A table with the rules of booktabs: rank, trial, objective, Dice, IoU, parameters, size."""
    ranked = ranked_records(tables)[:ROWS]
    quality = [key for key in QUALITY if any(key in record.best for record in ranked)]
    metric = tables.config.objective.metric
    names = ["rank", "trial", metric, *(key.replace("best/", "val/") for key in quality)]
    keys = list(dict.fromkeys(key for record in ranked for key in record.params))
    rows = [
        [
            *(str(rank), str(record.number), _number(record.value)),
            *(_number(record.best.get(key)) for key in quality),
            *(text_of(record.params[key]) if key in record.params else "--" for key in keys),
        ]
        for rank, record in enumerate(ranked, start=1)
    ]
    confirmed = load_confirmation(tables.paths)
    decided = confirmed is not None and confirmed.decision is not None
    standing = "as searched; see its confirmation" if decided else "leading, not confirmed"
    title = f"{_caption(tables, len(rows))} {standing}." if rows else f"{_caption(tables, 0)}."
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        rf"\caption{{{escaped(title)}}}",
        rf"\begin{{tabular}}{{{'r' * len(names)}{'l' * len(keys)}}}",
        r"\toprule",
        _row([*names, *keys]),
        r"\midrule",
        *(_row(row) for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _caption(tables: StudyTables, n_shown: int) -> str:
    """Which trials the table holds."""
    name, metric = tables.paths.name, tables.config.objective.metric
    n = len(ranked_records(tables))
    if n == 0:
        return f"Study {name}: no trial is complete yet"
    best = (
        f"the best {n_shown} of {n} complete trials" if n > n_shown else count(n, "complete trial")
    )
    return f"Study {name}: {best} by {metric},"


def escaped(text: str) -> str:
    """Text that LaTeX sets as it stands: none of it is a command, a comment or a new line."""
    plain = "".join(" " if character.isspace() else character for character in text)
    return "".join(_LATEX.get(c, c) for c in plain if c.isprintable())


def _row(cells: list[str]) -> str:
    return " & ".join(escaped(cell) for cell in cells) + r" \\"


def _number(value: float | None) -> str:
    return "--" if value is None else f"{value:.4f}"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value
