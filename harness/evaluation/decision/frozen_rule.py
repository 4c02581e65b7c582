"""Choose the decision rule of some weights on their validation images, once, and keep it.

`harness confirm` freezes the rule of its choice; test, predict and export read that file. For other
weights the rule is chosen when it is first needed, and kept in the same way.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from harness.config.decision_rule import ClassDecision, DecisionRule
from harness.config.progress import ProgressReporter
from harness.core import files
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths
from harness.core.settings import StrictSettings
from harness.evaluation.held_out.images import EvaluationImages, check_images_unchanged
from harness.evaluation.held_out.measure import ImageEvaluator
from harness.evaluation.held_out.weights import TrialWeights, group_held_out_images
from harness.search.definition.context import StudyContext


class FrozenRule(StrictSettings):
    """A decision rule with the weights and the number of validation images it was chosen for.

    Attributes:
        weights: SHA-256 by label of the trial.
        tta: chosen on probabilities that are averaged over four flips.
    """

    format: int = 1
    rule: DecisionRule
    weights: dict[str, str]
    tta: bool
    n_images: int


def rule_path(paths: StudyPaths, weights: dict[str, str], *, tta: bool) -> Path:
    """File of the rule of these weights: `decisions/<key>.json` in the study's folder."""
    # By content, not by label: a confirmation that is extended may give a label to other weights.
    text = "".join(sorted(f"{digest}\n" for digest in weights.values())) + f"tta={tta}\n"
    return paths.study.root / "decisions" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def load_or_choose_rule(
    context: StudyContext,
    weights: Sequence[TrialWeights],
    progress: ProgressReporter,
    *,
    tta: bool = False,
) -> FrozenRule:
    """The rule of these weights: read if it is frozen, else chosen on validation images and frozen.

    Validation images are opened only if there is no frozen rule; test images never.

    Raises:
        ConfigError: the file of the rule is damaged.
        DataError: validation images are needed, and are missing or changed.
    """
    hashes = {member.label: member.sha256 for member in weights}
    path = rule_path(context.paths, hashes, tta=tta)
    if path.exists():
        return read_rule(path)
    frozen = _choose_rule(context, weights, progress, hashes, tta=tta)
    path.parent.mkdir(exist_ok=True)
    files.write_text(path, frozen.model_dump_json(indent=2) + "\n")
    return frozen


def read_rule(path: Path) -> FrozenRule:
    """Read a frozen rule. Raises ConfigError if the file is damaged or of another format."""
    try:
        frozen = FrozenRule.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"{path}: no decision rule that can be read ({reason}); delete the file, and the rule "
            "is chosen again"
        ) from error
    if frozen.format != 1:
        raise ConfigError(f"{path}: format {frozen.format}; this harness reads format 1")
    return frozen


def _choose_rule(
    context: StudyContext,
    weights: Sequence[TrialWeights],
    progress: ProgressReporter,
    hashes: dict[str, str],
    *,
    tta: bool,
) -> FrozenRule:
    from harness.training.metrics.native_size import NativePredictor  # noqa: PLC0415  # imports torch

    data, limits = context.config.data, context.config.limits
    groups = [
        (
            indices,
            EvaluationImages("val", context.data_root, tuple(rows), data, limits.max_pixels),
        )
        for indices, rows in group_held_out_images(weights)
    ]
    n_images = sum(len(images.rows) for _, images in groups)
    if data.task == "multiclass":
        entries = tuple(ClassDecision() for _ in data.scored_classes)
    else:
        for _, images in groups:
            check_images_unchanged(images)
        predictors = [
            NativePredictor(member.paths.model, member.config, data, context.device)
            for member in weights
        ]
        evaluator = ImageEvaluator(predictors, data, tta=tta, progress=progress)
        thresholds = evaluator.choose_thresholds(groups)
        entries = tuple(ClassDecision(threshold=thresholds[k]) for k in data.scored_classes)
    rule = DecisionRule(task=data.task, classes=entries)
    return FrozenRule(rule=rule, weights=hashes, tta=tta, n_images=n_images)
