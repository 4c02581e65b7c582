"""Table of a model card on the objects that were found and missed, by their size."""

from collections.abc import Sequence

from harness.core.text import count
from harness.deploy.card.card_facts import CardFacts
from harness.deploy.card.markdown import table
from harness.evaluation.held_out.object_scores import (
    SizeClassCounts,
    sum_object_columns,
    sum_size_classes,
)
from harness.evaluation.held_out.recorded_objects import read_native_objects
from harness.training.metrics.image_scores import ImageScores

_TITLES = ("objects", "number", "found", "recall", "predicted", "correct", "precision")
_MEANING = (
    "the size is the side of the square with the area of an object, and a pair matches at an IoU "
    "above 0.5"
)


def held_out_objects_table(scores: ImageScores | None) -> str:
    """Objects of a test run, decided by its rule; "" if it has none or did not count them."""
    counts = [] if scores is None else sum_object_columns(scores.extra_columns)
    return _objects_table(f"Objects by size; {_MEANING}", counts)


def validation_objects_table(facts: CardFacts) -> str:
    """Objects of the validation images; "" if `harness confirm` did not measure these networks.

    Raises:
        DataError: a file of scores is damaged.
    """
    tables = read_native_objects(network.weights.paths for network in facts.networks)
    runs = "" if len(tables) == 1 else f", sum of {count(len(tables), 'network')}"
    title = f"Objects by size at native size, decided at 0.5 or by argmax{runs}; {_MEANING}"
    return _objects_table(title, sum_size_classes(tables))


def _objects_table(title: str, counts: Sequence[SizeClassCounts]) -> str:
    rows = [
        (
            row.name,
            str(row.n_true),
            str(row.n_found),
            _share_text(row.recall),
            str(row.n_predicted),
            str(row.n_correct),
            _share_text(row.precision),
        )
        for row in counts
    ]
    return f"{title}:\n\n{table(_TITLES, rows)}" if rows else ""


def _share_text(share: float | None) -> str:
    return "–" if share is None else f"{share:.4f}"
