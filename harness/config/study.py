"""All settings of a trial (`TrialConfig`) and of a study (`StudyConfig`).

Both are frozen and refuse unknown keys. Types are strict: the text "1e-4" is not a number.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from harness.config.catalogue import BUILTIN_LOSSES
from harness.config.data import SplitConfig, StudyDataConfig
from harness.config.imports import ImportConfig, PriorConfig, ValueSourceConfig
from harness.config.loss import LossConfig, loss_names
from harness.config.objective import METRICS, ObjectiveConfig, objective_override
from harness.config.trial import (
    ModelConfig,
    OptimConfig,
    OptionValue,
    Scalar,
    TrainConfig,
    to_tuple,
)
from harness.config.trial_data import AUGMENT_FILE, AUGMENT_PRESETS, DataConfig, TileConfig
from harness.config.user_code import PartsConfig, expand_parts_config
from harness.core.settings import (
    ALLOW_UNREGISTERED,
    StrictSettings,
    flatten,
    nest,
    validate_settings,
)

__all__ = [
    "AUGMENT_FILE",
    "AUGMENT_PRESETS",
    "BUILTIN_LOSSES",
    "METRICS",
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
    "TileConfig",
    "TrainConfig",
    "TrialConfig",
    "loss_names",
    "needs_native_images",
    "objective_override",
    "trial_keys",
]


class TrialConfig(StrictSettings):
    """All settings of one trial."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    # A factory, since losses may be registered after this class was created.
    loss: LossConfig = Field(default_factory=LossConfig)
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _check_warmup(self, info: ValidationInfo) -> Self:
        warmup, epochs = self.optim.warmup_epochs, self.train.epochs
        if warmup >= epochs and not (info.context or {}).get(ALLOW_UNREGISTERED):
            raise ValueError(
                f"optim.warmup_epochs {warmup:g} is not below train.epochs {epochs}; use a "
                "shorter warm-up or more epochs"
            )
        return self

    @classmethod
    def from_flat(
        cls,
        flat: Mapping[str, Any],
        *,
        source: str = "trial configuration",
        allow_unregistered: bool = False,
    ) -> Self:
        """Build from full keys, e.g. `{"optim.lr": 3e-4}`; absent settings have their defaults.

        Args:
            allow_unregistered: accept user-defined losses without the file that registers them.

        Raises:
            ConfigError: all unknown keys and illegal values, one line each: `source: key: fault`.
        """
        return validate_settings(cls, nest(flat), source, allow_unregistered=allow_unregistered)

    def flat(self) -> dict[str, Any]:
        """All settings by full key, with `model.options.<name>` for each option that is set."""
        return flatten(self.model_dump(mode="json"))


class SamplerConfig(StrictSettings):
    """Optuna's sampler. The description of an option begins with the samplers that use it."""

    # `grid` is enumerated by the space, not by Optuna, whose GridSampler knows neither conditions
    # nor forbidden combinations (docs/decisions/0008).
    name: Literal["tpe", "random", "gp", "qmc", "grid"] = "tpe"
    # Optuna's default: TPE draws at random until this number of trials has finished.
    n_startup_trials: int = Field(10, ge=1, description="tpe, gp: number of random draws at first")
    multivariate: bool = Field(True, description="tpe: model parameters jointly")
    # Without groups, multivariate TPE models only the parameters that all trials share; those of a
    # branch of a conditional space are then sampled independently of the others (Optuna 5.0).
    group: bool = Field(True, description="tpe: model each branch of a conditional space")
    qmc_type: Literal["sobol", "halton"] = Field("sobol", description="qmc: type of the sequence")


class PrunerConfig(StrictSettings):
    """Pruner of Optuna, or one of this package, `halving` and `curve`.

    The description of an option begins with the pruners that use it.
    """

    # On recorded curves halving needed 0.35 of the epochs to reach the result without a pruner, the
    # median rule 0.6. Optuna's own pruner notes rungs in its database, which a rebuilt study lacks
    # (docs/decisions/0006).
    name: Literal["none", "median", "percentile", "halving", "hyperband", "patient", "curve"] = (
        "halving"
    )
    n_startup_trials: int = Field(
        5, ge=0, description="median, percentile, patient: complete trials before any is pruned"
    )
    # Optuna's median pruner has no warm-up and compares with one trial. On 182 recorded curves, 40
    # trials ended 8.9 points behind the best with its defaults, and 7.1 with these two values.
    warmup: float = Field(
        0.3,
        ge=0,
        lt=1,
        description="median, percentile, patient: share of train.epochs, rounded up",
    )
    n_min_trials: int = Field(
        5, ge=1, description="median, percentile, patient: values at the same epoch to compare with"
    )
    # 25 means the best quarter: Optuna counts from the better end, whatever the direction.
    percentile: float = Field(
        25.0, gt=0, lt=100, description="percentile: keep this share of the best, in %"
    )
    min_resource: int | None = Field(
        None,
        ge=1,
        description="halving, hyperband: epochs before the first evaluation of a trial; null: an "
        "eighth of train.epochs, rounded up, at least 2; for hyperband 1",
    )
    reduction_factor: int | None = Field(
        None,
        ge=2,
        description="halving, hyperband: one trial in this number continues; null: 2, and 3 for "
        "hyperband",
    )
    patience: int = Field(3, ge=1, description="patient: epochs without improvement")
    min_delta: float = Field(0.0, ge=0, description="patient: smallest improvement that counts")
    chance: float | None = Field(
        None,
        ge=0,
        le=1,
        description="curve: a trial is pruned below this probability of ending among the best; "
        "null: 0.3, or 0.5 if budget.gpu_hours is set",
    )
    n_min_curves: int | None = Field(
        None,
        ge=1,
        description="curve: complete trials before any is pruned; null: 3, or 1 if "
        "budget.gpu_hours is set",
    )
    # Complete curves of trials that would have been pruned measure the errors of the predictions.
    control: int = Field(
        10, ge=0, description="curve: every n-th trial is never pruned; 0: any trial may be pruned"
    )


