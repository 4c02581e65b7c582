"""Export the leaderboard for other programs and for papers: JSON, CSV and LaTeX."""

import dataclasses
import json
import math
from typing import Any, Literal

from harness.config.measurements import PRIMARY_METRICS
from harness.core import files
from harness.core.paths import StudyPaths
from harness.core.records import TrialRecord
from harness.core.text import count, display_value
from harness.evaluation.confirm.load_confirmation import load_confirmation
from harness.evaluation.confirm.results import Confirmation
from harness.evaluation.decision.frozen_rule import load_confirmed_rule
from harness.evaluation.statistics.intervals import ConfidenceInterval
from harness.report.analysis.baseline import BaselineComparison
from harness.report.analysis.image_values import trial_mean_interval
from harness.report.analysis.importance import measure_importances
from harness.report.tables.study_tables import StudyTables, ranked_records, trials_csv
from harness.report.tables.trials_csv import trials_as_dicts

ExportFormat = Literal["json", "csv", "latex"]
MAX_INTERVAL_TRIALS = 100  # best trials that get an interval
MAX_LATEX_ROWS = 10  # rows of a table for a paper
# One character at a time: successive str.replace calls
# would escape the backslashes of earlier ones.
_LATEX = {
    **{"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}"},
    **{"^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"},
    **{character: f"\\{character}" for character in "&%$#_"},
}


def export_leaderboard(
    tables: StudyTables, form: ExportFormat, baseline: BaselineComparison | None = None
) -> str:
    """The leaderboard as text.

    json: definition, every trial, the ranking, intervals of the best MAX_INTERVAL_TRIALS,
    importances of the significant parameters, and, if they exist, baseline comparison,
    confirmation, its decision rule and test runs. csv: as trials.csv. latex: the best
    MAX_LATEX_ROWS as a table for the package booktabs.
    """
    if form == "csv":
        return trials_csv(tables)
    if form == "latex":
        return _latex_table(tables)
    return json.dumps(leaderboard_dict(tables, baseline), indent=1, allow_nan=False) + "\n"


def leaderboard_dict(
    tables: StudyTables, baseline: BaselineComparison | None = None
) -> dict[str, Any]:
    """Content of the JSON export; numbers that are not finite become null."""
    confirmation = load_confirmation(tables.paths)
    value = {
        "format": 1,
        "study": tables.paths.name,
        "definition": tables.config.model_dump(mode="json"),
        "space": tables.space,
        "ranking": [record.number for record in ranked_records(tables)],
        "intervals": _leading_intervals(tables),
        "importances": dataclasses.asdict(measure_importances(tables)),
        "trials": trials_as_dicts(tables),
        "baseline": _with_sentence(baseline),
        "confirmation": _with_sentence(confirmation),
        "decision_rule": _confirmed_rule(tables.paths, confirmation),
        "test_looks": files.read_jsonl(tables.paths.test_ledger),
    }
    # JSON has no NaN; json.dumps would write one, which strict parsers refuse.
    finite_values: dict[str, Any] = _null_nonfinite(value)
    return finite_values


def _leading_intervals(tables: StudyTables) -> dict[str, dict[str, Any]]:
    return {
        str(record.number): dataclasses.asdict(limits)
        for record in ranked_records(tables)[:MAX_INTERVAL_TRIALS]
        if (limits := objective_interval(tables, record)) is not None
    }


def _with_sentence(comparison: BaselineComparison | Confirmation | None) -> dict[str, Any] | None:
    if comparison is None:
        return None
    return dataclasses.asdict(comparison) | {"sentence": comparison.sentence}


def _confirmed_rule(paths: StudyPaths, confirmation: Confirmation | None) -> dict[str, Any] | None:
    """Frozen rule of the confirmed choice, with the effect of each clean-up step."""
    frozen = None if confirmation is None else load_confirmed_rule(paths, confirmation)
    return None if frozen is None else frozen.model_dump(mode="json")


def objective_interval(tables: StudyTables, record: TrialRecord) -> ConfidenceInterval | None:
    """Interval of the objective's mean over validation images; None if it is not defined."""
    return trial_mean_interval(tables, record, tables.config.objective.metric)


def _latex_table(tables: StudyTables) -> str:
    """LaTeX table with booktabs rules: rank, trial, objective, Dice, IoU and parameters."""
    ranked = ranked_records(tables)[:MAX_LATEX_ROWS]
    quality_keys = [f"best/{name}" for name in PRIMARY_METRICS]
    quality = [key for key in quality_keys if any(key in record.best for record in ranked)]
    metric = tables.config.objective.metric
    names = ["rank", "trial", metric, *(key.replace("best/", "val/") for key in quality)]
    keys = list(dict.fromkeys(key for record in ranked for key in record.params))
    rows = [
        [
            *(str(rank), str(record.number), _format_number(record.value)),
            *(_format_number(record.best.get(key)) for key in quality),
            *(display_value(record.params[key]) if key in record.params else "--" for key in keys),
        ]
        for rank, record in enumerate(ranked, start=1)
    ]
    confirmation = load_confirmation(tables.paths)
    # A table in a paper outlives the study, so its caption states what the order is worth.
    is_confirmed = confirmation is not None and confirmation.decision is not None
    status = "as searched; see its confirmation" if is_confirmed else "leading, not confirmed"
    title = f"{_caption(tables, len(rows))} {status}." if rows else f"{_caption(tables, 0)}."
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        rf"\caption{{{escape_latex(title)}}}",
        rf"\begin{{tabular}}{{{'r' * len(names)}{'l' * len(keys)}}}",
        r"\toprule",
        _latex_row([*names, *keys]),
        r"\midrule",
        *(_latex_row(row) for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _caption(tables: StudyTables, n_shown: int) -> str:
    """Caption: the trials that the table contains."""
    name, metric = tables.paths.name, tables.config.objective.metric
    n = len(ranked_records(tables))
    if n == 0:
        return f"Study {name}: no trial is complete yet"
    best = (
        f"the best {n_shown} of {n} complete trials" if n > n_shown else count(n, "complete trial")
    )
    return f"Study {name}: {best} by {metric},"


def escape_latex(text: str) -> str:
    """Escape text for LaTeX, so that it contains no command, comment or line break."""
    # Names of trials and labels come from users: a line break would end a table row or a comment.
    plain = "".join(" " if character.isspace() else character for character in text)
    return "".join(_LATEX.get(c, c) for c in plain if c.isprintable())


def _latex_row(cells: list[str]) -> str:
    return " & ".join(escape_latex(cell) for cell in cells) + r" \\"


def _format_number(value: float | None) -> str:
    return "--" if value is None else f"{value:.4f}"


def _null_nonfinite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _null_nonfinite(item) for key, item in value.items()}
    return [_null_nonfinite(item) for item in value] if isinstance(value, list | tuple) else value
