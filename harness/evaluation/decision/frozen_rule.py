"""Decision rule of some weights: chosen on their validation images, once, and kept in a file.

`harness confirm` freezes the rule of its choice; test, predict and export read that file. For other
weights the rule is chosen when it is first needed, and kept in the same way. Reading needs no
torch.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from harness.config.data import StudyDataConfig
from harness.config.decision_rule import ClassDecision, DecisionRule
from harness.config.progress import ProgressReporter
from harness.config.study_files import read_study_config
from harness.core import files
from harness.core.errors import ConfigError, DataError, UserError
from harness.core.paths import StudyPaths
from harness.core.settings import StrictSettings
from harness.core.text import count
from harness.evaluation.confirm.results import Confirmation
from harness.evaluation.decision.choose_rule import choose_rule
from harness.evaluation.decision.step_effects import StepEffect
from harness.evaluation.held_out.images import EvaluationImages, check_images_unchanged
from harness.evaluation.held_out.measure import ImageEvaluator, ImageGroup
from harness.evaluation.held_out.weights import (
    TrialWeights,
    confirmed_weights,
    group_held_out_images,
)
from harness.evaluation.statistics.intervals import MIN_IMAGES

if TYPE_CHECKING:
    from harness.search.definition.context import StudyContext


class FrozenRule(StrictSettings):
    """A decision rule with the weights and the number of validation images it was chosen for.

    Attributes:
        weights: SHA-256 by label of the trial.
        tta: chosen on probabilities that are averaged over four flips.
        n_images: number of validation images.
        steps: effect of each clean-up step that was tried on these images, in order.
    """

    format: int = 1
    rule: DecisionRule
    weights: dict[str, str]
    tta: bool
    n_images: int
    steps: tuple[StepEffect, ...] = ()


def rule_path(paths: StudyPaths, weights: dict[str, str], *, tta: bool) -> Path:
    """File of the rule of these weights: `decisions/<key>.json` in the study's folder."""
    # By content, not by label: a confirmation that is extended may give a label to other weights.
    text = "".join(sorted(f"{digest}\n" for digest in weights.values())) + f"tta={tta}\n"
    return paths.study.root / "decisions" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def load_or_choose_rule(
    context: "StudyContext",
    weights: Sequence[TrialWeights],
    progress: ProgressReporter,
    *,
    tta: bool = False,
) -> FrozenRule:
    """The rule of these weights: read if it is frozen, else chosen on validation images and frozen.

    Validation images are opened only if there is no frozen rule; test images never. In multiclass
    tasks, which need no threshold, missing images leave argmax without clean-up, not frozen.

    Raises:
        ConfigError: the file of the rule is damaged or belongs to other weights.
        DataError: validation images are needed, and are missing or changed.
    """
    hashes = {member.label: member.sha256 for member in weights}
    path = rule_path(context.paths, hashes, tta=tta)
    if path.exists():
        return read_frozen_rule(path, hashes, context.config.data, tta=tta)
    try:
        frozen = _choose_rule(context, weights, progress, hashes, tta=tta)
    except DataError as error:
        if context.config.data.task != "multiclass":
            raise
        progress.stage(f"no clean-up was chosen: {error}")
        entries = tuple(ClassDecision() for _ in context.config.data.scored_classes)
        rule = DecisionRule(task="multiclass", classes=entries)
        return FrozenRule(rule=rule, weights=hashes, tta=tta, n_images=0)
    path.parent.mkdir(exist_ok=True)
    files.write_text(path, frozen.model_dump_json(indent=2) + "\n")
    return frozen


def load_confirmed_rule(paths: StudyPaths, confirmation: Confirmation) -> FrozenRule | None:
    """The frozen rule of the confirmed choice without flips; None if there is none.

    Raises:
        ConfigError: its file is damaged.
    """
    try:
        weights = confirmed_weights(paths, confirmation)
    except UserError:  # no choice yet, or its weights are gone
        return None
    hashes = {member.label: member.sha256 for member in weights}
    path = rule_path(paths, hashes, tta=False)
    if not path.exists():
        return None
    return read_frozen_rule(path, hashes, read_study_config(paths).data, tta=False)


