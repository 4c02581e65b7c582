"""Best metrics at the training sizes of a space, measured before trial 0 and kept in the study."""

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Final

from harness.config.progress import ProgressReporter
from harness.core.paths import StudyPaths
from harness.data.datasets.sources import open_source
from harness.data.scan.size_ceiling import (
    CeilingTable,
    TrainingSize,
    measure_file_ceilings,
    read_ceilings,
    write_ceilings,
)
from harness.data.splits.splits import SplitRow
from harness.inspection.ceiling_text import loss_sentence
from harness.search.definition.component_checks import draws_tiles, possible_values
from harness.search.definition.definition import StudyDefinition
from harness.space.space import IntRange

_MAX_SIZES: Final = 8  # of a range of image_size; they are spread evenly, with both ends


def training_sizes(definition: StudyDefinition) -> list[TrainingSize]:
    """Every size and fit that a trial of whole images can have; of a long range of sizes eight."""
    if None not in possible_values(definition, "data.tile.size"):
        return []  # every trial sees images at their own resolution
    fits = possible_values(definition, "data.fit")
    return [
        ((size, size) if isinstance(size, int) else (size[0], size[1]), fit)
        for size, fit in product(_possible_sizes(definition), fits)
    ]


def _possible_sizes(definition: StudyDefinition) -> Sequence[int | Sequence[int]]:
    for parameter in definition.space.parameters:
        if parameter.key == "data.image_size" and isinstance(parameter, IntRange):
            values = range(parameter.low, parameter.high + 1, parameter.step)
            n = min(len(values), _MAX_SIZES)
            return [values[round(k * (len(values) - 1) / max(n - 1, 1))] for k in range(n)]
    return possible_values(definition, "data.image_size")


def measure_split_ceilings(
    definition: StudyDefinition, split: Iterable[SplitRow], data_root: Path
) -> CeilingTable:
    """Measure on the masks of train and val; test masks are not opened.

    Raises:
        DataError: a mask of the sample cannot be read.
    """
    config = definition.config
    table = measure_file_ceilings(
        open_source(data_root),
        [(row.image, row.masks) for row in split if row.role != "test"],
        training_sizes(definition),
        config.data,
        config.limits.max_pixels,
    )
    return table.model_copy(update={"has_tiles": draws_tiles(definition)})


def record_ceilings(
    paths: StudyPaths,
    definition: StudyDefinition,
    split: Iterable[SplitRow],
    data_root: Path,
    progress: ProgressReporter,
) -> None:
    """Write the ceilings of a study unless it has them, and warn if the best size costs a point.

    Raises:
        DataError: as `measure_split_ceilings`.
    """
    table = read_ceilings(paths.ceilings_json)
    expected = training_sizes(definition), draws_tiles(definition)
    if table is None or (_measured_sizes(table), table.has_tiles) != expected:
        table = measure_split_ceilings(definition, split, data_root)
        write_ceilings(paths.ceilings_json, table)
    if (sentence := loss_sentence(table)) is not None:
        progress.stage(f"warning: {sentence}")


def _measured_sizes(table: CeilingTable) -> list[TrainingSize]:
    return [((ceiling.height, ceiling.width), ceiling.fit) for ceiling in table.ceilings]
