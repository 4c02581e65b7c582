"""`harness test`: the one place where sealed images are opened; each opening is entered first."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness import files
from harness.data.sources import find_data, source_folder
from harness.data.split_file import SplitRow, read_split
from harness.errors import UserError
from harness.evaluation.sealed_choice import Weights, chosen_trial
from harness.evaluation.sealed_data import (
    Images,
    check_name,
    check_present,
    check_unchanged,
    other_images,
)
from harness.evaluation.sealed_ledger import (
    OWN,
    Chosen,
    Data,
    Done,
    Failed,
    Look,
    Opened,
    enter,
    next_number,
    read_ledger,
    warning,
)
from harness.evaluation.sealed_measure import Measure
from harness.evaluation.sealed_results import results_of
from harness.parts_files import load_packages
from harness.paths import StudyPaths, Workspace
from harness.search.earlier import read_config
from harness.search.lock import leading
from harness.search.parts import take_parts
from harness.search.progress import Progress
from harness.search.stamp import take_stamp
from harness.training.metrics import write_scores


@dataclass(frozen=True)
class Request:
    """What `harness test` was asked for.

    Attributes:
        trial: of the search; None: the confirmed choice.
        ensemble: average over all confirmed seeds of the choice.
        tta: average over four flips of each image.
        on: further data sets by name; with any, the study's own test images stay closed.
    """

    trial: int | None = None
    ensemble: bool = False
    tta: bool = False
    on: Mapping[str, str] = field(default_factory=dict)
    device: str = "auto"


def take_looks(
    workspace: Workspace, paths: StudyPaths, request: Request, progress: Progress
) -> list[Look]:
    """Measure the chosen weights on sealed images, and enter that in the ledger.

    All that can be checked is checked first, and the thresholds are chosen and written down; only
    then is the first sealed image decoded.

    Returns:
        The looks, in order; each is in the ledger already.

    Raises:
        UserError: something must be changed first; then nothing was opened, and no look entered.
        DataError, DivergedError: a look failed on the way; it is in the ledger.
    """
    with leading(paths):
        return _Test(workspace, paths, request, progress).run()


class _Test:
    """One call of `harness test`, while it leads the study."""

    def __init__(
        self, workspace: Workspace, paths: StudyPaths, request: Request, progress: Progress
    ) -> None:
        for name in request.on:
            check_name(name)
        for problem in load_packages():
            progress.stage(problem)
        take_parts(paths, None)
        self._workspace, self._paths = workspace, paths
        self._request, self._progress = request, progress
        self._config = read_config(paths)
        self._weights = chosen_trial(
            paths, request.trial, ensemble=request.ensemble, keep=self._config.budget.keep
        )
        self._targets = self._find_targets(read_split(paths.split_csv))
        self._groups = self._validation()
        self._device, self._measure = self._load()

    def run(self) -> list[Look]:
        """Choose thresholds, then open one data set after the other."""
        trained = " + ".join(one.label for one in self._weights)
        self._progress.stage(
            f"study {self._paths.name} · trial {trained} · device {self._device}"
            f"{' · four flips' if self._request.tta else ''}"
        )
        chosen = self._measure.thresholds(self._groups) if self._groups else None
        return [self._look(images, chosen) for images in self._targets]

    def _find_targets(self, split: Sequence[SplitRow]) -> list[Images]:
        data, most = self._config.data, self._config.limits.max_pixels
        if self._request.on:
            return [
                other_images(
                    name, folder, self._workspace, split, data, most, said=self._progress.stage
                )
                for name, folder in self._request.on.items()
            ]
        images = self._images(OWN, [row for row in split if row.role == "test"])
        if not images.rows:
            raise UserError(
                f"{self._paths.split_csv}: has no test images; name others with --on NAME=FOLDER"
            )
        check_present(images)  # not opened before that is entered
        return [images]

    def _validation(self) -> list[tuple[tuple[int, ...], Images]]:
        """Where thresholds are chosen: nowhere in multiclass tasks, which decide by argmax."""
        if self._config.data.task == "multiclass":
            return []
        groups = [(places, self._images("val", rows)) for places, rows in held_out(self._weights)]
        for _, images in groups:
            check_unchanged(images)
        return groups

    def _images(self, name: str, rows: Sequence[SplitRow]) -> Images:
        data = self._config.data
        root = source_folder(find_data(data.root, self._workspace))
        return Images(name, root, tuple(rows), data, self._config.limits.max_pixels)

    def _load(self) -> tuple[str, Measure]:
        """The device for people, and the networks on it."""
        from harness.training.device import describe, pick_device  # noqa: PLC0415  # brings torch
        from harness.training.native import NativePredictor  # noqa: PLC0415

        device, data = pick_device(self._request.device), self._config.data
        predictors = [
            NativePredictor(one.paths.model, one.config, data, device) for one in self._weights
        ]
        measure = Measure(predictors, data, tta=self._request.tta, progress=self._progress)
        return describe(device), measure

    def _look(self, images: Images, chosen: dict[int, float] | None) -> Look:
        """One data set: entered, opened, measured, entered."""
        ledger = read_ledger(self._paths)
        said = warning(self._paths, ledger)
        if said is not None:
            self._progress.stage(said)
        opened = self._opening(images, chosen, next_number(self._paths, ledger))
        enter(self._paths, opened)
        try:
            done = self._measured(images, chosen, opened.look)
        except BaseException as error:
            text = " ".join(str(error).split())[:300]
            what = f"{type(error).__name__}: {text}" if text else type(error).__name__
            enter(self._paths, Failed(look=opened.look, at=_now(), error=what))
            raise
        enter(self._paths, done)
        return Look(opened, done)

    def _opening(self, images: Images, chosen: dict[int, float] | None, number: int) -> Opened:
        names = self._config.data.classes
        return Opened(
            look=number,
            at=_now(),
            weights={one.label: one.sha256 for one in self._weights},
            data=Data(name=images.name, n_images=len(images.rows), sha256=images.content_hash),
            chosen=Chosen(
                thresholds={names[index]: value for index, value in (chosen or {}).items()},
                n_images=sum(len(group.rows) for _, group in self._groups),
            ),
            tta=self._request.tta,
            ensemble=self._request.ensemble,
            device=self._device,
            versions=take_stamp(self._workspace.root).versions,
        )

    def _measured(self, images: Images, chosen: dict[int, float] | None, number: int) -> Done:
        scores = self._measure.scores(images, chosen)
        place = self._paths.look(number)
        write_scores(place.scores_csv, scores)
        for name, data in self._measure.examples(images, scores).items():
            files.write_bytes(place.picture(name), data)
        return Done(
            look=number,
            at=_now(),
            scores_sha256=files.sha256(place.scores_csv),
            results=tuple(results_of(scores, self._config.data)),
        )


def held_out(weights: Sequence[Weights]) -> list[tuple[tuple[int, ...], list[SplitRow]]]:
    """Validation images in groups, each with the places of the weights not trained on them.

    Weights of one split share all of them; those of folds have their own each.
    """
    rows: dict[int, SplitRow] = {}
    places: dict[int, list[int]] = {}
    for place, one in enumerate(weights):
        for row in read_split(one.split_csv):
            if row.role == "val":
                rows[row.row] = row
                places.setdefault(row.row, []).append(place)
    groups: dict[tuple[int, ...], list[SplitRow]] = {}
    for number in sorted(rows):
        groups.setdefault(tuple(places[number]), []).append(rows[number])
    return list(groups.items())


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
