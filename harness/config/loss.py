"""Settings of the training loss: weights and options of every loss of the catalogue."""

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

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
    create_model,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ValidationInfo

from harness.config.catalogue import (
    BUILTIN_LOSS_ENTRIES,
    BUILTIN_LOSSES,
    LossEntry,
    LossOption,
    PixelSetting,
)
from harness.config.components import find_component, losses
from harness.config.trial import to_tuple
from harness.core.settings import ALLOW_UNREGISTERED, StrictSettings, field_effect


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


def _weight_field(entry: LossEntry) -> Any:
    effect = field_effect(entry.effect, entry.alternative, needs=entry.needs)
    description = entry.description
    return Field(
        entry.default_weight, ge=0, le=1e6, description=description, json_schema_extra=effect
    )


def _option_field(entry: LossEntry, option: LossOption) -> Any:
    effect = field_effect(
        f"under loss.{entry.name}", option.alternative, needs={f"loss.{entry.name}": 1.0}
    )
    return Field(
        option.default,
        ge=option.low,
        le=option.high,
        description=option.description or None,
        json_schema_extra=effect,
    )


# The fields come from the catalogue, so that a new loss needs no line here. Their order is that of
# the legal keys and of the documentation: weights, then options.
if TYPE_CHECKING:  # mypy cannot see fields that are created from the catalogue

    class _CatalogueSettings(StrictSettings):
        def __getattr__(self, name: str) -> Any: ...

else:
    _CatalogueSettings = create_model(
        "_CatalogueSettings",
        __base__=StrictSettings,
        **{name: (float, _weight_field(entry)) for name, entry in BUILTIN_LOSS_ENTRIES.items()},
        **{
            entry.option_key(option): (option.annotation, _option_field(entry, option))
            for entry in BUILTIN_LOSS_ENTRIES.values()
            for option in entry.options
        },
    )


class LossConfig(_CatalogueSettings):
    """Weights of the losses, used divided by their sum, and their options.

    A registered loss has its weight under its name and its options as `<name>_<option>`; both have
    their defaults as soon as it is registered.
    """

    model_config = ConfigDict(extra="allow")

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
        # Pydantic checks only declared fields. The problems of the other settings are gathered here
        # and raised together with those of the fields, so that a user sees all of them.
        extra = {key: setting for key, setting in value.items() if key not in cls.model_fields}
        problems = [
            InitErrorDetails(type=PydanticCustomError(*problem), loc=(key,), input=setting)
            for key, setting in extra.items()
            if (problem := _loss_setting_problem(key, setting)) is not None
        ]
        try:
            config = build(_registered_loss_settings() | value)
        except ValidationError as error:
            problems = [*(_rebuild_error(item) for item in error.errors()), *problems]
        if problems:
            raise ValidationError.from_exception_data("LossConfig", problems)
        return config

    @model_validator(mode="after")
    def _check_weights(self, info: ValidationInfo) -> Self:
        if (info.context or {}).get(ALLOW_UNREGISTERED):
            return self
        entries = [entry for name, entry in losses().items() if getattr(self, name, 0)]
        if all(entry.needs_partner for entry in entries):
            names = ", ".join(name for name, entry in losses().items() if not entry.needs_partner)
            alone = " and ".join(entry.name for entry in entries)
            problem = f"{alone} cannot be the only loss" if entries else "all weights are 0"
            raise ValueError(f"{problem}; set one of {names} above 0")
        if isinstance(self.class_weights, tuple) and not any(self.class_weights):
            raise ValueError("class_weights: all are 0; set one above 0")
        return self


def loss_names() -> tuple[str, ...]:
    """Every loss that can have a weight, the built-in ones first."""
    return tuple(losses())


def pixel_losses(setting: PixelSetting) -> tuple[str, ...]:
    """The losses in which that setting acts."""
    return tuple(name for name, entry in losses().items() if setting in entry.pixel_settings)


def find_loss_setting(key: str) -> tuple[LossEntry, LossOption | None] | None:
    """The loss that has this setting below `loss.`, and the option; the option of a weight is None.

    None for a setting of all losses, and for an unknown one.
    """
    for name, entry in losses().items():
        if key == name:
            return entry, None
        for option in entry.options:
            if key == entry.option_key(option):
                return entry, option
    return None


def _registered_loss_settings() -> dict[str, Any]:
    """The settings of losses that users and packages registered, with their defaults."""
    return {
        key: default
        for name, entry in losses().items()
        if name not in BUILTIN_LOSSES
        for key, default in (
            (name, entry.default_weight),
            *((entry.option_key(option), option.default) for option in entry.options),
        )
    }


def _loss_setting_problem(key: str, value: Any) -> tuple[Any, Any] | None:
    """Type and message of what is wrong with a setting that is no field; None if it is right."""
    setting = find_loss_setting(key)
    if setting is None:
        return "extra_forbidden", "Extra inputs are not permitted"
    entry, option = setting
    if option is not None:
        message = find_component("loss", entry.name).option_problem(option.name, value)
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
