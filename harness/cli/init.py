"""Command `harness init`: write a first search space and study.yaml for a data set."""

import re
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.arguments import same_workspace
from harness.cli.display import open_progress
from harness.cli.options import SEARCH, SkipBadOption, WorkspaceOption, option
from harness.config.data import StudyDataConfig
from harness.core import files
from harness.core.errors import ConfigError
from harness.core.paths import Workspace, check_study_name
from harness.core.text import count
from harness.data.datasets.sources import find_data, open_dataset
from harness.data.scan.scan import check_no_bad_pairs, check_not_empty, scan_dataset
from harness.inspection.proposal import propose_data_config
from harness.inspection.starter import starter_files

_MAX_NAME = 64


def init(
    data: Annotated[str, typer.Argument(help="Folder of images and masks, or a data set's name.")],
    study: Annotated[
        str | None,
        option(
            "Name of the study and of its space.",
            example="--study stones",
            panel=SEARCH,
            default="the name of the folder",
            metavar="NAME",
        ),
    ] = None,
    skip_bad: SkipBadOption = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Look at a folder of images and masks, and write a commented space and study.yaml for it.

    Files that exist are never overwritten.

    Example: harness init data/polyps
    """
    workspace_paths = Workspace.at(workspace)
    root = find_data(data, workspace_paths)
    name = check_study_name(study or _name_from(root))
    study_yaml = workspace_paths.study(name).study_yaml
    space_yaml = workspace_paths.search_spaces / f"{name}.yaml"
    # Before the scan, which takes minutes for a large data set.
    for path in (study_yaml, space_yaml):
        if path.exists():
            raise ConfigError(f"{path}: exists already; use it, or choose another --study NAME")
    dataset = open_dataset(root, StudyDataConfig(root=_recorded_root(data, root)), max_pixels=100e6)
    with closing(open_progress()) as progress:
        bar = progress.bar(f"reading {count(len(dataset.pairs), 'pair')}")
        scan = scan_dataset(dataset, bar, workspace_paths.cache / "looks")
    proposed = propose_data_config(scan)
    if proposed != scan.dataset.data:
        # Masks that the defaults cannot read are unusable only until the proposal is used.
        dataset = open_dataset(root, proposed, max_pixels=100e6)
        scan = scan_dataset(dataset, None, workspace_paths.cache / "looks")
    if not skip_bad:
        check_no_bad_pairs(scan)
    check_not_empty(scan)
    written = starter_files(name, scan, proposed)
    files.write_text(space_yaml, written.space_yaml)
    files.write_text(study_yaml, written.study_yaml)
    classes = ", ".join(proposed.classes)
    typer.echo(f"{count(len(scan.pair_stats), 'pair')}, {proposed.task}: {classes}")
    typer.echo(f"space: {space_yaml}\nstudy: {study_yaml}")
    here = same_workspace(workspace)
    skip = " --skip-bad" if scan.bad_pairs else ""
    typer.echo(f"next: harness check --space {name}.yaml --study {name}{skip}{here}")


def _name_from(root: Path) -> str:
    """Name of a study for a folder: its name without the characters that a study may not have."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", root.stem if root.is_file() else root.name)
    return name.strip("._-")[:_MAX_NAME] or "study"


def _recorded_root(data: str, root: Path) -> str:
    """Location as study.yaml records it: a name stays a name, a path becomes absolute."""
    is_path = Path(data).expanduser().exists()
    return str(root.resolve()) if is_path else data
