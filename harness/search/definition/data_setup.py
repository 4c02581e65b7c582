"""Images of a study before trial 0: scan, split and decode them."""

import shlex
from collections.abc import Iterator, Sequence
from itertools import islice, product
from math import prod
from pathlib import Path
from typing import Any

from harness.config.data import MIN_RANKING_IMAGES
from harness.config.progress import ProgressReporter
from harness.config.study import StudyConfig
from harness.core.paths import StudyPaths, Workspace
from harness.core.text import count, is_or_are
from harness.data.datasets.sources import open_dataset, open_source
from harness.data.files.resize import Fit
from harness.data.loading.cache_entries import is_decoded
from harness.data.loading.image_cache import Progress as Bar
from harness.data.loading.image_cache import estimate_cache_bytes, open_cache
from harness.data.scan.scan import (
    PairStats,
    check_no_bad_pairs,
    check_not_empty,
    duplicates_among,
    scan_dataset,
)
from harness.data.scan.scan_cache import SCAN_CACHE_FOLDER
from harness.data.splits.splits import SplitRow, make_split, read_split, verify_split
from harness.data.windows.native_store import open_store
from harness.inspection.findings import collect_findings
from harness.search.definition.component_checks import draws_tiles, possible_values
from harness.search.definition.definition import StudyDefinition

MAX_CACHES = 4  # sizes decoded before trial 0; the others are decoded when a trial needs them


def fill_caches(
    definition: StudyDefinition,
    workspace: Workspace,
    root: Path,
    split: Sequence[SplitRow],
    progress: ProgressReporter,
) -> None:
    """Decode the images once per size before trial 0, with a progress bar.

    A worker would otherwise decode them within its first trial, where no bar shows it.
    """
    config = definition.config
    for size, fit in islice(_cache_kinds(definition), MAX_CACHES):
        pair = (size, size) if isinstance(size, int) else tuple(size)
        text = f"decoding {_decoded_images(split, fit)} to {pair[0]} x {pair[1]} pixels"

        # `text` is bound as a default: the closure would otherwise see the last size of the loop.
        def start_bar(n_bytes: int, text: str = text) -> Bar:
            return progress.bar(f"{text} ({n_bytes / 1e6:,.0f} MB)")

        open_cache(
            open_source(root),
            split,
            config.data,
            size=pair,
            fit=fit,
            folder=workspace.cache,
            max_pixels=config.limits.max_pixels,
            on_build_start=start_bar,
        )
    has_tiles = draws_tiles(definition)
    if has_tiles or config.data.metrics_at == "native":
        open_store(
            open_source(root),
            split,
            config.data,
            folder=workspace.cache,
            max_pixels=config.limits.max_pixels,
            on_build_start=lambda n_bytes: progress.bar(
                _store_text(definition, root, split, n_bytes, has_tiles=has_tiles)
            ),
        )


def _decoded_images(split: Sequence[SplitRow], fit: Fit) -> str:
    """Number and kind of the images of a cache."""
    # Test images stay closed: a cache of them would open every file before any test is recorded.
    n_images = sum(row.role != "test" and is_decoded(row, fit) for row in split)
    return count(n_images, "validation image" if fit == "shrink" else "image")


def _store_text(
    definition: StudyDefinition,
    root: Path,
    split: Sequence[SplitRow],
    n_bytes: int,
    *,
    has_tiles: bool,
) -> str:
    """Size of the store of images at their own sizes, and of what needs less."""
    config = definition.config
    n_images = sum(row.role != "test" for row in split)
    text = f"storing {count(n_images, 'image')} at their own sizes (about {n_bytes / 1e6:,.0f} MB"
    if not has_tiles:
        return f"{text})"
    sizes = [
        (size, size) if isinstance(size, int) else tuple(size)
        for size in possible_values(definition, "data.image_size")
    ]
    height, width = max(sizes, key=prod)
    whole_bytes = estimate_cache_bytes(
        open_source(root),
        split,
        config.data,
        size=(height, width),
        fit="stretch",
        max_pixels=config.limits.max_pixels,
    )
    if whole_bytes >= n_bytes:
        return f"{text})"
    return (
        f"{text}; whole images of {height} x {width} pixels, without data.tile, need about "
        f"{whole_bytes / 1e6:,.0f} MB)"
    )


