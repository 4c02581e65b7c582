"""Settings that a study has from earlier studies: imported trials, and fixed values."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from harness.core.settings import StrictSettings


def _to_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class ImportConfig(StrictSettings):
    """Trials that a study imported from an earlier one."""

    study: str
    id: str | None = Field(None, description="of the earlier study; written by harness")
    trials: Annotated[tuple[int, ...], BeforeValidator(_to_tuple)] = Field(
        (), description="their numbers there, in the order in which they come first here"
    )
    left_out: dict[str, Annotated[tuple[int, ...], BeforeValidator(_to_tuple)]] = Field(
        {}, description="numbers of those that do not fit, by reason"
    )


class ValueSourceConfig(StrictSettings):
    """Origin of a fixed value: the best trial of another study."""

    study: str
    id: str
    trial: int
    value: str | int | float | bool | list[Any] | None
