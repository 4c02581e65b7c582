"""Settings of the training loss: weights and options of all losses in the catalogue."""

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
            f"must be balanced, null, or a list with a number for each class (got {value!r})"
        )
    return value


ClassWeight = Annotated[float, Field(ge=0, le=1e6)]
ClassWeights = Annotated[  # a tag per branch: one message for each mistake, not one per branch
    Annotated[
        tuple[ClassWeight, ...],
        BeforeValidator(to_tuple),
        Field(min_length=1, max_length=255),
        # After a BeforeValidator pydantic's schema has minLength and maxLength, those of a text.
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
# Registered losses have no field, so their weights are validated separately, by the same rule.
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
    """Weights of the losses and their options. Training divides the weights by their sum.

    The weight of a registered loss has the name of the loss, its options are `<name>_<option>`;
    both have defaults as soon as the loss is registered.
    """

    # Registered losses are not known when this class is created; `_add_registered_losses` refuses
    # every other unknown key.
    model_config = ConfigDict(extra="allow")

    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="targets are moved inwards by this value",
        json_schema_extra=field_effect("under loss.bce, loss.ce and loss.focal", 0.1),
    )
    class_weights: ClassWeights | None = Field(
        None,
        description="weight of each class in bce, ce and focal, in multiclass and multilabel "
        "tasks; balanced: larger for classes with fewer training pixels (median frequency "
        "balancing)",
        json_schema_extra=field_effect(
            "under loss.bce, loss.ce and loss.focal, with several classes",
            [1.0, 5.0, 0.5],
            task="multiclass",
            needs={"loss.bce": 0.0, "loss.ce": 1.0},
        ),
    )

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the settings, those of registered losses last."""
        return (*cls.model_fields, *_registered_loss_settings())

    @property
    def weights(self) -> dict[str, float]:
        """Weights above 0 by loss, divided by their sum."""
        raw = {name: float(getattr(self, name)) for name in loss_names()}
        raw = {name: value for name, value in raw.items() if value > 0}
        return {name: value / math.fsum(raw.values()) for name, value in raw.items()}

    @model_validator(mode="wrap")
    @classmethod
    def _add_registered_losses(
        cls, value: Any, build: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        """Add defaults of registered losses, and report their problems with those of the fields."""
        if not isinstance(value, dict) or (info.context or {}).get(ALLOW_UNREGISTERED):
            return build(value)
        # Pydantic checks declared fields only. The problems of other settings are collected here
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
        # Without any weight above 0 the list is empty, for which `all` is True as well.
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
    """Names of all losses, the built-in ones first."""
    return tuple(losses())


def pixel_losses(setting: PixelSetting) -> tuple[str, ...]:
    """Names of the losses that use a setting."""
    return tuple(name for name, entry in losses().items() if setting in entry.pixel_settings)


def find_loss_setting(key: str) -> tuple[LossEntry, LossOption | None] | None:
    """Loss and option of a setting below `loss.`; the option is None for the weight of the loss.

    None for a shared setting such as `label_smoothing`, and for an unknown one.
    """
    # Compared with complete keys, not split at an underscore: names of losses contain some.
    for name, entry in losses().items():
        if key == name:
            return entry, None
        for option in entry.options:
            if key == entry.option_key(option):
                return entry, option
    return None


def _registered_loss_settings() -> dict[str, Any]:
    """Settings of losses that users and packages registered, with their defaults."""
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
    """Type and message of the problem of a setting without a field; None if it is legal."""
    setting = find_loss_setting(key)
    if setting is None:  # as pydantic reports it, so that `validate_settings` suggests a key
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
    """Convert a problem of a ValidationError, so that it can be raised again with others."""
    # The original types need their context (`gt`, `expected`, …), so the final message is passed.
    kind = PydanticCustomError(item["type"], item["msg"])
    return InitErrorDetails(type=kind, loc=item["loc"], input=item["input"])
