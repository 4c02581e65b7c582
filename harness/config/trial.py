"""Groups of settings of a trial, except `loss` and `data`.

The metadata of each field gives the condition under which it has an effect, and a second value for
a test (`harness.core.settings.field_effect`).
"""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from harness.core.settings import StrictSettings, field_effect

Scalar = str | int | float | bool | None
OptionValue = Scalar | list[Any]


def to_tuple(value: Any) -> Any:
    """Convert a list to a tuple, which cannot change in a frozen model; return others unchanged."""
    return tuple(value) if isinstance(value, list) else value


# Weights of the native encoders of segmentation-models-pytorch 0.6; a test compares them. Names are
# closed, since an unknown text only warns for encoders of timm.
EncoderWeightsName = Literal[
    "imagenet",
    "advprop",
    "imagenet+5k",
    "imagenet+background",
    "instagram",
    "noisy-student",
    "noisy-student-475",
    "ssl",
    "swsl",
]


class ModelConfig(StrictSettings):
    """Network, with names as in segmentation-models-pytorch. All networks return logits."""

    arch: str = Field(
        "Unet", description="architecture", json_schema_extra=field_effect("always", "Linknet")
    )
    encoder_name: str = Field(
        "resnet34",
        description="native name, or tu-<name in timm>",
        json_schema_extra=field_effect("under architectures with an encoder", "resnet18"),
    )
    encoder_weights: EncoderWeightsName | None = Field(
        "imagenet",
        description="null: random; names other than imagenet: some native encoders only (harness "
        "check shows licences); for tu- encoders use a tag in their name, tu-<name>.<tag>",
        json_schema_extra=field_effect("at the start of the training, in the encoder", None),
    )
    encoder_depth: int = Field(
        5,
        ge=2,
        le=5,
        description="stages of the encoder",
        json_schema_extra=field_effect("under architectures with an encoder", 4),
    )
    options: dict[str, OptionValue] = Field(
        {},
        description="arguments of the architecture's constructor",
        json_schema_extra=field_effect(
            "under architectures with these options", {"decoder_attention_type": "scse"}
        ),
    )


class OptimConfig(StrictSettings):
    """Optimiser and learning-rate schedule."""

    name: Literal["adamw", "adam", "sgd"] = Field(
        "adamw", json_schema_extra=field_effect("always", "sgd")
    )
    lr: float = Field(
        1e-3,
        gt=0,
        le=10,
        json_schema_extra=field_effect("on all weights without a separate rate", 3e-3),
    )
    encoder_lr: float | None = Field(
        None,
        gt=0,
        le=10,
        description="overrides lr for the encoder",
        json_schema_extra=field_effect("where set: on the encoder, unless frozen", 1e-4),
    )
    encoder_lr_scale: float | None = Field(
        None,
        gt=0,
        le=100,
        description="factor of lr for the encoder, instead of encoder_lr",
        json_schema_extra=field_effect(
            "where set: on the encoder, unless it is frozen or encoder_lr is set", 0.1
        ),
    )
    decoder_lr: float | None = Field(
        None,
        gt=0,
        le=10,
        description="overrides lr for the rest",
        json_schema_extra=field_effect("where set: on all weights except the encoder's", 3e-3),
    )
    weight_decay: float = Field(
        1e-4,
        ge=0,
        le=1,
        json_schema_extra=field_effect("on kernels and matrices; never on biases and norms", 0.1),
    )
    momentum: float = Field(
        0.9,
        ge=0,
        lt=1,
        description="share of the previous step that is added to a step",
        json_schema_extra=field_effect("under sgd", 0.5, needs={"optim.name": "sgd"}),
    )
    schedule: Literal["constant", "cosine", "onecycle", "poly"] = Field(
        "cosine", json_schema_extra=field_effect("at every step", "onecycle")
    )
    warmup_epochs: float = Field(
        0.0,
        ge=0,
        description="epochs of linear rise from 1 % of the rate",
        json_schema_extra=field_effect(
            "before the schedule; under onecycle it is the length of the rising part", 0.5
        ),
    )
    grad_clip: float | None = Field(
        5.0,
        gt=0,
        description="largest norm of the gradient",
        json_schema_extra=field_effect("if the norm of the gradient is larger", 0.1),
    )

    @model_validator(mode="after")
    def _check_encoder_rates(self) -> Self:
        if self.encoder_lr is not None and self.encoder_lr_scale is not None:
            raise ValueError("encoder_lr and encoder_lr_scale are both set; keep one")
        return self

    @property
    def peak_rates(self) -> tuple[float, float]:
        """Peak learning rates of (encoder, everything else)."""
        scaled = self.lr * (1.0 if self.encoder_lr_scale is None else self.encoder_lr_scale)
        encoder = scaled if self.encoder_lr is None else self.encoder_lr
        return encoder, self.lr if self.decoder_lr is None else self.decoder_lr


# At this rate no epoch is better than the first few, so a small patience ends the training.
_DIVERGENT_SETTINGS = {"optim.lr": 10.0, "optim.grad_clip": None, "train.epochs": 6}


class TrainConfig(StrictSettings):
    """Length, batch size and precision of the training."""

    epochs: int = Field(
        20,
        ge=1,
        le=10_000,
        json_schema_extra=field_effect("always: the length of training and schedule", 3),
    )
    batch_size: int = Field(
        8,
        ge=1,
        le=4096,
        json_schema_extra=field_effect("in training; metrics do not depend on it", 4),
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="stop after this many epochs without improvement",
        json_schema_extra=field_effect(
            "where set: after this many epochs without improvement", 1, needs=_DIVERGENT_SETTINGS
        ),
    )
    freeze_encoder_epochs: int = Field(
        0,
        ge=0,
        json_schema_extra=field_effect("in the first epochs: the encoder is not trained", 1),
    )
    ema_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="moving average of the weights",
        json_schema_extra=field_effect("where set: in validation and in the saved weights", 0.9),
    )
    precision: Literal["auto", "bf16", "fp16", "fp32"] = Field(
        "auto",
        json_schema_extra=field_effect(
            "in training; auto: bf16 if the device supports it, fp16 on other GPUs, fp32 otherwise",
            "bf16",
        ),
    )
    compile: bool = Field(
        False,
        description="torch.compile; slower for short trainings",
        json_schema_extra=field_effect("in training", True, speed=True),
    )
    seed: int | None = Field(
        None,
        ge=0,
        lt=2**32,
        description="null: derived from the study's seed and the trial's number",
        json_schema_extra=field_effect("in initial weights, order, augmentation and dropout", 1),
    )
    checkpoint_s: float = Field(
        30.0,
        ge=0,
        description="seconds between resumable checkpoints",
        json_schema_extra=field_effect("after each step and epoch", 0.0, speed=True),
    )