def read_frozen_rule(
    path: Path, hashes: Mapping[str, str], data: StudyDataConfig, *, tta: bool
) -> FrozenRule:
    """Read the rule of these weights (SHA-256 by label), and check that it is theirs.

    Raises:
        ConfigError: the file is damaged, or was chosen for other weights, flips or classes.
    """
    frozen = read_rule(path)
    n_classes = len(frozen.rule.classes)
    checks = {
        "other weights": sorted(frozen.weights.values()) == sorted(hashes.values()),
        "flips" if frozen.tta else "no flips": frozen.tta == tta,
        "another task": frozen.rule.task == data.task,
        count(n_classes, "class"): n_classes == len(data.scored_classes),
    }
    differences = [name for name, is_equal in checks.items() if not is_equal]
    if differences:
        raise ConfigError(
            f"{path}: this rule was chosen for {', '.join(differences)}; delete the file, and the "
            "rule is chosen again"
        )
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


def describe_rule(frozen: FrozenRule, data: StudyDataConfig) -> str:
    """The rule in one line: `disc p ≥ 0.43, min_size 16; bar p ≥ 0.50`."""
    texts = []
    for index, entry in zip(data.scored_classes, frozen.rule.classes, strict=True):
        parts = [] if entry.threshold is None else [f"p ≥ {entry.threshold:.2f}"]
        parts += ["fill_holes"] if entry.fill_holes else []
        parts += [f"min_size {entry.min_size}"] if entry.min_size > 1 else []
        parts += ["largest_only"] if entry.largest_only else []
        texts += [f"{data.classes[index]} {', '.join(parts)}"] if parts else []
    argmax = "most probable class" if frozen.rule.task == "multiclass" else ""
    return "; ".join(text for text in (argmax, *texts) if text)


def describe_choice(frozen: FrozenRule, data: StudyDataConfig) -> list[str]:
    """One line on the rule, and one on each clean-up step that was kept, or on their absence."""
    n = count(frozen.n_images, "validation image")
    lines = [
        f"decision rule of {' + '.join(frozen.weights)}, chosen on {n}: "
        f"{describe_rule(frozen, data)}"
    ]
    kept_effects = [effect for effect in frozen.steps if effect.is_kept]
    lines += [f"clean-up: {effect.sentence}" for effect in kept_effects]
    if not kept_effects and frozen.n_images < MIN_IMAGES:
        lines.append(f"clean-up: none; fewer than {MIN_IMAGES} validation images")
    elif not kept_effects:
        lines.append("clean-up: none; no step raises the mean Dice by more than noise")
    return lines


def _choose_rule(
    context: "StudyContext",
    weights: Sequence[TrialWeights],
    progress: ProgressReporter,
    hashes: dict[str, str],
    *,
    tta: bool,
) -> FrozenRule:
    from harness.training.metrics.native_size import load_predictors  # noqa: PLC0415  # imports torch

    data, groups = context.config.data, _validation_groups(context, weights)
    for _, images in groups:
        check_images_unchanged(images)
    members = [(member.paths.model, member.config) for member in weights]
    predictors = load_predictors(members, data, context.device)
    evaluator = ImageEvaluator(predictors, data, tta=tta, progress=progress)
    rule, steps = choose_rule(evaluator, groups, data)
    n_images = sum(len(images.rows) for _, images in groups)
    return FrozenRule(rule=rule, weights=hashes, tta=tta, n_images=n_images, steps=steps)


def _validation_groups(
    context: "StudyContext", weights: Sequence[TrialWeights]
) -> list[ImageGroup]:
    data, max_pixels = context.config.data, context.config.limits.max_pixels
    return [
        (indices, EvaluationImages("val", context.data_root, tuple(rows), data, max_pixels))
        for indices, rows in group_held_out_images(weights)
    ]
