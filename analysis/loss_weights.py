"""Estimate the effect of the loss that has the largest weight, all else equal.

Example: python analysis/loss_weights.py --study losses --loss dice
"""

from harness.config.study import loss_names
from harness.core.errors import ConfigError
from harness.core.records import TrialRecord
from harness.report.analysis.effects import describe_effects, effect_remarks, estimate_effects
from harness.report.figures.effects import draw_effects
from harness.report.figures.scripts import AnalysisResult, run_analysis
from harness.report.figures.style import ObjectiveLabel
from harness.report.tables.study_tables import StudyTables, trial_settings

MIXED = "no part above half"


def main(words: list[str] | None = None) -> int:
    loss = {"default": "dice", "help": "the loss that the others are compared with"}
    return run_analysis("loss_weights", __doc__, of_weights, words, loss=loss)


def of_weights(tables: StudyTables, loss: str) -> AnalysisResult:
    names = [name for name in loss_names() if f"loss.{name}" in tables.parameters]
    if not names:
        raise ConfigError(f"study {tables.paths.name} did not search the weight of any loss")

    def level_of(record: TrialRecord) -> str | None:
        """The loss with more than half of the total weight; weights are normalised to sum 1."""
        given = trial_settings(tables, record) | dict(record.params)
        weights = {name: float(given.get(f"loss.{name}") or 0.0) for name in loss_names()}
        total = sum(weights.values())
        largest = max(weights, key=lambda name: weights[name])
        if total == 0:
            return None
        return largest if weights[largest] > total / 2 else MIXED

    cached = {record.number: level_of(record) for record in tables.records}
    keys = {f"loss.{name}" for name in names}
    found = estimate_effects(tables, lambda record: cached[record.number], loss, keys)
    objective = ObjectiveLabel.from_config(tables.config)
    if found.reason:
        return AnalysisResult(
            [f"The effect of the loss weights cannot be estimated: {found.reason}."], None
        )
    lines = [
        f"More than half of the loss from {loss}, all else equal, in {objective.metric} "
        f"({objective.direction_text}): {describe_effects(found, minimized=tables.minimized)}.",
        *effect_remarks(found),
    ]
    return AnalysisResult(lines, draw_effects(found, f"loss mostly {loss},", objective))


if __name__ == "__main__":
    raise SystemExit(main())
