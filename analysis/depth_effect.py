"""Estimate the effect of encoder depth 5 against 3 and 4, all else equal.

Example: python analysis/depth_effect.py --study encoders
"""

from harness.core.records import TrialRecord
from harness.report.analysis.effects import describe_effects, effect_remarks, estimate_effects
from harness.report.figures.effects import draw_effects
from harness.report.figures.scripts import AnalysisResult, run_analysis
from harness.report.figures.style import ObjectiveLabel
from harness.report.tables.study_tables import StudyTables

KEY = "model.encoder_depth"


def main(words: list[str] | None = None) -> int:
    depth = {"default": "5", "help": "the depth that the others are compared with"}
    return run_analysis("depth_effect", __doc__, of_depth, words, depth=depth)


def of_depth(tables: StudyTables, depth: str) -> AnalysisResult:
    def level_of(record: TrialRecord) -> str | None:
        return str(record.params[KEY]) if KEY in record.params else None

    found, objective = (
        estimate_effects(tables, level_of, depth, {KEY}),
        ObjectiveLabel.from_config(tables.config),
    )
    if found.reason:
        return AnalysisResult(
            [f"The effect of encoder depth {depth} cannot be estimated: {found.reason}."], None
        )
    lines = [
        f"Encoder depth {depth}, all else equal, in {objective.metric} "
        f"({objective.direction_text}): "
        f"{describe_effects(found, minimized=tables.minimized)}.",
        *effect_remarks(found),
    ]
    return AnalysisResult(lines, draw_effects(found, "encoder depth", objective))


if __name__ == "__main__":
    raise SystemExit(main())
