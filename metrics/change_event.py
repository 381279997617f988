"""What happened around the flows: deployments, configuration changes, campaigns, incidents, maintenance.

Such events explain nothing by themselves; they are listed beside alerts that began near them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["EVENT_KINDS", "ChangeEvent", "EventKindName"]

EventKindName = Literal["deployment", "configuration", "campaign", "incident", "maintenance"]
EVENT_KINDS: tuple[EventKindName, ...] = get_args(EventKindName)

_EARLIEST, _LATEST = 0.0, 4_102_444_800.0  # 1970 to 2100


def _clean(text: str) -> str:
    if any(character < " " or character == "\x7f" for character in text):
        raise ValueError("contains control characters; write it in one line")
    return text


Line = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_clean)]
Value = (
    Annotated[str, Field(max_length=1024), AfterValidator(_clean)]
    | bool
    | Annotated[int, Field(ge=-(2**53), le=2**53)]
    | Annotated[float, Field(allow_inf_nan=False)]
)


class ChangeEvent(BaseModel):
    """One event; times carry their zone. It must not hold secrets or data of customers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: EventKindName = Field(description="What kind of event it is.")
    title: Line = Field(description="What people read, in one line.")
    at: AwareDatetime | None = Field(
        default=None, description="When it began, with its zone; by default when it is received."
    )
    ended_at: AwareDatetime | None = Field(default=None, description="When it ended, if it lasted and has ended.")
    flow: Line | None = Field(default=None, description="The flow it concerns; by default all.")
    step: Line | None = Field(default=None, description="The step it concerns; by default all steps of the flow.")
    version: Line | None = Field(default=None, description="The version that was put into service.")
    details: dict[Line, Value] = Field(default={}, max_length=32, description="Anything else worth keeping.")
    id: Line | None = Field(
        default=None,
        description="Id of the event, unique in its flow: sent again, the event is changed instead of doubled.",
    )

    @field_validator("at", "ended_at")
    @classmethod
    def _of_this_age(cls, moment: Any) -> Any:
        if moment is not None:
            try:
                seconds = moment.timestamp()
            except (OverflowError, ValueError, OSError):
                seconds = -1.0
            if not _EARLIEST <= seconds < _LATEST:
                raise ValueError("is not between 1970 and 2100; send when it happened")
        return moment

    @model_validator(mode="after")
    def _whole(self) -> ChangeEvent:
        if self.step is not None and self.flow is None:
            raise ValueError("step needs a flow; name it, or leave step out")
        if self.ended_at is not None and self.at is None:
            raise ValueError("ended_at needs at; send when it began as well")
        if self.ended_at is not None and self.at is not None and self.ended_at < self.at:
            raise ValueError("ended_at is before at; swap them")
        return self
