"""Settings about earlier studies: imported trials, copied values, and priors of the search."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from harness.core.settings import StrictSettings


def _to_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class ImportConfig(StrictSettings):
    """Trials that a study imported from an earlier one."""

    study: str
    # The name alone is not enough: the study may have been deleted and started again.
    id: str | None = Field(None, description="id of the earlier study; written by harness")
    trials: Annotated[tuple[int, ...], BeforeValidator(_to_tuple)] = Field(
        (), description="their numbers in that study, in the order of the first trials of this one"
    )
    left_out: dict[str, Annotated[tuple[int, ...], BeforeValidator(_to_tuple)]] = Field(
        {}, description="numbers of incompatible trials, by reason"
    )


class PriorConfig(StrictSettings):
    """Good configurations of an earlier study on other data, near which a study draws."""

    study: str
    id: str | None = Field(None, description="id of the earlier study; written by harness")
    first: int = Field(0, ge=0, description="number of its configurations among the first trials")
    rows: Annotated[tuple[dict[str, Any], ...], BeforeValidator(_to_tuple)] = Field(
        (), description="configurations in this study's space, the best first; written by harness"
    )


class ValueSourceConfig(StrictSettings):
    """Origin of a fixed value: the best trial of another study when this one started."""

    study: str
    id: str
    trial: int
    value: str | int | float | bool | list[Any] | None
