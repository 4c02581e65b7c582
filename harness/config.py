"""Every setting of a trial (`TrialConfig`) and of a study (`StudyConfig`).

Both are frozen and refuse unknown keys. Types are strict: the text "1e-4" is not a number.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from harness.data_config import SplitConfig, StudyDataConfig
from harness.settings import Settings, acting, flatten, nest, validate
from harness.trial_groups import (
    AUGMENT_FILE,
    AUGMENTS,
    DataConfig,
    ModelConfig,
    OptimConfig,
    OptionValue,
    Scalar,
    TrainConfig,
)
from harness.trial_groups import pair as _pair

__all__ = [
    "AUGMENTS",
    "AUGMENT_FILE",
    "LOSS_PARTS",
    "BudgetConfig",
    "DataConfig",
    "LimitsConfig",
    "LossConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimConfig",
    "OptionValue",
    "PrunerConfig",
    "SamplerConfig",
    "Scalar",
    "StudyConfig",
    "TrainConfig",
    "TrialConfig",
    "trial_keys",
]

ClassWeight = Annotated[float, Field(ge=0, le=1e6)]
ClassWeights = Annotated[
    tuple[ClassWeight, ...], BeforeValidator(_pair), Field(min_length=1, max_length=255)
]


class LossConfig(Settings):
    """Weights of the parts of the training loss; used divided by their sum."""

    dice: float = Field(
        1.0, ge=0, le=1e6, json_schema_extra=acting("where above 0; beside another part", 0.5)
    )
    bce: float = Field(
        1.0,
        ge=0,
        le=1e6,
        description="two-class and multilabel tasks",
        json_schema_extra=acting("two-class and multilabel tasks, where above 0", 0.5),
    )
    ce: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="multiclass tasks",
        json_schema_extra=acting(
            "multiclass tasks, where above 0", 1.0, task="multiclass", needs={"loss.bce": 0.0}
        ),
    )
    focal: float = Field(0.0, ge=0, le=1e6, json_schema_extra=acting("where above 0", 1.0))
    jaccard: float = Field(0.0, ge=0, le=1e6, json_schema_extra=acting("where above 0", 1.0))
    tversky: float = Field(0.0, ge=0, le=1e6, json_schema_extra=acting("where above 0", 1.0))
    lovasz: float = Field(0.0, ge=0, le=1e6, json_schema_extra=acting("where above 0", 1.0))
    focal_gamma: float = Field(
        2.0,
        ge=0,
        description="focusing exponent",
        json_schema_extra=acting("under loss.focal", 0.5, needs={"loss.focal": 1.0}),
    )
    tversky_alpha: float = Field(
        0.5,
        ge=0,
        le=1,
        description="weight of false alarms; misses have 1 - alpha",
        json_schema_extra=acting("under loss.tversky", 0.9, needs={"loss.tversky": 1.0}),
    )
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="targets move this far inwards",
        json_schema_extra=acting("under loss.bce, loss.ce and loss.focal", 0.1),
    )
    class_weights: ClassWeights | None = Field(
        None,
        description="of each class in bce, ce and focal; multiclass and multilabel tasks",
        json_schema_extra=acting(
            "under loss.bce, loss.ce and loss.focal, of several classes",
            [1.0, 5.0, 0.5],
            task="multiclass",
            needs={"loss.bce": 0.0, "loss.ce": 1.0},
        ),
    )

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each part with a weight above 0, divided by their sum."""
        raw = {name: float(getattr(self, name)) for name in LOSS_PARTS if getattr(self, name) > 0}
        return {name: value / math.fsum(raw.values()) for name, value in raw.items()}

    @model_validator(mode="after")
    def _one_above_zero(self) -> Self:
        if not any(getattr(self, name) > 0 for name in LOSS_PARTS):
            raise ValueError(f"all weights are 0; set one of {', '.join(LOSS_PARTS)} above 0")
        if self.class_weights is not None and not any(self.class_weights):
            raise ValueError("class_weights: all are 0; set one above 0")
        return self


LOSS_PARTS = ("dice", "bce", "ce", "focal", "jaccard", "tversky", "lovasz")


