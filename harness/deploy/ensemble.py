"""Ensemble of trials that is selected on validation images once, and kept."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.config.progress import ProgressReporter
from harness.core import files
from harness.core.errors import ConfigError, UserError
from harness.core.paths import StudyPaths
from harness.core.records import read_records
from harness.core.settings import StrictSettings
from harness.core.text import count
from harness.data.files.resize import resize_image, resize_truth
from harness.data.splits.split_file import read_split
from harness.data.windows.large_pair import LargePair
from harness.data.windows.overview import AreaReduction, NearestReduction
from harness.deploy.greedy_selection import CandidatePlanes, SelectionStep, select_greedily
from harness.evaluation.held_out.images import EvaluationImages, check_images_unchanged
from harness.evaluation.held_out.predicted_image import predict_large
from harness.evaluation.held_out.weights import TrialWeights, select_weights
from harness.search.definition.context import StudyContext
from harness.training.metrics.native_size import NativePredictor, mean_probabilities

_MAX_SIZE_PX = 256
_MAX_BYTES = 512_000_000  # of the probabilities of all candidates on the validation images
_BATCH = 8

Array8 = NDArray[np.uint8]


class EnsembleSelection(StrictSettings):
    """Members in the order of their selection.

    Attributes:
        candidates: SHA-256 of the weights by label of the trial.
        n_images: validation images that were used.
    """

    format: int = 1
    candidates: dict[str, str]
    tta: bool
    n_images: int
    steps: tuple[SelectionStep, ...]


def load_or_select_ensemble(
    context: StudyContext, progress: ProgressReporter, *, tta: bool = False
) -> tuple[TrialWeights, ...]:
    """Members of the ensemble: read if it is kept for these candidates, else selected and kept.

    Candidates are the complete trials of the search that keep their weights. A trial that was
    selected twice occurs twice, the second time with the label `<trial>*2`.

    Raises:
        UserError: no trial keeps its weights.
        ConfigError: the file of the selection is damaged.
        DataError: validation images are needed, and are missing or changed.
    """
    candidates = _list_candidates(context)
    hashes = {member.label: member.sha256 for member in candidates}
    path = selection_path(context.paths, hashes, tta=tta)
    if path.exists():
        selection = read_selection(path)
    else:
        planes, n_images = _predict_candidates(context, candidates, progress, tta=tta)
        steps = select_greedily(planes, context.config.data, [int(c.label) for c in candidates])
        selection = EnsembleSelection(
            candidates=hashes, tta=tta, n_images=n_images, steps=tuple(steps)
        )
        path.parent.mkdir(exist_ok=True)
        files.write_text(path, selection.model_dump_json(indent=2) + "\n")
    for line in describe_selection(selection):
        progress.stage(line)
    return _members(candidates, selection)


def selection_path(paths: StudyPaths, hashes: dict[str, str], *, tta: bool) -> Path:
    """File of the selection among these candidates: `decisions/ensemble-<key>.json`."""
    text = "".join(sorted(f"{digest}\n" for digest in hashes.values())) + f"tta={tta}\n"
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    return paths.study.root / "decisions" / f"ensemble-{key}.json"


def read_selection(path: Path) -> EnsembleSelection:
    """Read a kept selection. Raises ConfigError if the file is damaged."""
    try:
        selection = EnsembleSelection.model_validate_json(path.read_text(encoding="utf-8"))
        if selection.format != 1 or not selection.steps:
            raise ValueError("of another format, or without members")
        if {str(step.trial) for step in selection.steps} - set(selection.candidates):
            raise ValueError("a member is no candidate")
    except (OSError, ValueError, ValidationError) as error:
        raise ConfigError(
            f"{path}: no selection that can be read ({str(error).splitlines()[0]}); delete the "
            "file, and the ensemble is selected again"
        ) from error
    return selection


def describe_selection(selection: EnsembleSelection) -> list[str]:
    """One line for each member: what it adds, and what it costs."""
    lines = [
        f"ensemble of {count(len({s.trial for s in selection.steps}), 'trial')}, selected on "
        f"{count(selection.n_images, 'validation image')} "
        f"among {count(len(selection.candidates), 'trial')}"
    ]
    earlier: SelectionStep | None = None
    for step in selection.steps:
        gain = "" if earlier is None else f" ({step.dice - earlier.dice:+.4f})"
        cost = (
            f"{step.ms_per_image:.0f} ms an image, {step.parameters / 1e6:.1f} M parameters"
            if step.parameters
            else "counts once more, at no cost"
        )
        verb = "begins with" if earlier is None else "adds"
        lines.append(f"  {verb} trial {step.trial}: Dice {step.dice:.4f}{gain}; {cost}")
        earlier = step
    # The same images chose the members, so that the gain is larger than on new images.
    lines.append("  these images chose the members: expect less gain on new images")
    return lines


def _list_candidates(context: StudyContext) -> tuple[TrialWeights, ...]:
    paths = context.paths
    numbers = [
        record.number
        for record in read_records(paths)
        if record.state == "complete" and paths.trial(record.number).model.is_dir()
    ]
    if not numbers:
        raise UserError(
            f"--ensemble best: no trial of study {paths.name} keeps its weights; train some with "
            f"harness run --study {paths.name}"
        )
    return tuple(member for n in numbers for member in select_weights(paths, n))


def _members(
    candidates: Sequence[TrialWeights], selection: EnsembleSelection
) -> tuple[TrialWeights, ...]:
    by_label = {member.label: member for member in candidates}
    counts: dict[str, int] = {}
    members = []
    for step in selection.steps:
        label = str(step.trial)
        counts[label] = counts.get(label, 0) + 1
        # Labels differ, as hashes are kept by label: the weight of a member is part of the key.
        suffix = f"*{counts[label]}" if counts[label] > 1 else ""
        members.append(replace(by_label[label], label=f"{label}{suffix}"))
    return tuple(members)


def _predict_candidates(
    context: StudyContext,
    candidates: Sequence[TrialWeights],
    progress: ProgressReporter,
    *,
    tta: bool,
) -> tuple[CandidatePlanes, int]:
    """Predict validation images, as many of them as memory holds, evenly spread."""
    data, config = context.config.data, context.config
    size, nearest = min(data.eval_size, _MAX_SIZE_PX), data.uses_nearest_resize
    rows = [row for row in read_split(context.paths.split_csv) if row.role == "val"]
    n_max = max(1, _MAX_BYTES // (len(candidates) * data.n_outputs * size * size))
    if len(rows) > n_max:
        rows = [rows[int(k)] for k in np.linspace(0, len(rows) - 1, n_max)]
    images = EvaluationImages("val", context.data_root, tuple(rows), data, config.limits.max_pixels)
    check_images_unchanged(images)
    p = np.zeros((len(candidates), len(rows), data.n_outputs, size, size), np.uint8)
    truth = np.zeros((len(rows), len(data.scored_classes), size, size), np.uint8)
    bar = progress.bar(f"selecting among {count(len(candidates), 'trial')}")
    times, parameters = [], []
    for m, member in enumerate(candidates):
        network = NativePredictor(member.paths.model, member.config, data, context.device)
        seconds, n = 0.0, 0
        for _, contents in images.batches(_BATCH):
            begin = time.perf_counter()
            if isinstance(contents, LargePair):
                reduced = [_reduce_large(network, contents, size, config.limits.max_pixels, tta)]
                seconds += time.perf_counter() - begin
            else:
                arrays = [pair.image for pair in contents]
                planes = mean_probabilities([network], arrays, tta=tta)
                seconds += time.perf_counter() - begin
                reduced = [
                    (_reduce(plane, size), resize_truth(pair.mask, size, nearest=nearest))
                    for plane, pair in zip(planes, contents, strict=True)
                ]
            for small_p, small_truth in reduced:
                p[m, n], truth[n] = small_p, _truth_planes(small_truth, data)
                n += 1
            bar(m * len(rows) + n, len(candidates) * len(rows))
        times.append(1000 * seconds / len(rows))
        parameters.append(network.n_parameters)
    return CandidatePlanes(p, truth, tuple(times), tuple(parameters)), len(rows)


def _reduce(p: NDArray[np.float32], size: int) -> Array8:
    planes = [resize_image(plane, (size, size)) for plane in p]
    return np.asarray(np.rint(255 * np.stack(planes)), np.uint8)


def _reduce_large(
    network: NativePredictor, pair: LargePair, size: int, max_pixels: float, tta: bool
) -> tuple[Array8, Array8]:
    """Probabilities (K, size, size) as bytes, and the truth, of an image in bands."""
    data, height, width = pair.data, pair.header.height, pair.header.width
    planes = () if data.n_mask_planes is None else (data.n_mask_planes,)
    reduction = NearestReduction if data.uses_nearest_resize else AreaReduction
    p = AreaReduction((height, width, data.n_outputs), (size, size))
    truth = reduction((height, width, *planes), (size, size))
    for band in predict_large([network], pair, max_pixels, tta=tta).bands:
        p.add(band.rows.start, 255 * np.moveaxis(band.p, 0, 2))
        truth.add(band.rows.start, band.mask)
    return np.moveaxis(p.image(np.uint8), 2, 0), truth.mask()


def _truth_planes(small: Array8, data: StudyDataConfig) -> Array8:
    if small.ndim == 3:
        return np.asarray(np.moveaxis(small, 2, 0))
    planes = np.stack([small == k for k in data.scored_classes]).astype(np.uint8)
    planes[:, small == IGNORE_INDEX] = IGNORE_INDEX
    return planes