class BudgetConfig(StrictSettings):
    """Limits of the search. Not part of the definition: they may change between runs."""

    # A total, not a number per run: the same command continues a study that was interrupted.
    trials: int | None = Field(None, ge=1, description="total number of finished trials")
    gpu_hours: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="total hours of training, summed over trials"
    )
    stop_after: int | None = Field(
        None, ge=1, description="stop after this many trials without improvement"
    )
    second_chances: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of all trained epochs in which the most promising stopped trials "
        "continue, once all trials have ended",
    )
    # Weights of all trials would fill the disk; scores stay, and all numbers follow from them
    # (docs/decisions/0010).
    keep: int = Field(5, ge=1, description="number of best trials whose models are stored")


class LimitsConfig(StrictSettings):
    """Guards against hostile or broken input, and time limits. Not part of the definition."""

    # Checked in the header, before anything is decoded: a few kilobytes can decode to gigabytes,
    # and Pillow and OpenCV have other limits.
    max_pixels: float = Field(100e6, gt=0, description="pixels of the largest decoded image")
    # A worker is replaced after ten median epochs without a message, but not before this time.
    hang_floor_s: float = Field(
        600, gt=0, description="seconds of silence that never count as a hang"
    )
    stop_s: float = Field(
        30,
        gt=0,
        allow_inf_nan=False,
        description="seconds that workers have to finish a step and save when the study is "
        "stopped; up to ten times this while a checkpoint is being written",
    )


class StudyConfig(StrictSettings):
    """`study.yaml`: the definition of a study, with its question, budget and limits."""

    format: Literal[1] = 1
    # Written when the study starts. It survives renaming and tells a new study from a deleted one
    # of the same name, also in MLflow.
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
    parts: Annotated[PartsConfig | None, BeforeValidator(expand_parts_config)] = Field(
        None, description="a Python file with user-defined networks, losses or metrics"
    )
    # The name is on disk in studies of earlier versions.
    taken: dict[str, ValueSourceConfig] = Field({}, description="fixed values from other studies")
    imports: Annotated[tuple[ImportConfig, ...], BeforeValidator(to_tuple)] = ()
    priors: Annotated[tuple[PriorConfig, ...], BeforeValidator(to_tuple)] = ()
    seed: int = Field(0, ge=0, lt=2**32)

    @classmethod
    def from_mapping(
        cls,
        value: Mapping[str, Any],
        *,
        source: str = "study.yaml",
        allow_unregistered: bool = False,
    ) -> Self:
        """Build from the nested mapping of study.yaml.

        Args:
            allow_unregistered: accept a user-defined objective without the file that
                registers it.

        Raises:
            ConfigError: all problems, one line each: `source: key: fault`.
        """
        return validate_settings(cls, value, source, allow_unregistered=allow_unregistered)

    def definition(self) -> dict[str, Any]:
        """Settings that later runs must not change: all except question, budget and limits."""
        return self.model_dump(mode="json", exclude={"question", "budget", "limits"})


def needs_native_images(config: TrialConfig, data: StudyDataConfig) -> bool:
    """True if a trial reads images at their own sizes: for tiles, or to score them there."""
    return config.data.tile.size is not None or data.metrics_at == "native"


def trial_keys() -> tuple[str, ...]:
    """Full keys of all settings of a trial, without `model.options`, which is a group."""
    return tuple(key for key in _leaf_keys(TrialConfig, "") if key != "model.options")


def _leaf_keys(model: type[StrictSettings], prefix: str) -> Iterator[str]:
    for name in model.names():
        # Losses that user code registers have no field.
        kind = model.model_fields[name].annotation if name in model.model_fields else None
        if isinstance(kind, type) and issubclass(kind, StrictSettings):
            yield from _leaf_keys(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
