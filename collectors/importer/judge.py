"""The verdict of an imported row: what the row says, and what the step's specification says of its duration."""

from __future__ import annotations

from collections.abc import Mapping

from ...metrics.observation import SeriesKey, check_bits
from ...metrics.specification.flow import FlowSpec, StepSpec
from ...metrics.verdict import CheckResult, Verdict, worst

__all__ = ["StepJudge"]


class StepJudge:
    """Judges rows of one step; answers are not in the file, so checks are taken as the file has them."""

    def __init__(self, flow: FlowSpec, step: StepSpec) -> None:
        self._flow = flow
        self._step = step
        meanings = {check.name: check.failure_verdict for check in step.checks}
        meanings |= {check.name: check.failure_verdict for check in flow.across if check.counted_step == step.name}
        self._meanings = meanings
        self._checks = tuple(meanings)
        self._series: dict[tuple[tuple[str, str], ...], SeriesKey] = {}

    def judge(
        self, duration_seconds: float, stated: Verdict | None, results: Mapping[str, CheckResult]
    ) -> tuple[Verdict, int]:
        """The worst of what the row states, what its checks mean and what its duration means; and the check bits.

        Results of checks that the step does not declare are left out.
        """
        timeliness = self._step.timeliness
        found = [stated] if stated is not None else []
        if duration_seconds >= timeliness.timeout_seconds:
            found.append(Verdict.TIMEOUT)
        elif duration_seconds > timeliness.target_seconds:
            found.append(Verdict.SLOW)
        if not results:
            return worst(found), 0
        ordered = [results.get(name, CheckResult.NOT_EVALUATED) for name in self._checks]
        found += [
            self._meanings[name]
            for name, result in zip(self._checks, ordered, strict=True)
            if result is CheckResult.FAIL
        ]
        return worst(found), check_bits(ordered)

    def series(self, given: Mapping[str, str | None]) -> SeriesKey:
        """The series of a row with these dimension values; values are bounded as the flow says."""
        values = self._flow.dimension_values({name: value for name, value in given.items() if value is not None})
        key = self._series.get(values)
        if key is None:
            key = self._series[values] = SeriesKey(self._flow.name, self._step.name, values, self._checks)
        return key
