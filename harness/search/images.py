"""The images of a study before trial 0: looked at, divided, decoded."""

from collections.abc import Sequence
from itertools import islice, product
from pathlib import Path

from harness.config import StudyConfig
from harness.data.cache import Progress as Bar
from harness.data.cache import open_cache
from harness.data.look import Look, copies_among, look_over, refuse_bad, refuse_empty
from harness.data.sources import open_folder, source_folder
from harness.data.splits import SplitRow, make_split, read_split, verify_split
from harness.data_config import MIN_RANKING_IMAGES
from harness.inspection.findings import find
from harness.paths import StudyPaths, Workspace
from harness.search.checks import values_of
from harness.search.definition import Definition
from harness.search.progress import Progress
from harness.wording import be, count, have

LOOKS = "looks"  # folder below the cache
MOST_CACHES = 4  # sizes decoded before trial 0; further ones are decoded when a trial needs them


def fill_caches(
    definition: Definition,
    workspace: Workspace,
    root: Path,
    split: Sequence[SplitRow],
    progress: Progress,
) -> None:
    """Decode the images once per size before trial 0, where everybody can see it."""
    config = definition.config
    n_images = sum(row.role != "test" for row in split)
    sizes = values_of(definition, "data.image_size")
    fits = values_of(definition, "data.fit")
    for size, fit in islice(product(sizes, fits), MOST_CACHES):
        pair = (size, size) if isinstance(size, int) else tuple(size)

        def starts(n_bytes: int, pair: tuple[int, ...] = pair) -> Bar:
            return progress.bar(
                f"decoding {count(n_images, 'image')} to {pair[0]} x {pair[1]} pixels "
                f"({n_bytes / 1e6:,.0f} MB)"
            )

        open_cache(
            root,
            split,
            config.data,
            size=pair,
            fit=fit,
            folder=workspace.cache,
            max_pixels=config.limits.max_pixels,
            starts=starts,
        )


def take_split(
    workspace: Workspace,
    paths: StudyPaths,
    definition: Definition,
    source: Path,
    progress: Progress,
    *,
    skip_bad: bool,
) -> list[SplitRow]:
    """The recorded split, checked against the files; else a new one of files all looked at."""
    if definition.begun:
        split = read_split(paths.split_csv)
        verify_split(split, source_folder(source))
        return split
    dataset = open_folder(
        source, definition.config.data, max_pixels=definition.config.limits.max_pixels
    )
    reading = progress.bar(f"reading {count(len(dataset.pairs), 'pair')} of {source}")
    overview = look_over(dataset, reading, workspace.cache / LOOKS)
    if not skip_bad:
        refuse_bad(overview)
    refuse_empty(overview)
    if overview.bad:
        progress.stage(
            f"{len(overview.bad)} of {count(len(dataset.pairs), 'pair')} "
            f"{be(len(overview.bad))} left out (--skip-bad)"
        )
    copies = copies_among(overview.looks)
    findings = find(overview, copies, skip_bad=True)
    warnings = [finding for finding in findings if finding.severity == "warning"]
    if warnings:
        kinds = ", ".join(sorted({finding.topic for finding in warnings}))
        progress.stage(f"warnings about the data ({kinds}): harness data inspect {source}")
    split = make_split(overview.dataset, overview.looks, definition.config.split, copies)
    if (note := few_to_rank(split, overview.looks, definition.config)) is not None:
        progress.stage(f"warning: {note}")
    return split


def few_to_rank(
    split: Sequence[SplitRow], looks: Sequence[Look], config: StudyConfig
) -> str | None:
    """A warning where the validation images are too few to rank trials; None: there are enough.

    Args:
        looks: of the images of the split; those with nothing to find stay out of the metrics.
    """
    shares = {(look.image_sha256, look.mask_sha256): look.shares for look in looks}
    validated = [
        shares[row.image_sha256, row.mask_sha256]
        for row in split
        if row.role == "val" and (row.image_sha256, row.mask_sha256) in shares
    ]
    n = sum(any(one[c] > 0 for c in config.data.scored_classes) for one in validated)
    if n >= MIN_RANKING_IMAGES:
        return None
    images = f"{count(n, 'validation image')} {have(n)}"
    if n < len(validated):
        images = f"{n} of {len(validated)} validation images {have(n)}"
    remedy = "add images"
    if config.split.folds is None:
        remedy += ", or begin a study with `split: {folds: 5}` in its studies/NAME/study.yaml"
    return (
        f"{images} something to find; below {MIN_RANKING_IMAGES} the order of the trials is mostly "
        f"the chance of the images. To rank them, {remedy}; harness confirm --folds 5 then "
        "compares the best on every image of train and val"
    )
