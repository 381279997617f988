"""Figures as values: what reports, pages and exports show, computed once in :mod:`.figures`.

Durations are seconds, ratios are 0–1, times are seconds since 1970 UTC. A figure that cannot be given is
``None`` and its ``reason`` says why. The field names are those of the JSON report; see
docs/reference/report.schema.json.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

__all__ = [
    "Amount",
    "Budget",
    "ChangeFigure",
    "ChangeStatus",
    "CheckFigures",
    "Comparison",
    "Conclusion",
    "Cost",
    "DataQuality",
    "Estimate",
    "FlowFigures",
    "Funnel",
    "FunnelStep",
    "MixSplit",
    "Part",
    "Passing",
    "Period",
    "StepConclusion",
    "StepDataQuality",
    "StepFigures",
]


@dataclass(frozen=True, slots=True)
class Period:
    """A span of time, ``end`` not included."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval.

    Attributes:
        value: The figure; ``None`` when there is none.
        low: Lower end of the interval; ``None`` when there are too few observations for one.
        high: Upper end.
        observations: Observations behind it.
        reason: Why value or interval is missing; empty when neither is.
    """

    value: float | None
    low: float | None
    high: float | None
    observations: int
    reason: str = ""


class ChangeStatus(StrEnum):
    """What the comparison of one figure with another period says."""

    WORSE = "worse"
    BETTER = "better"
    SAME = "same"  # the whole interval lies within the margin that the flow states
    NO_EVIDENCE = "no_evidence"  # not proof of equality: see ``detectable``
    UNCLEAR = "unclear"  # beyond its own interval, but not beyond what all comparisons together allow
    TOO_FEW = "too_few"  # too few observations to say anything
    NOT_COMPARED = "not_compared"


class Conclusion(StrEnum):
    """What a comparison says of a step in one word."""

    WORSE = "worse"
    BETTER = "better"
    SAME = "same"
    NOT_ENOUGH_DATA = "not_enough_data"  # neither a change nor sameness could be shown
    NOT_COMPARED = "not_compared"


@dataclass(frozen=True, slots=True)
class StepConclusion:
    """What is concluded of a step's latency or correctness, and which figure says so.

    ``figure`` is ``p50``, ``p95``, ``p99``, ``failures`` or ``check:NAME``.
    """

    conclusion: Conclusion
    figure: str


@dataclass(frozen=True, slots=True)
class ChangeFigure:
    """The change of one figure against the compared period.

    ``change``, ``low``, ``high`` and ``detectable`` are relative for durations (0.19 = +19 %) and differences of
    ratios for rates (0.01 = one percentage point). ``detectable`` is the smallest worsening that would have been
    called evidence in four of five such comparisons. ``margin`` is the change that still counts as the same: relative
    for durations, for rates relative to the failures; ``within_margin`` says whether the whole interval lies in it,
    which a change that is proven may do as well.
    """

    status: ChangeStatus
    before: float | None = None
    after: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    detectable: float | None = None
    observations_before: int = 0
    observations: int = 0
    blocks: int = 0
    reason: str = ""
    margin: float | None = None
    within_margin: bool = False


@dataclass(frozen=True, slots=True)
class Budget:
    """The error budget of a period: how many answers may be bad before the objective is missed.

    ``left`` is the share of the budget not used, 1 when untouched, negative when overspent.
    """

    objective: float
    allowed: float
    used: int
    left: float | None


@dataclass(frozen=True, slots=True)
class CheckFigures:
    """One accuracy check: how often it failed among the answers it could judge.

    ``unknown`` could not be told; ``skipped`` are observations of which it was not evaluated at all, because there was
    no answer or none was shown to it. That is ``None`` for checks between steps, which concern some observations only.
    """

    check: str
    passed: int
    failed: int
    unknown: int
    failure_rate: Estimate
    change: ChangeFigure
    skipped: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What one dimension value, or a pair, has to do with a change of durations.

    ``effect`` is its own relative change with its 95 % interval; ``share`` the part of the whole change it explains,
    which may exceed 1 when the rest improved.
    """

    dimensions: dict[str, str]
    effect: float
    effect_low: float
    effect_high: float
    share: float
    share_low: float
    share_high: float
    observations: int


