"""The flow specification as a model: what a flow is, what is promised of its steps, how they are recognised."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, model_validator

from ..dimension_values import DimensionValues
from ..observation import CHECKS_PER_STEP_LIMIT
from ..validation import raise_together
from .across_check import AcrossCheck
from .check import AnyCheck, ValueSpec
from .check_evaluation import Evaluate, compile_check
from .flow_rules import broken_rules
from .scalar_types import Duration, Name, PositiveInt, Ratio, StrictModel, Text, Title, Truth
from .span_match import SpanMatch, TextMatch

__all__ = [
    "AcrossCheck",
    "AlertRouting",
    "Bands",
    "Dimension",
    "FlowSpec",
    "SameWithin",
    "SpanMatch",
    "StepSpec",
    "TextMatch",
    "Timeliness",
    "Title",
]


class Bands(StrictModel):
    """Upper ends of the bands ``good`` and ``slow``; what is slower is ``very_slow``."""

    good: Duration | None = Field(default=None, description="Upper end of `good`; the target by default.")
    slow: Duration | None = Field(default=None, description="Upper end of `slow`; four targets by default.")


class Timeliness(StrictModel):
    """How fast the step must answer.

    An answer slower than the target is ``slow``; one at or beyond the timeout is ``timeout``. The bands
    only name how slow, for pages and reports: good, slow, very_slow. Their default, slow up to four
    times the target, is that of Apdex (https://www.apdex.org/wp-content/uploads/2020/09/ApdexTechnicalSpecificationV11_000.pdf).
    """

    target_seconds: Duration = Field(alias="target", description="An answer slower than this is slow.")
    objective: Ratio = Field(default=0.95, description="Share of answers that must not be slower than the target.")
    timeout: Duration | None = Field(
        default=None,
        description="An answer slower than this counts as none; by default 30s or ten targets, the longer.",
    )
    bands: Bands = Field(default=Bands(), description="Where slow ends and very slow begins.")

    @cached_property
    def timeout_seconds(self) -> float:
        """From how many seconds on an answer counts as none."""
        return max(30.0, 10 * self.target_seconds) if self.timeout is None else self.timeout

    @cached_property
    def good_seconds(self) -> float:
        """Upper end of the band ``good``."""
        return self.target_seconds if self.bands.good is None else self.bands.good

    @cached_property
    def slow_seconds(self) -> float:
        """Upper end of the band ``slow``; slower answers are ``very_slow``."""
        return max(self.good_seconds, 4 * self.target_seconds) if self.bands.slow is None else self.bands.slow

    def band(self, duration_seconds: float) -> Literal["good", "slow", "very_slow"]:
        """The band a duration falls into."""
        if duration_seconds <= self.good_seconds:
            return "good"
        return "slow" if duration_seconds <= self.slow_seconds else "very_slow"


class AlertRouting(StrictModel):
    """Who hears of a deviation."""

    owner: Text | None = Field(default=None, description="Team that handles it; the flow's owner by default.")
    severity: Literal["info", "warning", "critical"] | None = Field(default=None, description="By default `warning`.")
    notifiers: tuple[Name, ...] | None = Field(
        default=None, description="Names of notifiers of the configuration; by default all of them."
    )
    runbook: Text | None = Field(default=None, description="Link that the alert carries.")


class StepSpec(StrictModel):
    """One step of a flow."""

    name: Name = Field(description="Unique within the flow; figures are kept under it.")
    title: Title = Field(description="What people read.")
    description: Text | None = Field(default=None, description="What the customer does here.")
    optional: Truth = Field(default=False, description="Customers may leave the step out.")
    repeated: Truth = Field(default=False, description="Customers may pass the step several times in a row.")
    next: tuple[Name, ...] | None = Field(
        default=None,
        description=(
            "Steps that may follow; an empty list ends the flow. By default the step after this one in the list "
            "(and those after it, as long as they are optional)."
        ),
    )
    timeliness: Timeliness = Field(description="How fast the step must answer.")
    accuracy_objective: Ratio = Field(
        default=0.999, description="Share of answers that no check may find wrong, incomplete or stale."
    )
    stated_good_objective: Ratio | None = Field(
        default=None,
        alias="good_objective",
        description="Share of answers that must be fast, right and complete; by default the lower of the other two.",
    )
    values: dict[Name, ValueSpec] = Field(default={}, description="Values of the answer that checks use, by name.")
    checks: tuple[AnyCheck, ...] = Field(
        default=(), json_schema_extra={"maxItems": CHECKS_PER_STEP_LIMIT}, description="Accuracy checks."
    )
    match: tuple[SpanMatch, ...] = Field(default=(), description="How spans of this step are recognised; any of these.")
    alerts: AlertRouting | None = Field(
        default=None, description="Who hears of this step; by default as the flow says."
    )

    @cached_property
    def check_names(self) -> tuple[str, ...]:
        """Names of the checks, in their order."""
        return tuple(check.name for check in self.checks)

    @cached_property
    def evaluators(self) -> tuple[tuple[str, Evaluate], ...]:
        """Name and compiled evaluation of each check, in their order."""
        return tuple((check.name, compile_check(check, self.values)) for check in self.checks)

    @cached_property
    def good_objective(self) -> float:
        """Share of answers that must be fast, right and complete."""
        if self.stated_good_objective is not None:
            return self.stated_good_objective
        return min(self.timeliness.objective, self.accuracy_objective)


class Dimension(StrictModel):
    """A property of observations that figures are split by; the number of its values is bounded."""

    name: Name = Field(description="Unique within the flow.")
    title: Title | None = Field(default=None, description="What people read; the name by default.")
    values: tuple[Text, ...] | None = Field(default=None, description="Allowed values; any other becomes `other`.")
    limit: PositiveInt | None = Field(default=None, description="Most distinct values; later ones become `other`.")
    privacy: Literal["C1"] = Field(default="C1", description="Class of JR/T 0171-2020; only C1: kept in clear.")


class SameWithin(StrictModel):
    """How little a figure may change for a report to call it the same; a change within this does not matter here."""

    durations: Ratio = Field(
        default=0.05, description="Durations: 0.05 means 5 % longer, or what undoes that (4.8 %) shorter."
    )
    failures: Ratio = Field(
        default=0.25, description="Failures: 0.25 means a quarter more, or what undoes that (a fifth) fewer."
    )
    failure_share: Ratio = Field(
        default=0.0002,
        description="Failures that differ by less than this share of all answers are the same, however rare they are.",
    )


class FlowSpec(StrictModel):
    """A flow: one file of the specification."""

    name: Name = Field(description="Unique; the file should be called after it.")
    title: Title = Field(description="What people read.")
    description: Text | None = Field(default=None, description="What the customer wants.")
    owner: Text = Field(description="Team that answers for the flow.")
    dimensions: tuple[Dimension, ...] = Field(default=(), description="What figures are split by.", max_length=8)
    steps: tuple[StepSpec, ...] = Field(
        max_length=64, json_schema_extra={"minItems": 1}, description="Steps in the order customers take them."
    )
    across: tuple[AcrossCheck, ...] = Field(default=(), description="Checks between steps.", max_length=32)
    alerts: AlertRouting = Field(default=AlertRouting(), description="Who hears of this flow.")
    same_within: SameWithin = Field(default=SameWithin(), description="When reports call two periods the same.")

    @model_validator(mode="wrap")
    @classmethod
    def _whole(cls, data: Any, handler: Any) -> Any:
        if not isinstance(data, dict):
            return handler(data)
        return raise_together(cls.__name__, lambda: handler(data), list(broken_rules(data)))

    def model_post_init(self, context: Any, /) -> None:
        """Start counting the distinct values of dimensions."""
        del context
        # not a private attribute: pydantic takes two microseconds to find one
        self.__dict__["bounded_values"] = DimensionValues(
            (item.name, item.values, item.limit) for item in self.dimensions
        )

    @cached_property
    def bounded_values(self) -> DimensionValues:
        """The values of dimensions seen so far; made with the model, see :meth:`model_post_init`."""
        raise AttributeError("bounded_values")

    @cached_property
    def steps_by_name(self) -> dict[str, StepSpec]:
        """The steps by their names."""
        return {step.name: step for step in self.steps}

    def step(self, name: str) -> StepSpec:
        """The step called ``name``.

        Raises:
            KeyError: the flow has no such step.
        """
        return self.steps_by_name[name]

    def following(self, name: str) -> tuple[str, ...]:
        """Names of the steps that may come after step ``name``; empty when the flow ends there."""
        return following_steps(self.steps, name)

    @cached_property
    def ends(self) -> tuple[str, ...]:
        """Names of the steps at which the flow may end: nothing follows, or only what customers may leave out."""
        return tuple(step.name for step in self.steps if self._may_end(step.name, frozenset()))

    def _may_end(self, name: str, seen: frozenset[str]) -> bool:
        following = self.following(name)
        return not following or any(
            self.step(one).optional and one not in seen and self._may_end(one, seen | {name, one}) for one in following
        )

    def across_of(self, step: str) -> tuple[AcrossCheck, ...]:
        """The checks between steps that use a value of ``step``."""
        return tuple(check for check in self.across if step in (check.value_step, check.of_step))

    def dimension_values(self, given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """``(name, value)`` of every declared dimension, in declared order; never raises, safe from any thread.

        A missing value becomes ``unknown``; one that is not in the allowed list, is over the limit of
        distinct values, is longer than 64 characters or unprintable becomes ``other`` and is counted.
        The values seen first take the places of a limited dimension until the process ends.
        """
        return self.bounded_values.of(given)

    def dimension_overflow(self) -> dict[str, int]:
        """How many values of each dimension became ``other`` since the start."""
        return self.bounded_values.overflow()

    def alert_owner(self, step: str | None = None) -> str:
        """The team that handles an alert of ``step``, or of the flow as a whole."""
        routing = self._step_routing(step)
        return (routing and routing.owner) or self.alerts.owner or self.owner

    def alert_severity(self, step: str | None = None) -> Literal["info", "warning", "critical"]:
        """The severity of an alert of ``step``, or of the flow as a whole."""
        routing = self._step_routing(step)
        return (routing and routing.severity) or self.alerts.severity or "warning"

    def alert_notifiers(self, step: str | None = None) -> tuple[str, ...] | None:
        """Names of the notifiers for ``step``, or of the flow as a whole; None means all that are configured."""
        routing = self._step_routing(step)
        return routing.notifiers if routing and routing.notifiers is not None else self.alerts.notifiers

    def alert_runbook(self, step: str | None = None) -> str | None:
        """The link an alert carries."""
        routing = self._step_routing(step)
        return (routing and routing.runbook) or self.alerts.runbook

    def _step_routing(self, step: str | None) -> AlertRouting | None:
        return None if step is None or step not in self.steps_by_name else self.steps_by_name[step].alerts


def following_steps(steps: tuple[StepSpec, ...], name: str) -> tuple[str, ...]:
    """Names of the steps that may come after step ``name``, see ``StepSpec.next``."""
    position = next(index for index, step in enumerate(steps) if step.name == name)
    if steps[position].next is not None:
        return steps[position].next or ()
    result: list[str] = []
    for step in steps[position + 1 :]:
        result.append(step.name)
        if not step.optional:
            break
    return tuple(result)
