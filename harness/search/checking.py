"""Everything that can be known before training, gathered and not written: `harness check`."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.config import asked_objective
from harness.data.look import copies_among, look_over, refuse_empty
from harness.data.sources import find_data, open_folder, source_folder
from harness.data.splits import make_split, read_split, verify_split
from harness.errors import UserError
from harness.inspection.inspecting import Inspection, inspect
from harness.models.weights import check_reachable
from harness.parts_files import load_packages
from harness.paths import StudyPaths
from harness.preflight.verdicts import Entry, Table, check_table
from harness.preflight.weights import EncoderWeights, weights_of
from harness.search.checks import (
    check_augments,
    check_losses,
    check_networks,
    late,
    legal_names,
    wanted_weights,
)
from harness.search.definition import Definition, settle
from harness.search.earlier import check_begun_or_written
from harness.search.images import LOOKS, few_to_rank
from harness.search.launch import Request, space_of
from harness.search.parts import as_asked, take_parts
from harness.search.progress import Progress
from harness.wording import count


@dataclass(frozen=True)
class Checked:
    """What a study would meet.

    Attributes:
        name: of the space or the study.
        table: every network, or a sample.
        weights: of every encoder that a possible network begins with.
        data: what inspecting the data found; None: it was not looked at.
        notes: what was left out.
        problems: what `harness run` would refuse, one line each.
    """

    name: str
    table: Table
    weights: tuple[EncoderWeights, ...]
    data: Inspection | None
    notes: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether a study could begin."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return {
            "format": 1,
            "name": self.name,
            "good": self.good,
            "problems": list(self.problems),
            "notes": list(self.notes),
            "whole": self.table.whole,
            "networks": [_entry(entry) for entry in self.table.entries],
            "weights": [asdict(one) for one in self.weights],
            "data": None if self.data is None else self.data.as_json(),
        }


def check(request: Request, progress: Progress) -> Checked:
    """Check the space, every network in it, its weights, losses, augmentation, and the data.

    Nothing is fetched, and nothing written but caches and the images of `synthetic`.

    Raises:
        ConfigError: the space or the settings cannot be read at all; every mistake in them.
    """
    definition, paths = _settled(request, progress)
    gathered = _Gathered([], [])
    gathered.add(lambda: check_losses(definition))
    gathered.add(lambda: check_augments(definition, request.workspace, paths))
    data, n_train = _data(request, definition, paths, gathered, progress)
    table = check_networks(definition, n_train, late(progress))
    gathered.add(lambda: check_table(table))
    gathered.add(lambda: check_reachable(wanted_weights(table)))
    if not table.whole:
        gathered.notes.append(
            f"{count(len(table.entries), 'network')} were drawn from more than that"
        )
    return Checked(
        request.study or _name(space_of(request)),
        table,
        tuple(weights_of(table.pretrained)),
        data,
        tuple(gathered.notes),
        tuple(gathered.problems),
    )


@dataclass
class _Gathered:
    problems: list[str]
    notes: list[str]

    def add(self, test: Callable[[], Any]) -> Any:
        """What a test gives; None after noting what it raised."""
        try:
            return test()
        except UserError as error:
            self.problems += str(error).splitlines()
            return None


def _name(space: Path | Mapping[str, Any] | None) -> str:
    return space.stem if isinstance(space, Path) else "space"


def _settled(request: Request, progress: Progress) -> tuple[Definition, StudyPaths]:
    space = space_of(request)
    if request.study is not None:
        paths = request.workspace.study(request.study)
        if space is None:
            check_begun_or_written(paths)
    else:  # a study of the space's own name may have begun with another space; none begins with .
        paths = StudyPaths(request.workspace.studies / f".{_name(space)}")
    for problem in load_packages():
        progress.stage(problem)
    parts = take_parts(paths, request.parts)
    definition = settle(
        paths,
        space=space,
        asked=dict(request.asked) | as_asked(parts) | asked_objective(request.objective),
        fixed=request.fixed,
        legal=legal_names(),
        label=request.label,
        ignore=request.ignore,
    )
    return definition, paths


def _data(
    request: Request,
    definition: Definition,
    paths: StudyPaths,
    gathered: _Gathered,
    progress: Progress,
) -> tuple[Inspection | None, int | None]:
    """What the data is like, and how many images would be trained on."""
    config = definition.config
    wanted = "data.root" in request.asked or paths.study_yaml.exists()
    try:
        source = find_data(config.data.root, request.workspace)
    except UserError as error:
        if wanted:
            gathered.problems += str(error).splitlines()
        else:
            gathered.notes.append("no data was named or found: the space alone was checked")
        return None, None
    dataset = gathered.add(
        lambda: open_folder(source, config.data, max_pixels=config.limits.max_pixels)
    )
    if dataset is None:
        return None, None
    reading = progress.bar(f"reading {count(len(dataset.pairs), 'pair')} of {source}")
    overview = look_over(dataset, reading, request.workspace.cache / LOOKS)
    found = inspect(
        overview, copies_among(overview.looks), skip_bad=request.skip_bad, declared=True
    )
    bad = [one for one in found.findings if one.severity == "error"]
    gathered.problems += [f"data: {one.what}; {one.remedy}" for one in bad]

    def split() -> list[Any]:
        if not definition.begun:
            return make_split(overview.dataset, overview.looks, config.split)
        rows = read_split(paths.split_csv)
        verify_split(rows, source_folder(source))
        return rows

    if request.skip_bad:  # else each pair is named above
        gathered.add(lambda: refuse_empty(overview))
    rows = gathered.add(split) if overview.looks else None
    if rows is not None and (note := few_to_rank(rows, overview.looks, config)) is not None:
        gathered.notes.append(note)
    return found, None if rows is None else sum(row.role == "train" for row in rows)


def _entry(entry: Entry) -> dict[str, Any]:
    network, reason = entry.drawn.network, entry.reason
    return {
        **network.model.model_dump(mode="json", exclude={"encoder_weights"}),
        "encoder_weights": entry.drawn.config.model.encoder_weights,
        "image_size": list(network.height_width),
        "batch_of_one": entry.drawn.alone,
        "possible": reason is None,
        "kind": None if reason is None else reason.kind,
        "reason": None if reason is None else reason.text,
        "parameters": entry.verdict.parameters,
        "gflops": entry.verdict.gflops,
    }
