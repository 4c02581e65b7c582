"""Every setting of a trial (`TrialConfig`) and of a study (`StudyConfig`).

Both are frozen and refuse unknown keys. Types are strict: the text "1e-4" is not a number.
"""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from harness.data_config import SplitConfig, StudyDataConfig
from harness.earlier_config import ImportConfig, TakenConfig
from harness.errors import nearest
from harness.settings import Settings, flatten, nest, validate

Scalar = str | int | float | bool | None
OptionValue = Scalar | list[Any]


def _pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _image_size(value: Any) -> Any:
    sizes = value if isinstance(value, list | tuple) else [value]
    whole = all(isinstance(n, int) and not isinstance(n, bool) and 16 <= n <= 4096 for n in sizes)
    if not whole or len(sizes) not in (1, 2):
        raise ValueError(f"must be n or [height, width], 16 to 4096 pixels (got {value!r})")
    return _pair(value)


AUGMENTS = ("none", "light", "medium", "strong")
AUGMENT_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\.ya?ml")


def _augment(value: str) -> str:
    if value not in AUGMENTS and not AUGMENT_FILE.fullmatch(value):
        hint = nearest(value, AUGMENTS)
        raise ValueError(f"{value!r} is neither a preset nor the name of a .yaml file{hint}")
    return value


ImageSize = Annotated[int | tuple[int, int], BeforeValidator(_image_size)]
ClassWeight = Annotated[float, Field(ge=0, le=1e6)]
ClassWeights = Annotated[
    tuple[ClassWeight, ...], BeforeValidator(_pair), Field(min_length=1, max_length=255)
]


class DataConfig(Settings):
    """What the network sees."""

    image_size: ImageSize = Field(256, description="pixels, n or [height, width]")
    fit: Literal["stretch", "pad"] = Field("stretch", description="how an image meets image_size")
    augment: Annotated[str, AfterValidator(_augment)] = Field(
        "light", description="none, light, medium, strong, or a file of albumentations' YAML"
    )
    normalize: Literal["imagenet", "encoder", "per_image", "none"] = Field(
        "imagenet", description="encoder: the mean and deviation its weights were trained with"
    )
    subset: float = Field(1.0, gt=0, le=1, description="share of the training images used")

    @property
    def height_width(self) -> tuple[int, int]:
        size = self.image_size
        return (size, size) if isinstance(size, int) else size


class ModelConfig(Settings):
    """Which network: names as in segmentation-models-pytorch. Networks give logits, always."""

    arch: str = Field("Unet", description="architecture")
    encoder_name: str = Field("resnet34", description="native, or tu-<name in timm>")
    encoder_weights: Literal["imagenet"] | None = Field("imagenet", description="null: random")
    encoder_depth: int = Field(5, ge=2, le=5, description="stages of the encoder")
    options: dict[str, OptionValue] = Field({}, description="arguments of that architecture")


class LossConfig(Settings):
    """Weights of the parts of the training loss; used divided by their sum."""

    dice: float = Field(1.0, ge=0, le=1e6)
    bce: float = Field(1.0, ge=0, le=1e6, description="two-class and multilabel tasks")
    ce: float = Field(0.0, ge=0, le=1e6, description="multiclass tasks")
    focal: float = Field(0.0, ge=0, le=1e6)
    jaccard: float = Field(0.0, ge=0, le=1e6)
    tversky: float = Field(0.0, ge=0, le=1e6)
    lovasz: float = Field(0.0, ge=0, le=1e6)
    focal_gamma: float = Field(2.0, ge=0, description="focusing exponent")
    tversky_alpha: float = Field(
        0.5, ge=0, le=1, description="weight of false alarms; misses have 1 - alpha"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="targets move this far inwards")
    class_weights: ClassWeights | None = Field(
        None, description="of each class in bce, ce and focal; multiclass and multilabel tasks"
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


class OptimConfig(Settings):
    """Optimiser and learning-rate schedule."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = Field(1e-3, gt=0, le=10)
    encoder_lr: float | None = Field(None, gt=0, le=10, description="overrides lr for the encoder")
    encoder_lr_scale: float | None = Field(None, gt=0, le=100, description="times lr, instead")
    decoder_lr: float | None = Field(None, gt=0, le=10, description="overrides lr for the rest")
    weight_decay: float = Field(1e-4, ge=0, le=1)
    momentum: float = Field(0.9, ge=0, lt=1, description="acts under sgd only")
    schedule: Literal["constant", "cosine", "onecycle", "poly"] = "cosine"
    warmup_epochs: float = Field(0.0, ge=0, description="linear, from 1 % of the rate")
    grad_clip: float | None = Field(5.0, gt=0, description="largest norm of the gradient")

    @model_validator(mode="after")
    def _one_encoder_rate(self) -> Self:
        if self.encoder_lr is not None and self.encoder_lr_scale is not None:
            raise ValueError("encoder_lr and encoder_lr_scale are both set; keep one")
        return self

    @property
    def rates(self) -> tuple[float, float]:
        """Peak learning rates of (encoder, everything else)."""
        scaled = self.lr * (1.0 if self.encoder_lr_scale is None else self.encoder_lr_scale)
        encoder = scaled if self.encoder_lr is None else self.encoder_lr
        return encoder, self.lr if self.decoder_lr is None else self.decoder_lr


class TrainConfig(Settings):
    """How long and how exactly."""

    epochs: int = Field(20, ge=1, le=10_000)
    batch_size: int = Field(8, ge=1, le=4096)
    patience: int | None = Field(None, ge=1, description="stop after this many epochs no better")
    freeze_encoder_epochs: int = Field(0, ge=0)
    ema_decay: float | None = Field(None, gt=0, lt=1, description="moving average of the weights")
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    compile: bool = Field(False, description="torch.compile; loses on short runs")
    seed: int | None = Field(None, ge=0, lt=2**32, description="null: study seed and trial number")
    checkpoint_s: float = Field(30.0, ge=0, description="seconds between resumable checkpoints")


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
    taken: dict[str, TakenConfig] = Field({}, description="fixed values from other studies")
    imports: Annotated[tuple[ImportConfig, ...], BeforeValidator(_pair)] = ()
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
