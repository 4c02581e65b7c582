"""Does encoder depth 5 beat 3 and 4, all else equal?

Example: python analysis/depth_effect.py --study encoders
"""

from harness.records import TrialRecord
from harness.report.effects import effects, in_words, remarks
from harness.report.figures.effects import draw_effects
from harness.report.figures.scripts import Answer, answer
from harness.report.figures.style import Objective
from harness.report.tables import StudyTables

KEY = "model.encoder_depth"


def main(words: list[str] | None = None) -> int:
    depth = {"default": "5", "help": "the depth that the others are compared with"}
    return answer("depth_effect", __doc__, of_depth, words, depth=depth)


def of_depth(tables: StudyTables, depth: str) -> Answer:
    def level_of(record: TrialRecord) -> str | None:
        return str(record.params[KEY]) if KEY in record.params else None

    found, objective = effects(tables, level_of, depth, {KEY}), Objective.of(tables.config)
    if found.reason:
        return Answer(
            [f"Whether encoder depth {depth} pays off is not told: {found.reason}."], None
        )
    lines = [
        f"Encoder depth {depth}, all else equal, in {objective.metric} ({objective.better}): "
        f"{in_words(found, minimized=tables.minimized)}.",
        *remarks(found),
    ]
    return Answer(lines, draw_effects(found, "encoder depth", objective))


if __name__ == "__main__":
    raise SystemExit(main())
