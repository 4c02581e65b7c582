"""`harness data inspect` and `harness data clean`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from harness import files, strict_yaml
from harness.cli.display import open_progress
from harness.cli.tables import fitted_table, folding_table, stdout_console
from harness.config import TrialConfig
from harness.data.encode import png
from harness.data.look import Overview, copies_among, look_over, refuse_bad, refuse_empty
from harness.data.sources import find_data, open_folder
from harness.data_config import StudyDataConfig
from harness.errors import ConfigError
from harness.inspection.clean import LOG, check_target, clean, written_meaning
from harness.inspection.findings import BAD, Finding
from harness.inspection.inspecting import Inspection, inspect
from harness.inspection.page import write_page
from harness.inspection.panels import Gallery, galleries
from harness.inspection.proposal import as_yaml
from harness.paths import STUDY_NAME, StudyPaths, Workspace, user_path
from harness.settings import validate
from harness.wording import count

MOST_BAD = 20
IMAGE_SIZE = "data.image_size"
STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}

Study = Annotated[
    str | None,
    typer.Option(help="Study, or study.yaml, whose data: says what values mean: --study encoders"),
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave pairs out that cannot be used, and say how many.")
]
Folder = Annotated[Path, typer.Option(help="Folder of studies and data: --workspace ..")]
MaxPixels = Annotated[
    float, typer.Option(min=1, help="Larger pictures are refused: --max-pixels 2e8")
]


def inspect_data(
    data: Annotated[str, typer.Argument(help="Folder of images and masks, or a data set's name.")],
    study: Study = None,
    skip_bad: SkipBad = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Print everything as JSON: --json > found.json")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with pictures: --html inspection.html")
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            help="Draw pairs augmented by a preset or a file of steps, into the page or --sheet: "
            "--augment medium"
        ),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="PNG for --augment: --sheet augmented.png")
    ] = None,
    max_pixels: MaxPixels = 100e6,
    workspace: Folder = Path(),
) -> None:
    """Look at every image and mask: what is wrong, what is in them, what data: should say.

    Exit code 2 where a file cannot be used or copies lie on two sides; warnings leave it 0.

    Example: harness data inspect data/polyps --html inspection.html
    """
    if augment and not (html or sheet):
        raise ConfigError("--augment: where to? add --html FILE or --sheet FILE.png")
    if sheet and not augment:
        raise ConfigError("--sheet: draws augmented pairs; add --augment medium")
    if sheet and sheet.suffix.lower() != ".png":
        raise ConfigError(f"--sheet {sheet}: must end in .png")
    html, sheet = (None if path is None else user_path(path) for path in (html, sheet))
    overview = _overview(data, study, workspace, max_pixels)
    copies = copies_among(overview.looks)
    found = inspect(overview, copies, skip_bad=skip_bad, declared=study is not None)
    drawn = _augmented(overview, augment, sheet, study, workspace)
    if html is not None:
        write_page(html, found, [*drawn, *galleries(overview, copies)])
        _say(f"page: {html}")
    if json_:
        typer.echo(json.dumps(found.as_json(), indent=1, allow_nan=False))
    else:
        _print(found)
    if skip_bad and overview.bad:
        pairs = "pair" if len(overview.bad) == 1 else "pairs"
        _say(f"{len(overview.bad)} {pairs} left out, {len(overview.looks)} used")
    if found.count("error") or not overview.looks:
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
            help="Paint suspected text over; misses much, so no anonymising: --cover-text",
        ),
    ] = False,
    keep_copies: Annotated[
        bool, typer.Option("--keep-copies", help="Keep images with equal pixels: --keep-copies")
    ] = False,
    study: Study = None,
    skip_bad: SkipBad = False,
    max_pixels: MaxPixels = 100e6,
    workspace: Folder = Path(),
) -> None:
    """Write a cleaned copy: upright, without black borders and exact copies, masks of two values.

    The original is never touched. What was done to each file is in cleaned.csv.

    Example: harness data clean data/polyps data/polyps-clean --cover-text
    """
    place = Workspace.at(workspace)
    target = user_path(target)
    check_target(find_data(source, place), target)
    overview = _overview(source, study, workspace, max_pixels)
    if not skip_bad:
        refuse_bad(overview)
    refuse_empty(overview)
    progress = open_progress()
    try:
        log = clean(
            overview,
            copies_among(overview.looks),
            target,
            cover_text=cover_text,
            keep_copies=keep_copies,
            progress=progress.bar(f"writing {target}"),
        )
    finally:
        progress.close()
    written = sum(bool(one.written) for one in log)
    _say(f"{count(written, 'pair')} written, {len(log) - written} left out; see {target / LOG}")
    typer.echo(as_yaml(written_meaning(overview.dataset.data, str(target))), nl=False)


def _overview(name: str, study: str | None, workspace: Path, max_pixels: float) -> Overview:
    place = Workspace.at(workspace)
    root = find_data(name, place)
    data = _meaning(study, name, place)
    dataset = open_folder(root, data, max_pixels=max_pixels)
    progress = open_progress()
    try:
        bar: Callable[[int, int | None], None] = progress.bar(
            f"reading {count(len(dataset.pairs), 'pair')}"
        )
        return look_over(dataset, bar, place.cache / "looks")
    finally:
        progress.close()


def _meaning(study: str | None, root: str, place: Workspace) -> StudyDataConfig:
    """The data: block of a study or file; the defaults where none is named."""
    if study is None:
        return StudyDataConfig(root=root)
    path = user_path(study)
    if STUDY_NAME.fullmatch(study) and not path.is_file():
        path = place.study(study).study_yaml
    if not path.is_file():
        raise ConfigError(f"--study {study}: neither a study in {place.studies} nor a file")
    content = strict_yaml.load(path.read_text(encoding="utf-8"), place=str(path)).value
    block = content.get("data", {}) if isinstance(content, dict) else None
    if not isinstance(block, dict):
        raise ConfigError(f"{path}: data: must be a group of settings")
    return validate(StudyDataConfig, block, f"{path}: data")


def _augmented(
    overview: Overview, name: str | None, sheet: Path | None, study: str | None, workspace: Path
) -> list[Gallery]:
    if name is None:
        return []
    from harness.data.augment import find_steps  # noqa: PLC0415  # brings albumentations
    from harness.inspection import augmented  # noqa: PLC0415  # brings albumentations

    name = str(user_path(name))
    place = Workspace.at(workspace)
    of_study = [place.study(study).augments] if study and STUDY_NAME.fullmatch(study) else []
    folder = find_steps(name, [*of_study, place.search_spaces, place.root])
    size = _image_size(place.study(study)) if of_study and study else None
    gallery = augmented.augmented(overview, name, folder, size or (augmented.SIDE,) * 2)
    if sheet is not None:
        files.write_bytes(sheet, png(augmented.sheet(gallery)))
        _say(f"sheet: {sheet}")
    return [gallery]


def _image_size(paths: StudyPaths) -> tuple[int, int] | None:
    """The height and width that a study trains at, or the first of them; None: not written."""
    for path in (paths.study_yaml, paths.space_yaml):
        if not path.is_file():
            continue
        content = strict_yaml.load(path.read_text(encoding="utf-8"), place=str(path)).value
        groups = content if isinstance(content, dict) else {}
        fixed, parameters = (groups.get(name) or {} for name in ("fixed", "parameters"))
        searched = parameters.get(IMAGE_SIZE) or {}
        sizes = [fixed.get(IMAGE_SIZE), *(searched.get("choices") or [searched.get("low")])]
        for size in sizes:
            if size is not None:
                return TrialConfig.from_flat({IMAGE_SIZE: size}, place=str(path)).data.height_width
    return None


def _print(found: Inspection) -> None:
    """Names come from files: they are escaped, never markup."""
    console = stdout_console()
    numbers = found.statistics
    console.print(
        f"{found.name}: {count(numbers.n_pairs, 'pair')}, {numbers.n_bad} unusable", markup=False
    )
    facts = []
    for share in numbers.shares:
        parts = (share.mean, share.median, share.least, share.greatest)
        shown = [f"{part:.2%}" for part in parts]
        objects = "" if share.n_objects is None else str(share.n_objects)
        facts.append((share.name, str(share.n_images), *shown, objects))
    columns = ("class", "in images", "mean", "median", "least", "greatest", "objects")
    console.print(fitted_table("", columns, facts, console.width))
    console.print(_facts(found), markup=False)
    table = folding_table("kind", "about", "what", "what to do")
    bad = [finding for finding in found.findings if finding.topic == BAD]
    for finding in [*bad[:MOST_BAD], *(one for one in found.findings if one.topic != BAD)]:
        style = STYLES[finding.severity]
        cells = (finding.topic, _with_files(finding), finding.remedy)
        table.add_row(f"[{style}]{finding.severity}[/]", *(escape(cell) for cell in cells))
    console.print(table if found.findings else "nothing to report")
    if len(bad) > MOST_BAD:
        more = count(len(bad) - MOST_BAD, "further pair")
        console.print(f"{more} cannot be used; --json names them all")
    same = found.read_as == found.proposal
    heading = "The files fit this meaning:" if found.fits else "The files suggest, for study.yaml:"
    if same and not found.fits:
        heading = "The files do not tell what they mean, and do not fit what was asked for:"
    console.print(heading)
    console.print(found.proposal, markup=False, soft_wrap=True)


def _facts(found: Inspection) -> str:
    numbers = found.statistics
    sizes = ", ".join(f"{width} x {height}: {n}" for height, width, n in numbers.sizes[:4])
    more = len(numbers.sizes) - 4
    lines = [
        f"sizes   {sizes}" + (f", and {more} more" if more > 0 else ""),
        "stored  " + ", ".join(f"{kind}: {n}" for kind, n in numbers.stored.items()),
        "masks   " + ", ".join(f"{kind}: {n}" for kind, n in numbers.mask_values.items()),
    ]
    return "\n".join(lines)


def _with_files(finding: Finding) -> str:
    if len(finding.files) < 2:
        return finding.what
    more = len(finding.files) - 2
    return f"{finding.what}: {', '.join(finding.files[:2])}" + (f", {more} more" if more else "")


def _say(text: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)
