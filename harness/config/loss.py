"""The weights and options of the training loss, and those of losses that others have registered."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    ModelWrapValidatorHandler,
    Tag,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ValidationInfo

from harness.config.components import Component, get_components
from harness.config.trial import to_tuple
from harness.core.settings import ALLOW_UNREGISTERED, StrictSettings, field_effect

BUILTIN_LOSSES = ("dice", "bce", "ce", "focal", "jaccard", "tversky", "lovasz")


def _check_balanced(value: Any) -> Any:
    if value != "balanced":
        raise ValueError(
            f"must be balanced, null, or a list of a number for each class (got {value!r})"
        )
    return value


ClassWeight = Annotated[float, Field(ge=0, le=1e6)]
ClassWeights = Annotated[  # a tag per branch: one message for each mistake, not one per branch
    Annotated[
        tuple[ClassWeight, ...],
        BeforeValidator(to_tuple),
        Field(min_length=1, max_length=255),
        # Below a function that comes first, pydantic writes the lengths of a text.
        WithJsonSchema(
            {
                "type": "array",
                "items": {"type": "number", "minimum": 0, "maximum": 1e6},
                "minItems": 1,
                "maxItems": 255,
            }
        ),
        Tag("[numbers]"),
    ]
    | Annotated[Literal["balanced"], BeforeValidator(_check_balanced), Tag("[word]")],
    Discriminator(lambda value: "[word]" if isinstance(value, str) else "[numbers]"),
]
_WEIGHT_ADAPTER: TypeAdapter[float] = TypeAdapter(
    Annotated[float, Field(ge=0, le=1e6)], config=ConfigDict(strict=True, allow_inf_nan=False)
)


class LossConfig(StrictSettings):
    """Weights of the parts of the training loss; used divided by their sum.

    A loss of the user's own has its weight under its name and its options as `<name>_<option>`;
    both are there, with their defaults, as soon as it is registered.
    """

    model_config = ConfigDict(extra="allow")

    dice: float = Field(
        1.0, ge=0, le=1e6, json_schema_extra=field_effect("where above 0; beside another part", 0.5)
    )
    bce: float = Field(
        1.0,
        ge=0,
        le=1e6,
        description="two-class and multilabel tasks",
        json_schema_extra=field_effect("two-class and multilabel tasks, where above 0", 0.5),
    )
    ce: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="cross-entropy of the task: softmax in multiclass tasks, else as bce; a space "
        "that names it alone has no bce beside it",
        json_schema_extra=field_effect("where above 0", 1.0, needs={"loss.bce": 0.0}),
    )
    focal: float = Field(0.0, ge=0, le=1e6, json_schema_extra=field_effect("where above 0", 1.0))
    jaccard: float = Field(0.0, ge=0, le=1e6, json_schema_extra=field_effect("where above 0", 1.0))
    tversky: float = Field(0.0, ge=0, le=1e6, json_schema_extra=field_effect("where above 0", 1.0))
    lovasz: float = Field(0.0, ge=0, le=1e6, json_schema_extra=field_effect("where above 0", 1.0))
    focal_gamma: float = Field(
        2.0,
        ge=0,
        description="focusing exponent",
        json_schema_extra=field_effect("under loss.focal", 0.5, needs={"loss.focal": 1.0}),
    )
    tversky_alpha: float = Field(
        0.5,
        ge=0,
        le=1,
        description="weight of false alarms; misses have 1 - alpha",
        json_schema_extra=field_effect("under loss.tversky", 0.9, needs={"loss.tversky": 1.0}),
    )
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="targets move this far inwards",
        json_schema_extra=field_effect("under loss.bce, loss.ce and loss.focal", 0.1),
    )
    class_weights: ClassWeights | None = Field(
        None,
        description="of each class in bce, ce and focal, in multiclass and multilabel tasks; "
        "balanced: the rarer a class in the training masks, the more (median frequency balancing)",
        json_schema_extra=field_effect(
            "under loss.bce, loss.ce and loss.focal, of several classes",
            [1.0, 5.0, 0.5],
            task="multiclass",
            needs={"loss.bce": 0.0, "loss.ce": 1.0},
        ),
    )

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of the settings, those of registered losses last."""
        return (*cls.model_fields, *_registered_loss_settings())

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each part with a weight above 0, divided by their sum."""
        raw = {name: float(getattr(self, name)) for name in loss_names()}
        raw = {name: value for name, value in raw.items() if value > 0}
        return {name: value / math.fsum(raw.values()) for name, value in raw.items()}

    @model_validator(mode="wrap")
    @classmethod
    def _add_registered_losses(
        cls, value: Any, build: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        """Fill in and check the settings of registered losses, with all problems of the group."""
        if not isinstance(value, dict) or (info.context or {}).get(ALLOW_UNREGISTERED):
            return build(value)
        registered_settings = _registered_loss_settings()
        extra = {key: setting for key, setting in value.items() if key not in cls.model_fields}
        problems = [
            InitErrorDetails(type=PydanticCustomError(*problem), loc=(key,), input=setting)
            for key, setting in extra.items()
            if (problem := _loss_setting_problem(key, setting, registered_settings)) is not None
        ]
        try:
            config = build(
                {key: default for key, (*_, default) in registered_settings.items()} | value
            )
        except ValidationError as error:
            problems = [*(_rebuild_error(item) for item in error.errors()), *problems]
        if problems:
            raise ValidationError.from_exception_data("LossConfig", problems)
        return config

    @model_validator(mode="after")
    def _check_weights(self, info: ValidationInfo) -> Self:
        if (info.context or {}).get(ALLOW_UNREGISTERED):
            return self
        if not any(getattr(self, name, 0) for name in loss_names()):
            raise ValueError(f"all weights are 0; set one of {', '.join(loss_names())} above 0")
        if isinstance(self.class_weights, tuple) and not any(self.class_weights):
            raise ValueError("class_weights: all are 0; set one above 0")
        return self


def loss_names() -> tuple[str, ...]:
    """Every loss that can have a weight: ours, then those that others have registered."""
    return (
        *BUILTIN_LOSSES,
        *(name for name in get_components("loss") if name not in BUILTIN_LOSSES),
    )


def pixel_losses(argument: Literal["label_smoothing", "class_weights"]) -> tuple[str, ...]:
    """The losses in which that setting acts."""
    others = [part.name for part in get_components("loss").values() if part.accepts(argument)]
    return ("bce", "ce", "focal", *(name for name in others if name not in BUILTIN_LOSSES))


def find_loss_setting(key: str) -> tuple[Component, str | None] | None:
    """The registered loss that a setting below `loss.` is of, and its option; None: ours.

    The option of a weight is None.
    """
    entry = _registered_loss_settings().get(key)
    return None if entry is None else entry[:2]


def _registered_loss_settings() -> dict[str, tuple[Component, str | None, Any]]:
    """The settings of losses that are not ours, each with its loss, option and default."""
    settings: dict[str, tuple[Component, str | None, Any]] = {}
    for component in get_components("loss").values():
        if component.name not in BUILTIN_LOSSES:
            settings[component.name] = (component, None, 0.0)
            for option, argument in component.options.items():
                settings[f"{component.name}_{option}"] = (component, option, argument.default)
    return settings


def _loss_setting_problem(
    key: str, value: Any, registered_settings: dict[str, tuple[Component, str | None, Any]]
) -> tuple[Any, Any] | None:
    """Type and message of what is wrong with a setting that is not ours; None: nothing."""
    if key not in registered_settings:
        return "extra_forbidden", "Extra inputs are not permitted"
    component, option, _ = registered_settings[key]
    if option is not None:
        message = component.option_problem(option, value)
        return None if message is None else ("value_error", message)
    try:
        _WEIGHT_ADAPTER.validate_python(value)
    except ValidationError as error:
        return error.errors()[0]["type"], error.errors()[0]["msg"]
    return None


def _rebuild_error(item: Any) -> InitErrorDetails:
    """A problem that was found already, to be raised beside others."""
    kind = PydanticCustomError(item["type"], item["msg"])
    return InitErrorDetails(type=kind, loc=item["loc"], input=item["input"])
