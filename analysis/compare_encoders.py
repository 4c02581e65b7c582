"""Compare encoders (or the values of another parameter) at an equal number of trials.

Example: python analysis/compare_encoders.py --study encoders --by model.arch
"""

from harness.report.analysis.budget import MIN_GROUP, compare_at_equal_budget
from harness.report.figures.budget import draw_budget
from harness.report.figures.scripts import AnalysisResult, run_analysis
from harness.report.figures.style import ObjectiveLabel
from harness.report.tables.study_tables import StudyTables


def main(words: list[str] | None = None) -> int:
    key = {"default": "model.encoder_name", "help": "the parameter to compare by"}
    return run_analysis("compare_encoders", __doc__, compared, words, by=key)


def compared(tables: StudyTables, by: str) -> AnalysisResult:
    found = compare_at_equal_budget(tables, by)
    lines = [found.sentence]
    lines += [
        f"{curve.group}: expected best of {found.budget} {curve.expected[-1]:.4f} "
        f"({curve.low[-1]:.4f} to {curve.high[-1]:.4f}), {curve.n_complete} complete and "
        f"{curve.n_pruned} pruned trials"
        for curve in found.curves
    ]
    lines += [
        f"{group}: left out, as it has {n} of the {MIN_GROUP} trials that are needed"
        for group, n in found.small_groups
    ]
    drawn = len(found.curves) > 1
    return AnalysisResult(
        lines, draw_budget(found, ObjectiveLabel.from_config(tables.config)) if drawn else None
    )


if __name__ == "__main__":
    raise SystemExit(main())
