"""Size at which a new study computes its metrics, if its space draws tiles."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.data.datasets.sources import open_source
from harness.data.files.decode import load_image_file
from harness.data.files.large_image import open_large_image
from harness.data.files.source import DataSource
from harness.data.splits.splits import SplitRow
from harness.search.definition.component_checks import possible_values
from harness.search.definition.definition import StudyDefinition


def resolve_metrics_size(
    definition: StudyDefinition, root: Path, split: Sequence[SplitRow]
) -> StudyDefinition:
    """Set `data.metrics_at` to native if any trial may use tiles that are smaller than an image.

    All trials of a study are scored at the same size, also those that use whole images: otherwise
    their values could not be compared. A started study, and a value that is set, stay.

    Args:
        root: folder of the images; those of role test are not opened.

    Raises:
        DataError: an image cannot be read.
    """
    data = definition.config.data
    if definition.is_started or data.metrics_at is not None:
        return definition
    sizes = [size for size in possible_values(definition, "data.tile.size") if size is not None]
    if not sizes:
        return definition
    scales = possible_values(definition, "data.tile.scale")
    source, max_pixels = open_source(root), definition.config.limits.max_pixels
    sides = (_longer_side(source, row, max_pixels) for row in split if row.role != "test")
    if min(scales) == 1 and all(side <= min(sizes) for side in sides):
        return definition
    config = definition.config.model_copy(
        update={"data": data.model_copy(update={"metrics_at": "native"})}
    )
    return replace(definition, config=config)


def _longer_side(source: DataSource, row: SplitRow, max_pixels: float) -> int:
    with open_large_image(source, row.image, max_pixels) as large:
        if large is not None:
            return max(large.header.height, large.header.width)
    header = load_image_file(source, row.image, max_pixels).header
    return max(header.height, header.width)