@dataclass(frozen=True, slots=True)
class MixSplit:
    """A change of the mean logarithm of durations, split: ``within`` customers alike, and ``mix`` of customers.

    All three are relative changes; ``(1 + within) * (1 + mix) = 1 + total``. ``parts`` are the dimension values that
    changed differently from the rest, most explained first; none when all changed alike or nothing can be told.
    """

    total: float
    within: float
    mix: float
    parts: tuple[Part, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StepFigures:
    """One step, over all dimensions.

    ``observations`` counts all of them; ``answered`` those that got an answer, which the percentiles describe.
    ``simulated`` counts demonstration data among the observations. ``failures`` is the share of answers that were
    not right: wrong, incomplete, stale, abandoned, timed out or failed; a slow one is right. ``latency`` concludes from
    the percentiles, ``correctness`` from the failures and the checks.
    """

    step: str
    observations: int
    answered: int
    simulated: int
    p50: Estimate
    p95: Estimate
    p99: Estimate
    mean_seconds: float | None
    good: int
    good_rate: Estimate
    budget: Budget
    target_seconds: float
    verdicts: dict[str, int]
    checks: tuple[CheckFigures, ...]
    volume_before: int | None
    p50_change: ChangeFigure
    p95_change: ChangeFigure
    p99_change: ChangeFigure
    good_rate_change: ChangeFigure
    failures: Estimate
    failures_change: ChangeFigure
    latency: StepConclusion
    correctness: StepConclusion
    split: MixSplit | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the period is compared with. ``notes`` are codes of what makes the comparison weaker than it looks."""

    kind: str
    period: Period
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepDataQuality:
    """What the figures of a step do not show by themselves, counted in the hours that the period touches.

    ``late`` came after detection had judged their window, ``corrected`` had an impossible time and count at that of
    receipt, ``merged`` exceed the limit of series and count as “other”: all three are in the figures.
    ``duplicates`` are in them once. ``sent_back`` were refused for now and are in them if they were sent again;
    ``lost`` are not in them. ``checks_unknown`` and ``checks_skipped`` are results of the period, of all checks of the
    step. ``reasons`` has every amount by reason (``metrics.quality.Reason``). An empty ``step``: it was not known.
    """

    step: str
    late: int
    corrected: int
    merged: int
    duplicates: int
    sent_back: int
    lost: int
    checks_unknown: int
    checks_skipped: int
    reasons: dict[str, int]


@dataclass(frozen=True, slots=True)
class DataQuality:
    """How far the data can be trusted.

    ``windows`` is how many windows the period has so far, ``windows_with_data`` in how many of them there was any
    observation; ``first`` and ``last`` bound them. ``gaps`` are the longest spans without data, as
    ``(start, end)``. ``probe_observations`` are left out of all figures. ``unusable_durations`` were answered but
    had no usable duration, so they are in the rates and not in the percentiles. ``steps`` says what came late, twice
    or not at all; ``unplaced`` is what was left out, by reason, where no flow is known: it may be of this one or not.
    """

    windows: int
    windows_with_data: int
    first: float | None
    last: float | None
    gaps: tuple[tuple[float, float], ...]
    observations: int
    simulated: int
    probe_observations: int
    unusable_durations: int
    steps: tuple[StepDataQuality, ...] = ()
    unplaced: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Passing:
    """Where flow instances went from a step: ``to_step`` ``None`` when they ended there.

    ``direction`` is ``next``, ``ahead`` (steps left out), ``back``, ``again`` or ``end``; ``share`` is of all passings
    from the step, ``share_before`` that of the compared period.
    """

    to_step: str | None
    direction: str
    passings: int
    share: Estimate
    share_before: float | None = None


@dataclass(frozen=True, slots=True)
class FunnelStep:
    """How many flow instances passed a step, gave up there, and went where.

    ``given_up`` counts instances whose last step this was and that did not complete; its share is of those that
    reached the step, ``reached_share`` of all instances. ``hit`` had an answer here that was not good.
    """

    step: str
    reached: int
    reached_share: Estimate
    reached_change: ChangeFigure
    given_up: int
    given_up_share: Estimate
    given_up_change: ChangeFigure
    hit: int
    went: tuple[Passing, ...]


@dataclass(frozen=True, slots=True)
class Funnel:
    """The way of flow instances through the steps, of those that began in the period.

    An instance is complete when it got an answer at a step at which the flow may end; it is followed until it pauses
    for half an hour, for two hours at most. ``under_way`` are left out because they may go on. ``reason`` is empty, or
    ``none`` (observations carry no flow instance), ``under_way`` (none has ended yet), ``release`` (not told for
    releases), ``not_kept`` (part of the period is older than what is kept of single observations and was not counted
    before), or ``compared_not_kept`` (that is so of the compared period, and nothing is compared), or ``not_counted``
    (part of the period has not been counted yet, on pages that do not wait for it). ``start`` and ``end`` are those of
    the period, by full five minutes; up to now, the moment up to which was counted.
    """

    instances: int
    completed: int
    completion: Estimate
    completion_change: ChangeFigure
    began: tuple[Passing, ...]
    steps: tuple[FunnelStep, ...]
    instances_before: int | None = None
    simulated: int = 0
    under_way: int = 0
    reason: str = ""
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of something with its 95 % interval; below zero it is that many fewer."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What the answers that were not good cost customers, and what the change since the compared period did.

    ``…_hit`` had an answer that was not good. The amounts ``…_more`` and ``completions_lost`` are what there is beyond
    the compared period's share, at this period's traffic; ``None`` without a comparison. They say what changed, not
    that one cause is behind it. Customers are ``None`` when single observations of the period are not kept any more or
    carry no customer.
    """

    bad_answers: int
    bad_answers_more: Amount | None
    instances: int
    instances_hit: int
    hit_change: ChangeFigure
    instances_hit_more: Amount | None
    completions_lost: Amount | None
    customers: int | None = None
    customers_hit: int | None = None
    customers_hit_more: Amount | None = None


@dataclass(frozen=True, slots=True)
class FlowFigures:
    """All figures of one flow in one period. ``comparisons`` is how many changes were judged together.

    ``simulated_before`` counts demonstration data of the compared period. ``funnel`` and ``cost`` are ``None`` where
    they were not asked for.
    """

    flow: str
    period: Period
    compared: Comparison | None
    observations: int
    good: int
    good_rate: Estimate
    budget: Budget
    good_rate_change: ChangeFigure
    verdicts: dict[str, int]
    steps: tuple[StepFigures, ...]
    quality: DataQuality
    comparisons: int
    simulated_before: int = 0
    funnel: Funnel | None = None
    cost: Cost | None = None
