"""The leading trial of one study against that of another, on the images that both validate on."""

from dataclasses import dataclass

from harness.data.split_file import read_split
from harness.errors import ConfigError
from harness.evaluation.pairs import PairedTest
from harness.evaluation.values import compare_images, only_images, per_image_of_all
from harness.records import TrialRecord
from harness.report.tables import StudyTables, ranked_records
from harness.report.wording import count
from harness.training.metrics import ImageScores, read_scores


@dataclass(frozen=True)
class Against:
    """Two sets of weights on the same images.

    Attributes:
        study, other: names of the studies.
        number, other_number: of their leading trials.
        mean, other_mean: the objective over the images that both have.
        test: this study's values minus the other's.
    """

    study: str
    other: str
    number: int
    other_number: int
    metric: str
    minimized: bool
    mean: float
    other_mean: float
    test: PairedTest

    @property
    def sentence(self) -> str:
        """What was found, as a statement about these weights on these images."""
        found = self.test
        between = (
            "fewer than 50 images, too few for an interval"
            if found.interval is None
            else f"95 % interval {found.interval.low:+.4f} to {found.interval.high:+.4f}"
        )
        return (
            f"Against {self.other}, these weights on these images: on the "
            f"{count(found.n, 'validation image')} of both studies, {self.metric} is "
            f"{self.mean:.4f} for trial {self.number} and {self.other_mean:.4f} for trial "
            f"{self.other_number} of {self.other}, a paired difference of {found.difference:+.4f} "
            f"({between}; p = {found.p:.2g}; {'lower' if self.minimized else 'higher'} is better). "
            "The images chose both trials, and nothing is said of their configurations."
        )


def against(tables: StudyTables, other: StudyTables) -> Against:
    """Compare the leading trials image by image.

    Images are matched by name and by the content of image and mask, as split.csv records them, so
    two studies may have different splits. Images with nothing to find stay out.

    Raises:
        ConfigError: the studies cannot be compared; every reason.
        UserError: the objective is no mean over images.
    """
    problems = _unlike(tables, other)
    if problems:
        raise ConfigError([f"--baseline {other.paths.name}: {problem}" for problem in problems])
    first, second = _leading(tables), _leading(other)
    shared = _validation(tables) & _validation(other)
    names = frozenset(name for name, *_ in shared)
    metric = tables.config.objective.metric
    a = only_images(_scores(tables, first), names)
    b = only_images(_scores(other, second), names)
    ours, theirs = per_image_of_all([a, b], metric)
    if ours.empty:
        raise ConfigError(
            f"--baseline {other.paths.name}: {count(len(names), 'validation image')} of "
            f"{tables.paths.name} with the same name and content, and no value of both trials for "
            "any; studies on one data set with one split share them"
        )
    return Against(
        tables.paths.name,
        other.paths.name,
        first.number,
        second.number,
        metric,
        tables.minimized,
        float(ours.mean()),
        float(theirs.mean()),
        compare_images(a, b, metric),
    )


def _unlike(tables: StudyTables, other: StudyTables) -> list[str]:
    """What makes the values of two studies numbers of different things."""
    ours, theirs = tables.config, other.config
    facts = {
        "objective": (ours.objective.metric, theirs.objective.metric),
        "direction": (ours.objective.direction, theirs.objective.direction),
        "data.eval_size": (ours.data.eval_size, theirs.data.eval_size),
        "data.task": (ours.data.task, theirs.data.task),
        "data.classes": (list(ours.data.classes), list(theirs.data.classes)),
        "data.ignore_index": (ours.data.ignore_index, theirs.data.ignore_index),
    }
    return [
        f"its {name} is {there}, that of {tables.paths.name} {here}; values cannot be compared"
        for name, (here, there) in facts.items()
        if here != there
    ]


def _leading(tables: StudyTables) -> TrialRecord:
    ranked = ranked_records(tables)
    if not ranked:
        raise ConfigError(f"--baseline: no trial of {tables.paths.name} is complete")
    return ranked[0]


def _validation(tables: StudyTables) -> set[tuple[str, str, str]]:
    path = tables.paths.split_csv
    if not path.is_file():
        raise ConfigError(f"{path}: is missing, so images cannot be matched")
    rows = read_split(path)
    return {(row.image, row.image_sha256, row.mask_sha256) for row in rows if row.role == "val"}


def _scores(tables: StudyTables, record: TrialRecord) -> ImageScores:
    path = tables.paths.trial(record.number).scores_csv
    if not path.is_file():
        raise ConfigError(f"{path}: is missing; only trials with it can be compared by image")
    return read_scores(path)
