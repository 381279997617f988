"""Checks between two steps of one flow instance."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from ..verdict import Verdict
from .scalar_types import Duration, Name, StrictModel, Title, refuse

__all__ = ["AcrossCheck"]

_STEP_VALUE = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")


def _step_value(value: object) -> str:
    if not isinstance(value, str) or not _STEP_VALUE.fullmatch(value):
        raise refuse("is not step.value; write e.g. bill_total.total")
    return value


StepValue = Annotated[
    str, BeforeValidator(_step_value), WithJsonSchema({"type": "string", "pattern": f"^{_STEP_VALUE.pattern}$"})
]


class AcrossCheck(StrictModel):
    """A check between two steps of one flow instance, judged on keyed tokens when the later answer arrives.

    ``value`` and ``of`` are written ``step.value`` and name declared values. ``equals``: both are equal;
    ``sum_equals``: ``value`` is the sum of all of ``of``; ``contains``: ``value`` is among ``of``. Tokens allow
    no tolerance. If the other side has not arrived ``within`` the time, the result is unknown.
    """

    name: Name = Field(description="Unique within the flow; figures are kept under it.")
    kind: Literal["equals", "sum_equals", "contains"] = Field(description="What is compared.")
    title: Title | None = Field(default=None, description="What people read; the name by default.")
    value: StepValue = Field(description="The one value, as `step.value`.")
    of: StepValue = Field(description="The other value or values, as `step.value`.")
    within: Duration = Field(default="30m", validate_default=True, description="How long to wait for the other side.")
    verdict: Literal["wrong", "incomplete", "stale"] | None = Field(
        default=None, description="What a failure means; wrong by default."
    )
    step: Name | None = Field(
        default=None,
        description="Step that the check is listed first with; by default the step of `of`. "
        "The result is recorded with the later answer, of either step.",
    )

    @property
    def value_step(self) -> str:
        """Step of ``value``."""
        return self.value.partition(".")[0]

    @property
    def value_name(self) -> str:
        """Name of ``value`` within its step."""
        return self.value.partition(".")[2]

    @property
    def of_step(self) -> str:
        """Step of ``of``."""
        return self.of.partition(".")[0]

    @property
    def of_name(self) -> str:
        """Name of ``of`` within its step."""
        return self.of.partition(".")[2]

    @property
    def counted_step(self) -> str:
        """Step that the check is listed first with; the result is recorded with the later answer, of either step."""
        return self.step or self.of_step

    @property
    def failure_verdict(self) -> Verdict:
        """The verdict that a failure of this check means."""
        return Verdict.WRONG if self.verdict is None else Verdict[self.verdict.upper()]
