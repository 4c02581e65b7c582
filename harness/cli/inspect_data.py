"""Commands `harness data inspect` and `harness data clean`."""

import json
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from harness.cli.display import open_progress
from harness.cli.inspected_study import (
    has_tiles,
    image_size,
    load_data_config,
    study_paths,
    training_sizes,
)
from harness.cli.options import WorkspaceOption
from harness.cli.tables import fit_table, make_folding_table, print_ceilings, stdout_console
from harness.core import files
from harness.core.errors import ConfigError
from harness.core.paths import Workspace, expand_user_path
from harness.core.text import count
from harness.data.datasets.pairs import sample_pairs
from harness.data.datasets.sources import find_data, open_dataset
from harness.data.files.encode import encode_png
from harness.data.scan.scan import (
    DatasetScan,
    check_no_bad_pairs,
    check_not_empty,
    duplicates_among,
    scan_dataset,
)
from harness.data.scan.size_ceiling import measure_scan_ceilings
from harness.inspection.clean import LOG_NAME, check_target, clean_dataset, cleaned_data_config
from harness.inspection.findings import BAD_TOPIC, Finding
from harness.inspection.panels import InspectionGallery, build_galleries, outline_legend
from harness.inspection.proposal import as_yaml
from harness.inspection.report import (
    InspectionReport,
    inspect_dataset,
    with_ceilings,
    write_inspection_page,
)
from harness.inspection.sealed_images import SealedImages, describe_sealed, find_sealed_images

MAX_BAD_PRINTED = 20
STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}

StudyOption = Annotated[
    str | None,
    typer.Option(help="Use the data: block of this study or study.yaml. Example: --study encoders"),
]
SkipBadOption = Annotated[
    bool,
    typer.Option("--skip-bad", help="Leave out pairs that cannot be used, and print their number."),
]
MaxPixelsOption = Annotated[
    float, typer.Option(min=1, help="Refuse larger images. Example: --max-pixels 2e8")
]


def inspect_data(
    data: Annotated[str, typer.Argument(help="Folder of images and masks, or a data set's name.")],
    study: StudyOption = None,
    skip_bad: SkipBadOption = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Print everything as JSON. Example: --json > found.json")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with images. Example: --html inspection.html")
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            help="Draw pairs augmented by a preset or a file of steps, into the page or --sheet. "
            "Example: --augment medium"
        ),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="PNG file for --augment. Example: --sheet augmented.png")
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            min=1, help="Read this many random pairs only, for a first look. Example: --sample 500"
        ),
    ] = None,
    max_pixels: MaxPixelsOption = 100e6,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Scan every image and mask: report errors and statistics, and propose a data: block.

    Exit code 2 if a file cannot be used or copies are in two roles; warnings do not change it.

    Example: harness data inspect data/polyps --html inspection.html
    """
    if augment and not (html or sheet):
        raise ConfigError("--augment: needs an output; add --html FILE or --sheet FILE.png")
    if sheet and not augment:
        raise ConfigError("--sheet: needs an augmentation to draw; add --augment medium")
    if sheet and sheet.suffix.lower() != ".png":
        raise ConfigError(f"--sheet {sheet}: must end in .png")
    html, sheet = (None if path is None else expand_user_path(path) for path in (html, sheet))
    overview = _scan_overview(data, study, workspace, max_pixels, sample)
    copies = duplicates_among(overview.pair_stats)
    inspection = inspect_dataset(overview, copies, skip_bad=skip_bad, declared=study is not None)
    if overview.pair_stats:
        paths = study_paths(study, Workspace.at(workspace))
        ceilings = measure_scan_ceilings(overview, training_sizes(paths))
        ceilings = ceilings.model_copy(update={"has_tiles": has_tiles(paths)})
        inspection = with_ceilings(inspection, ceilings)
    # Only pictures need the splits: a damaged one must not stop an inspection without any.
    sealed = find_sealed_images(Workspace.at(workspace)) if html or augment else {}
    augment_galleries = _augment_galleries(overview, augment, sheet, study, workspace, sealed)
    if html is not None:
        write_inspection_page(
            html,
            inspection,
            [*augment_galleries, *build_galleries(overview, copies, sealed)],
            legend=outline_legend(overview.dataset.data),
            sealed_text=describe_sealed(overview, sealed),
        )
        _print_status(f"page: {html}")
    if json_:
        typer.echo(json.dumps(inspection.as_json(), indent=1, allow_nan=False))
    else:
        _print_inspection(inspection)
    if skip_bad and overview.bad_pairs:
        pairs = "pair" if len(overview.bad_pairs) == 1 else "pairs"
        _print_status(
            f"{len(overview.bad_pairs)} {pairs} left out, {len(overview.pair_stats)} used"
        )
    if inspection.count("error") or not overview.pair_stats:
        raise typer.Exit(2)


def clean_data(
    source: Annotated[
        str, typer.Argument(help="Folder of images and masks, or a data set's name.")
    ],
    target: Annotated[Path, typer.Argument(help="New folder for the cleaned copy.")],
    cover_text: Annotated[
        bool,
        typer.Option(
            "--cover-text",
            help="Paint over suspected text; it misses much and does not anonymise.",
        ),
    ] = False,
    keep_copies: Annotated[
        bool, typer.Option("--keep-copies", help="Keep images with equal pixels.")
    ] = False,
    study: StudyOption = None,
    skip_bad: SkipBadOption = False,
    max_pixels: MaxPixelsOption = 100e6,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Write a cleaned copy: upright, without black borders and exact copies, masks of two values.

    The original is never changed. cleaned.csv lists the changes to each file.

    Example: harness data clean data/polyps data/polyps-clean --cover-text
    """
    workspace_paths = Workspace.at(workspace)
    target = expand_user_path(target)
    # Before the scan, which takes minutes for a large data set.
    check_target(find_data(source, workspace_paths), target)
    overview = _scan_overview(source, study, workspace, max_pixels)
    if not skip_bad:
        check_no_bad_pairs(overview)
    check_not_empty(overview)
    with closing(open_progress()) as progress:
        log = clean_dataset(
            overview,
            duplicates_among(overview.pair_stats),
            target,
            cover_text=cover_text,
            keep_copies=keep_copies,
            progress=progress.bar(f"writing {target}"),
        )
    n_written = sum(bool(entry.written_paths) for entry in log)
    _print_status(
        f"{count(n_written, 'pair')} written, {len(log) - n_written} left out; see "
        f"{target / LOG_NAME}"
    )
    typer.echo(as_yaml(cleaned_data_config(overview.dataset.data, str(target))), nl=False)


