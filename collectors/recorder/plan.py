"""Flow specifications as the recorder uses them: look-ups made once."""

from __future__ import annotations

from ...metrics.specification.flow import FlowSpec, StepSpec

__all__ = ["FlowPlan", "StepPlan"]


class StepPlan:
    """A step as the recorder uses it."""

    __slots__ = ("across", "check_names", "name", "required_next", "spec")

    def __init__(self, flow: FlowSpec, spec: StepSpec) -> None:
        self.name = spec.name
        self.spec = spec
        self.check_names = spec.check_names
        self.across = bool(flow.across_of(spec.name))
        if self.across:  # checks between steps come after the step's own
            from ..across import checks_of

            self.check_names = checks_of(flow, spec)[0]
        following = (flow.step(name) for name in flow.following(spec.name))
        self.required_next = next((step.name for step in following if not step.optional), None)


class FlowPlan:
    """A flow as the recorder uses it."""

    __slots__ = ("first", "name", "spec", "steps")

    def __init__(self, spec: FlowSpec) -> None:
        self.name = spec.name
        self.spec = spec
        self.steps = {step.name: StepPlan(spec, step) for step in spec.steps}
        self.first = next((step.name for step in spec.steps if not step.optional), None)

    def next_expected(self, passed: list[str]) -> str | None:
        """The step a customer who passed these steps would have to pass next; None when the flow may end here.

        A flow that passed a step after which nothing is required has reached an end, whatever was repeated later.
        """
        if any(self.steps[name].required_next is None for name in passed):
            return None
        expected = self.steps[passed[-1]].required_next if passed else self.first
        for _ in self.steps:
            if expected is None or expected not in passed:
                break
            expected = self.steps[expected].required_next
        return expected
