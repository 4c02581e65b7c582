"""Compare the leading trials of two studies on the validation images that both have."""

from dataclasses import dataclass
from typing import Any, Final

from harness.core.errors import ConfigError
from harness.core.records import TrialRecord
from harness.core.text import count, display_value
from harness.data.splits.split_file import read_split
from harness.evaluation.statistics.image_values import (
    compare_images,
    filter_images,
    per_image_values_of_all,
)
from harness.evaluation.statistics.paired_tests import PairedTest
from harness.report.tables.study_tables import StudyTables, ranked_records
from harness.training.metrics.image_scores import ImageScores, read_scores

INCOMPARABLE: Final = "; their values cannot be compared"  # end of each problem


@dataclass(frozen=True)
class BaselineComparison:
    """Paired comparison of two sets of weights on the same images.

    Attributes:
        study, other: names of the studies.
        number, other_number: numbers of their leading trials.
        mean, other_mean: the objective over the images that both have.
        test: paired test of this study's values minus the other's.
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
        """The comparison in words, as a statement about these weights on these images."""
        test = self.test
        interval_text = (
            "fewer than 50 images, too few for an interval"
            if test.interval is None
            else f"95 % interval {test.interval.low:+.4f} to {test.interval.high:+.4f}"
        )
        return (
            f"Against {self.other}, these weights on these images: on the "
            f"{count(test.n, 'validation image')} of both studies, {self.metric} is "
            f"{self.mean:.4f} for trial {self.number} and {self.other_mean:.4f} for trial "
            f"{self.other_number} of {self.other}, a paired difference of {test.difference:+.4f} "
            f"({interval_text}; p = {test.p:.2g}; {'lower' if self.minimized else 'higher'} is "
            "better). Both trials were selected on these images, and the result says nothing about "
            "their configurations."
        )


def compare_with_baseline(tables: StudyTables, baseline: StudyTables) -> BaselineComparison:
    """Compare the leading trials image by image.

    Images are matched by name and by the content of image and mask, as recorded in split.csv, so
    the studies may have different splits. Images with an empty truth are left out.

    Raises:
        ConfigError: the studies cannot be compared; lists every reason.
        UserError: the objective is not a mean over images.
    """
    problems = _find_incompatibilities(tables, baseline)
    if problems:
        # All differences in one message, so that the user need not find them one by one.
        raise ConfigError([f"--baseline {baseline.paths.name}: {problem}" for problem in problems])
    first, second = _leading_record(tables), _leading_record(baseline)
    # By content and not by name alone: equal file names in two data sets are common.
    shared = _validation_images(tables) & _validation_images(baseline)
    names = frozenset(name for name, *_ in shared)
    metric = tables.config.objective.metric
    a = filter_images(_read_trial_scores(tables, first), names)
    b = filter_images(_read_trial_scores(baseline, second), names)
    own_values, baseline_values = per_image_values_of_all([a, b], metric)
    if own_values.empty:
        raise ConfigError(
            f"--baseline {baseline.paths.name}: {count(len(names), 'validation image')} in common "
            f"with {tables.paths.name} (same name and content), none with a value of both trials; "
            "choose a study on the same data set and split"
        )
    return BaselineComparison(
        tables.paths.name,
        baseline.paths.name,
        first.number,
        second.number,
        metric,
        tables.minimized,
        float(own_values.mean()),
        float(baseline_values.mean()),
        # The two means and the test use the same images: an image
        # without a value in one trial is left out.
        compare_images(a, b, metric),
    )


def _find_incompatibilities(tables: StudyTables, baseline: StudyTables) -> list[str]:
    """Settings that differ between the studies and make their values incomparable."""
    own_config, baseline_config = tables.config, baseline.config
    # Each of these changes the meaning of the objective's value, e.g. its resolution or classes.
    facts = {
        "objective": (own_config.objective.metric, baseline_config.objective.metric),
        "direction": (own_config.objective.direction, baseline_config.objective.direction),
        "data.eval_size": (own_config.data.eval_size, baseline_config.data.eval_size),
        "data.metrics_at": (own_config.data.metrics_at, baseline_config.data.metrics_at),
        "data.task": (own_config.data.task, baseline_config.data.task),
        "data.classes": (list(own_config.data.classes), list(baseline_config.data.classes)),
        "data.ignore_index": (own_config.data.ignore_index, baseline_config.data.ignore_index),
    }
    return [
        f"its {name} is {_setting_text(baseline_value)}, but that of {tables.paths.name} is "
        f"{_setting_text(own_value)}{INCOMPARABLE}"
        for name, (own_value, baseline_value) in facts.items()
        if own_value != baseline_value
    ]


def _setting_text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else display_value(value)


def _leading_record(tables: StudyTables) -> TrialRecord:
    ranked = ranked_records(tables)
    if not ranked:
        raise ConfigError(f"--baseline: study {tables.paths.name} has no complete trial")
    return ranked[0]


def _validation_images(tables: StudyTables) -> set[tuple[str, str, str]]:
    path = tables.paths.split_csv
    if not path.is_file():
        raise ConfigError(f"{path}: missing, so images cannot be matched; restore the file")
    rows = read_split(path)
    return {(row.image, row.image_sha256, row.mask_sha256) for row in rows if row.role == "val"}


def _read_trial_scores(tables: StudyTables, record: TrialRecord) -> ImageScores:
    path = tables.paths.trial(record.number).scores_csv
    if not path.is_file():
        raise ConfigError(
            f"{path}: missing; only trials with this file can be compared image by image"
        )
    return read_scores(path)
