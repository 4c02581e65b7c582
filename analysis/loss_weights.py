"""Which part of the loss should weigh most, all else equal?

Example: python analysis/loss_weights.py --study losses --loss dice
"""

from harness.config import loss_names
from harness.errors import ConfigError
from harness.records import TrialRecord
from harness.report.effects import effects, in_words, remarks
from harness.report.figures.effects import draw_effects
from harness.report.figures.scripts import Answer, answer
from harness.report.figures.style import Objective
from harness.report.tables import StudyTables, trial_settings

MIXED = "no part above half"


def main(words: list[str] | None = None) -> int:
    loss = {"default": "dice", "help": "the part that the others are compared with"}
    return answer("loss_weights", __doc__, of_weights, words, loss=loss)


def of_weights(tables: StudyTables, loss: str) -> Answer:
    names = [name for name in loss_names() if f"loss.{name}" in tables.parameters]
    if not names:
        raise ConfigError(f"{tables.paths.name}: no weight of a loss was searched")

    def level_of(record: TrialRecord) -> str | None:
        """The part with more than half of the weights, which are used divided by their sum."""
        given = trial_settings(tables, record) | dict(record.params)
        weights = {name: float(given.get(f"loss.{name}") or 0.0) for name in loss_names()}
        total = sum(weights.values())
        largest = max(weights, key=lambda name: weights[name])
        if total == 0:
            return None
        return largest if weights[largest] > total / 2 else MIXED

    cached = {record.number: level_of(record) for record in tables.records}
    keys = {f"loss.{name}" for name in names}
    found = effects(tables, lambda record: cached[record.number], loss, keys)
    objective = Objective.of(tables.config)
    if found.reason:
        return Answer([f"What the weights of the loss change is not told: {found.reason}."], None)
    lines = [
        f"More than half of the loss from {loss}, all else equal, in {objective.metric} "
        f"({objective.better}): {in_words(found, minimized=tables.minimized)}.",
        *remarks(found),
    ]
    return Answer(lines, draw_effects(found, f"loss mostly {loss},", objective))


if __name__ == "__main__":
    raise SystemExit(main())