def _scan_overview(
    name: str, study: str | None, workspace: Path, max_pixels: float, sample: int | None = None
) -> DatasetScan:
    workspace_paths = Workspace.at(workspace)
    root = find_data(name, workspace_paths)
    data = load_data_config(study, name, workspace_paths)
    dataset = open_dataset(root, data, max_pixels=max_pixels)
    if sample is not None:
        dataset = sample_pairs(dataset, sample)
    with closing(open_progress()) as progress:
        bar = progress.bar(f"reading {count(len(dataset.pairs), 'pair')}")
        return scan_dataset(dataset, bar, workspace_paths.cache / "looks")


def _augment_galleries(
    overview: DatasetScan,
    name: str | None,
    sheet: Path | None,
    study: str | None,
    workspace: Path,
    sealed: SealedImages,
) -> list[InspectionGallery]:
    if name is None:
        return []
    from harness.data.loading.augment import find_steps_folder  # noqa: PLC0415  # imports albumentations
    from harness.inspection import augment_sheet  # noqa: PLC0415  # imports albumentations

    name = str(expand_user_path(name))
    workspace_paths = Workspace.at(workspace)
    paths = study_paths(study, workspace_paths)
    folders = [workspace_paths.search_spaces, workspace_paths.root]
    folder = find_steps_folder(name, [*([paths.augments] if paths else []), *folders])
    size = image_size(paths) if paths else None
    gallery = augment_sheet.augmentation_gallery(
        overview, name, folder, size or (augment_sheet.SIDE,) * 2, sealed
    )
    if sheet is not None:
        files.write_bytes(sheet, encode_png(augment_sheet.gallery_sheet(gallery)))
        _print_status(f"sheet: {sheet}")
    return [gallery]


def _print_inspection(inspection: InspectionReport) -> None:
    """Print the report. Names come from files, so they are escaped: `[red]` is not markup."""
    console = stdout_console()
    statistics = inspection.statistics
    console.print(
        f"{inspection.name}: {count(statistics.n_pairs, 'pair')}, {statistics.n_bad} unusable"
        f"{inspection.sample_text}",
        markup=False,
    )
    facts = []
    for share in statistics.shares:
        ratios = (share.mean, share.median, share.least, share.greatest)
        percentages = [f"{part:.2%}" for part in ratios]
        objects = "" if share.n_objects is None else str(share.n_objects)
        facts.append((share.name, str(share.n_images), *percentages, objects))
    columns = ("class", "in images", "mean", "median", "least", "greatest", "objects")
    console.print(fit_table("", columns, facts, console.width))
    console.print(_facts_text(inspection), markup=False)
    if inspection.ceilings is not None:
        print_ceilings(inspection.ceilings, console)
    table = make_folding_table("severity", "topic", "finding", "remedy")
    # Unusable files come first: they are the reason of exit code 2.
    bad = [finding for finding in inspection.findings if finding.topic == BAD_TOPIC]
    for finding in [
        *bad[:MAX_BAD_PRINTED],
        *(
            other_finding
            for other_finding in inspection.findings
            if other_finding.topic != BAD_TOPIC
        ),
    ]:
        style = STYLES[finding.severity]
        cells = (finding.topic, _with_files(finding), finding.remedy)
        table.add_row(f"[{style}]{finding.severity}[/]", *(escape(cell) for cell in cells))
    console.print(table if inspection.findings else "no findings")
    if len(bad) > MAX_BAD_PRINTED:
        more = count(len(bad) - MAX_BAD_PRINTED, "further pair")
        console.print(f"{more} cannot be used; --json lists them all")
    is_unchanged = inspection.read_as == inspection.proposal
    heading = "The files fit these settings:" if inspection.fits else "Suggested for study.yaml:"
    if is_unchanged and not inspection.fits:
        heading = "The files do not fit these settings, and suggest no others:"
    console.print(heading)
    console.print(inspection.proposal, markup=False, soft_wrap=True)


def _facts_text(inspection: InspectionReport) -> str:
    statistics = inspection.statistics
    sizes = ", ".join(f"{width} x {height}: {n}" for height, width, n in statistics.sizes[:4])
    lines = [
        f"sizes   {sizes}"
        + (f", and {len(statistics.sizes) - 4} more" if len(statistics.sizes) > 4 else ""),
        "stored  " + ", ".join(f"{kind}: {n}" for kind, n in statistics.stored.items()),
        "masks   " + ", ".join(f"{kind}: {n}" for kind, n in statistics.mask_values.items()),
    ]
    return "\n".join(lines)


def _with_files(finding: Finding) -> str:
    if len(finding.files) < 2:
        return finding.what
    more = len(finding.files) - 2
    return f"{finding.what}: {', '.join(finding.files[:2])}" + (f", {more} more" if more else "")


def _print_status(text: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)