def _cache_kinds(definition: StudyDefinition) -> Iterator[tuple[Any, Fit]]:
    """Sizes and fits of whole images, then of validation images that are used in tiles.

    Trials on tiles draw the latter as overlays; where tiles hold every image, they are scored.
    """
    tiles = possible_values(definition, "data.tile.size")
    if None in tiles:
        yield from product(
            possible_values(definition, "data.image_size"), possible_values(definition, "data.fit")
        )
    yield from ((size, "shrink") for size in tiles if size is not None)


def load_or_make_split(
    workspace: Workspace,
    paths: StudyPaths,
    definition: StudyDefinition,
    source: Path,
    progress: ProgressReporter,
    *,
    skip_bad: bool,
) -> list[SplitRow]:
    """Read the recorded split and check it against the files, or scan the files and make a split.

    Raises:
        DataError: a recorded image is missing or has changed, or a pair cannot be used.
    """
    if definition.is_started:
        split = read_split(paths.split_csv)
        verify_split(split, open_source(source))
        return split
    dataset = open_dataset(
        source, definition.config.data, max_pixels=definition.config.limits.max_pixels
    )
    on_progress = progress.bar(f"reading {count(len(dataset.pairs), 'pair')} of {source}")
    overview = scan_dataset(dataset, on_progress, workspace.cache / SCAN_CACHE_FOLDER)
    if not skip_bad:
        check_no_bad_pairs(overview)
    check_not_empty(overview)
    if overview.bad_pairs:
        progress.stage(
            f"{len(overview.bad_pairs)} of {count(len(dataset.pairs), 'pair')} "
            f"{is_or_are(len(overview.bad_pairs))} left out (--skip-bad)"
        )
    # Searched once, for the warnings and the split: all thumbnails are compared with each other.
    copies = duplicates_among(overview.pair_stats)
    findings = collect_findings(overview, copies, skip_bad=True)
    warnings = [finding for finding in findings if finding.severity == "warning"]
    if warnings:
        kinds = ", ".join(sorted({finding.topic for finding in warnings}))
        progress.stage(
            f"warnings about the data ({kinds}); list them with: "
            f"harness data inspect {shlex.quote(str(source))}"
        )
    split = make_split(overview.dataset, overview.pair_stats, definition.config.split, copies)
    if (note := too_few_images_warning(split, overview.pair_stats, definition.config)) is not None:
        progress.stage(f"warning: {note}")
    return split


def split_line(split: Sequence[SplitRow]) -> str:
    """Number of images of each role."""
    n_by_role = {role: sum(row.role == role for row in split) for role in ("train", "val", "test")}
    return f"split {', '.join(f'{n} {role}' for role, n in n_by_role.items())} images"


def too_few_images_warning(
    split: Sequence[SplitRow], pair_stats: Sequence[PairStats], config: StudyConfig
) -> str | None:
    """Warn if the validation images are too few to rank trials; None if there are enough.

    Only images with foreground count, as the metrics leave out the others.
    """
    shares = _validation_shares(split, pair_stats)
    n = sum(any(image[c] > 0 for c in config.data.scored_classes) for image in shares)
    if n >= MIN_RANKING_IMAGES:
        return None
    images = count(n, "validation image")
    if n < len(shares):
        images = f"{n} of {len(shares)} validation images"
    verb = "contains" if n == 1 else "contain"
    remedy = "add images"
    if config.split.folds is None:
        remedy += ", or start a study with `split: {folds: 5}` in its studies/NAME/study.yaml"
    return (
        f"{images} {verb} foreground; with fewer than {MIN_RANKING_IMAGES} the ranking of trials "
        f"depends mostly on which images these are. To rank trials, {remedy}; "
        "harness confirm --folds 5 then compares the best ones on every image of train and val"
    )


def _validation_shares(
    split: Sequence[SplitRow], pair_stats: Sequence[PairStats]
) -> list[tuple[float, ...]]:
    """Class shares of each validation image that was scanned."""
    # By content: a split holds hashes, and the images may have been moved since the scan.
    shares = {(stats.image_sha256, stats.mask_sha256): stats.shares for stats in pair_stats}
    hashes = [(row.image_sha256, row.mask_sha256) for row in split if row.role == "val"]
    return [shares[key] for key in hashes if key in shares]
