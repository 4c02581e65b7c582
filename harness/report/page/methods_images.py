"""Sentences of the methods paragraph on images: size or tiles, normalisation, augmentation."""

from collections.abc import Sequence

from harness.core.text import format_range, join_words, plural
from harness.report.page import references
from harness.report.page.references import CitationList
from harness.report.page.trained_trials import TrainedTrial, distinct_values

_FIT_NAMES = {"stretch": "stretched", "pad": "scaled and padded"}
_SAMPLING_NAMES = {
    "foreground": "images with foreground",
    "classes": "images with rare classes",
}


def inputs_sentence(trials: Sequence[TrainedTrial], cite: CitationList) -> str:
    """Size and fit or tiles, normalisation, augmentation and sampling; "" without config.yaml."""
    if not any(trial.has_full_configuration for trial in trials):
        return ""
    untiled = [trial for trial in trials if trial["data.tile.size"] is None]
    tiled = [trial for trial in trials if trial["data.tile.size"] is not None]
    ways = [_whole_text(untiled)] if untiled else []
    ways += [_tiles_text(tiled)] if tiled else []
    normalisations = join_words(_distinct_texts(trials, "data.normalize"))
    text = f"Images were {', or '.join(ways)}, normalised ({normalisations})"
    augments = _distinct_texts(trials, "data.augment")
    if augments == ["none"]:
        ending = ", and not augmented."
    else:
        library = cite("albumentations", references.LIBRARIES["albumentations"])
        ending = f" and augmented with {library} ({join_words(augments)})."
    return text + ending + _sampling_sentence(trials) + _draws_sentence(trials)


def _whole_text(trials: Sequence[TrainedTrial]) -> str:
    sizes = distinct_values(trials, "data.image_size")
    sizes_text = join_words(
        [f"{s} × {s}" if isinstance(s, int) else " × ".join(map(str, s)) for s in sizes]
    )
    fits = join_words([_FIT_NAMES.get(fit, fit) for fit in _distinct_texts(trials, "data.fit")])
    return f"{fits} to {sizes_text} pixels"


def _tiles_text(trials: Sequence[TrainedTrial]) -> str:
    sizes = join_words([f"{n} × {n}" for n in distinct_values(trials, "data.tile.size")])
    scale, overlap, foreground = (
        format_range(distinct_values(trials, f"data.tile.{name}"))
        for name in ("scale", "overlap", "foreground")
    )
    return (
        f"used in windows of {sizes} pixels at {scale} of their resolution (in training the share "
        f"{foreground} of them centred on a class drawn by its inverse frequency; in validation "
        f"overlapping by {overlap} and averaged with Gaussian weights)"
    )


def _sampling_sentence(trials: Sequence[TrainedTrial]) -> str:
    names = [n for n in _distinct_texts(trials, "data.sampling") if n in _SAMPLING_NAMES]
    if not names:
        return ""
    drawn = join_words([_SAMPLING_NAMES[name] for name in names])
    return f" Epochs drew {drawn} more often{_in_some(trials, 'data.sampling', 'uniform')}."


def _draws_sentence(trials: Sequence[TrainedTrial]) -> str:
    draws = sorted({t.record.draws for t in trials if t.record.draws is not None})
    if not draws:
        return ""
    return f" An epoch trained on {format_range(draws)} {plural('draw', draws[-1])}."


def _in_some(trials: Sequence[TrainedTrial], key: str, default: str) -> str:
    n = sum(trial[key] not in (None, default) for trial in trials)
    return "" if n == len(trials) else f" in {n} of {len(trials)} trials"


def _distinct_texts(trials: Sequence[TrainedTrial], key: str) -> list[str]:
    return [str(value) for value in distinct_values(trials, key) if value is not None]