class TrialConfig(Settings):
    """Every setting of one trial."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any], *, place: str = "trial configuration") -> Self:
        """Build from full keys, e.g. `{"optim.lr": 3e-4}`; what is absent takes its default.

        Raises:
            ConfigError: every unknown key and illegal value, one line each, beginning with `place`.
        """
        return validate(cls, nest(flat), place)

    def flat(self) -> dict[str, Any]:
        """Every setting by its full key; `model.options.<name>` where an option is set."""
        return flatten(self.model_dump(mode="json"))


class ObjectiveConfig(Settings):
    """The one metric a study optimises."""

    metric: Literal[
        "val/dice_loss",
        "val/dice",
        "val/iou",
        "val/precision",
        "val/recall",
        "val/accuracy",
        "val/dice_micro",
        "val/iou_micro",
        "val/miou",
    ] = "val/dice_loss"
    direction: Literal["minimize", "maximize"] = "minimize"

    @model_validator(mode="after")
    def _right_way(self) -> Self:
        right = "minimize" if self.metric.endswith("loss") else "maximize"
        if self.direction != right:
            raise ValueError(f"direction of {self.metric} must be {right}")
        return self


class SamplerConfig(Settings):
    """Optuna's sampler; each option says under which it acts."""

    name: Literal["tpe", "random", "gp", "qmc", "grid"] = "tpe"
    n_startup_trials: int = Field(10, ge=1, description="tpe, gp: random draws first")
    multivariate: bool = Field(True, description="tpe: model parameters jointly")
    group: bool = Field(True, description="tpe: model each branch of a conditional space")
    qmc_type: Literal["sobol", "halton"] = Field("sobol", description="qmc")


class PrunerConfig(Settings):
    """Optuna's pruner."""

    name: Literal["none", "median", "percentile", "halving", "hyperband", "patient"] = "median"
    n_startup_trials: int = Field(5, ge=0, description="complete trials before any is pruned")
    warmup: float = Field(0.3, ge=0, lt=1, description="share of train.epochs, rounded up")
    n_min_trials: int = Field(5, ge=1, description="values at the same epoch to compare with")
    percentile: float = Field(25.0, gt=0, lt=100, description="percentile: keep the best so many %")
    min_resource: int = Field(1, ge=1, description="halving, hyperband: first epochs")
    reduction_factor: int = Field(3, ge=2, description="halving, hyperband")
    patience: int = Field(3, ge=1, description="patient: epochs without improvement")
    min_delta: float = Field(0.0, ge=0, description="patient: smallest improvement that counts")


class BudgetConfig(Settings):
    """How much may be spent. Not part of the definition: it may change between runs."""

    trials: int | None = Field(None, ge=1, description="finished trials in all")
    keep: int = Field(5, ge=1, description="keep models and probabilities of the best so many")


class LimitsConfig(Settings):
    """Guards against hostile or broken input. Not part of the definition."""

    max_pixels: float = Field(100e6, gt=0, description="largest image that is decoded")


class StudyConfig(Settings):
    """`study.yaml`: the definition of a study, with its question, budget and limits."""

    format: Literal[1] = 1
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    question: str | None = None
    space: str | None = None
    data: StudyDataConfig = StudyDataConfig()
    split: SplitConfig = SplitConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    sampler: SamplerConfig = SamplerConfig()
    pruner: PrunerConfig = PrunerConfig()
    budget: BudgetConfig = BudgetConfig()
    limits: LimitsConfig = LimitsConfig()
    fixed: dict[str, OptionValue] = Field(default_factory=dict)
    seed: int = Field(0, ge=0, lt=2**32)

    @classmethod
    def from_mapping(cls, value: Mapping[str, Any], *, place: str = "study.yaml") -> Self:
        """Validate a nested mapping. Raises ConfigError with every problem."""
        return validate(cls, value, place)

    def definition(self) -> dict[str, Any]:
        """What must not change while a study lives: all but question, budget and limits."""
        return self.model_dump(mode="json", exclude={"question", "budget", "limits"})


def trial_keys() -> tuple[str, ...]:
    """Every full key of a trial configuration, `model.options` (a group of its own) left out."""
    return tuple(
        f"{group}.{name}"
        for group, field in TrialConfig.model_fields.items()
        for name in field.annotation.model_fields  # type: ignore[union-attr]
        if (group, name) != ("model", "options")
    )
