import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cxgauge.alerts.alert import (
    ALERTING,
    Alert,
    AlertState,
    Resolution,
    Severity,
    Silence,
    Transition,
    TransitionKind,
    alert_from_json,
    to_json,
)
from cxgauge.alerts.attribution import Attribution, Concentration
from cxgauge.alerts.guilty_step import DERIVED
from cxgauge.alerts.impact import Impact
from cxgauge.alerts.lifecycle import Lifecycle, LifecycleSettings, UnknownAlertError
from cxgauge.alerts.message import Event, event_of, events
from cxgauge.alerts.re_estimation import estimate_is_due
from cxgauge.metrics.detection.events import REBASED
from cxgauge.metrics.deviation import Deviation, DeviationKind, Scope
from cxgauge.metrics.verdict import Verdict

MakeDeviation = Callable[..., Deviation]
NOW = 1_767_235_500.0
STEPS = {"bill_inquiry": ("login", "total", "details"), "transfer": ("amount", "confirm")}


def new(silences: tuple[Silence, ...] = (), **changes: Any) -> Lifecycle:
    return Lifecycle(LifecycleSettings(**{"pending_seconds": 0.0, **changes}), STEPS, (), silences)


def only(lifecycle: Lifecycle) -> Alert:
    (alert,) = lifecycle.alerts.values()
    return alert


def kinds(transitions: list[Transition]) -> list[str]:
    return [transition.kind.value for transition in transitions]


def recovery(deviation: Deviation, **changes: Any) -> Deviation:
    return replace(deviation, kind=DeviationKind.RECOVERED, ends=deviation.kind, **changes)


def test_an_alert_waits_in_pending_and_then_fires(deviation: MakeDeviation) -> None:
    lifecycle = new(pending_seconds=60.0)
    assert kinds(lifecycle.apply([deviation()], NOW)) == ["opened"]
    assert only(lifecycle).state is AlertState.PENDING
    assert kinds(lifecycle.apply([], NOW + 60)) == ["fired"]
    assert only(lifecycle).fired_at == NOW + 60


def test_recovery_while_pending_tells_nobody(deviation: MakeDeviation) -> None:
    lifecycle = new(pending_seconds=600.0)
    lifecycle.apply([deviation()], NOW)
    assert kinds(lifecycle.apply([recovery(deviation())], NOW + 60)) == ["resolved"]
    assert only(lifecycle).resolution is Resolution.CANCELLED


def test_a_repeated_deviation_updates_without_a_transition(deviation: MakeDeviation) -> None:
    lifecycle = new()
    lifecycle.apply([deviation()], NOW)
    assert lifecycle.apply([deviation(ratio=1.2)], NOW + 60) == []
    assert only(lifecycle).lead.after == 1.2


def test_a_material_change_is_announced_once(deviation: MakeDeviation) -> None:
    lifecycle = new()
    lifecycle.apply([deviation(ratio=1.2)], NOW)
    assert kinds(lifecycle.apply([deviation(ratio=1.4)], NOW + 60)) == ["updated"]
    assert kinds(lifecycle.apply([deviation(ratio=1.41)], NOW + 120)) == []


@pytest.mark.parametrize("kind", sorted(set(DeviationKind) - ALERTING))
def test_reported_kinds_open_no_alert(deviation: MakeDeviation, kind: DeviationKind) -> None:
    lifecycle = new()
    assert lifecycle.apply([deviation(kind.value)], NOW) == []
    assert not lifecycle.alerts


def test_one_cause_is_one_alert_led_by_the_first_step_over_everyone(deviation: MakeDeviation) -> None:
    lifecycle = new(pending_seconds=120.0)
    lifecycle.apply([deviation(step="details"), deviation(dimensions=[("region", "north")])], NOW)
    lifecycle.apply([deviation("tail"), deviation(step=None)], NOW + 60)
    lifecycle.apply([deviation(), deviation("failing", check="verdict:slow")], NOW + 120)
    alert = only(lifecycle)
    assert alert.lead.scope == Scope("bill_inquiry", "total")
    assert alert.lead.kind is DeviationKind.SLOWER
    assert len(alert.members) == 6
    assert alert.state is AlertState.FIRING


def test_the_lead_stays_once_the_alert_fires(deviation: MakeDeviation) -> None:
    lifecycle = new()
    lifecycle.apply([deviation(step="details")], NOW)
    lifecycle.apply([deviation(step="login")], NOW + 60)
    assert only(lifecycle).lead.scope.step == "details"
    assert len(only(lifecycle).members) == 2


def test_slow_answers_and_wrong_answers_are_two_alerts(deviation: MakeDeviation) -> None:
    lifecycle = new()
    wrong = deviation("failing", step="details", check="details_present")
    lifecycle.apply([deviation(), wrong], NOW)
    assert len(lifecycle.alerts) == 2


def test_errors_join_either(deviation: MakeDeviation) -> None:
    lifecycle = new()
    lifecycle.apply([deviation("failing", check="verdict:wrong")], NOW)
    lifecycle.apply([deviation("failing", step="details", check="verdict:abandoned")], NOW + 60)
    assert len(only(lifecycle).members) == 2


def test_a_later_onset_is_a_cause_of_its_own(deviation: MakeDeviation) -> None:
    lifecycle = new(group_seconds=600.0)
    lifecycle.apply([deviation()], NOW)
    lifecycle.apply([deviation(step="details", began=NOW + 3600)], NOW + 3700)
    assert len(lifecycle.alerts) == 2


def test_flows_do_not_group(deviation: MakeDeviation) -> None:
    lifecycle = new()
    lifecycle.apply([deviation(), deviation(flow="transfer", step="amount")], NOW)
    assert len(lifecycle.alerts) == 2


def test_a_silent_source_explains_the_silence_of_steps_of_every_flow(deviation: MakeDeviation) -> None:
    lifecycle = new()
    source = deviation("silent", flow="", step="source", dimensions=[("name", "gateway")])
    silent = [deviation("silent"), deviation("silent", flow="transfer", step="amount"), source]
    lifecycle.apply(silent, NOW)
    assert only(lifecycle).lead.scope == source.scope
    assert len(only(lifecycle).members) == 3


def test_an_alert_is_over_when_every_scope_has_recovered(deviation: MakeDeviation) -> None:
    lifecycle = new()
    total, details = deviation(), deviation(step="details")
    lifecycle.apply([total, details], NOW)
    assert kinds(lifecycle.apply([recovery(total)], NOW + 60)) == ["recovered"]
    assert kinds(lifecycle.apply([recovery(details)], NOW + 120)) == ["resolved"]
    assert only(lifecycle).resolution is Resolution.RECOVERED
    assert only(lifecycle).resolved_at == NOW + 120


def test_a_recovery_without_a_kind_ends_all_kinds_of_its_scope_and_no_other(deviation: MakeDeviation) -> None:
    lifecycle = new()
    lifecycle.apply([deviation(), deviation("tail"), deviation(step="details")], NOW)
    lifecycle.apply([replace(recovery(deviation()), ends=None)], NOW + 60)
    over = {
        member.deviation.kind.value: member.recovered_at for member in only(lifecycle).members if member.recovered_at
    }
    assert over == {"slower": NOW + 60, "tail": NOW + 60}


@pytest.mark.parametrize(
    ("concentration", "over"), [(Concentration.EVERYONE, True), (None, True), (Concentration.SOME, False)]
)
def test_sub_populations_end_with_the_whole_unless_the_change_is_theirs(
    deviation: MakeDeviation, concentration: Concentration | None, over: bool
) -> None:
    lifecycle = new()
    lifecycle.apply([deviation(), deviation(dimensions=[("region", "north")])], NOW)
    found = None if concentration is None else Attribution(concentration, 0.1, 0.1, 0.0)
    lifecycle.attach(only(lifecycle).id, found, None)
    lifecycle.apply([recovery(deviation())], NOW + 60)
    assert only(lifecycle).is_open is not over


def test_a_provisional_lead_waits_for_a_plainer_one(deviation: MakeDeviation) -> None:
    lifecycle = new(settle_seconds=60.0)
    assert kinds(lifecycle.apply([deviation(step=None)], NOW)) == ["opened"]
    assert kinds(lifecycle.apply([deviation()], NOW + 30)) == ["joined", "fired"]
    assert only(lifecycle).lead.scope.step == "total"


def test_unnamed_failures_count_as_what_most_of_them_are(deviation: MakeDeviation) -> None:
    lifecycle = new()
    lifecycle.apply([deviation()], NOW)
    wrong = {"dominant_verdict": float(Verdict.WRONG)}
    lifecycle.apply([deviation("failing", step="details", evidence=wrong)], NOW)
    assert len(lifecycle.alerts) == 2
    lifecycle.apply([deviation("failing", step=None, evidence=wrong)], NOW)
    assert {alert.lead.kind.value: len(alert.members) for alert in lifecycle.alerts.values()} == {
        "slower": 1,
        "failing": 2,
    }


def test_a_rebased_level_is_accepted_by_nobody(deviation: MakeDeviation) -> None:
    lifecycle = new()
    lifecycle.apply([deviation()], NOW)
    lifecycle.apply([recovery(deviation(), evidence={REBASED: 1.0})], NOW + 60)
    assert only(lifecycle).resolution is Resolution.ACCEPTED
    assert only(lifecycle).accepted_by is None


@pytest.mark.parametrize("kind", ["slower", "tail", "failing"])
def test_places_of_one_cause_are_taken_for_normal_one_after_the_other(deviation: MakeDeviation, kind: str) -> None:
    lifecycle = new()
    first, second = deviation(kind), deviation(kind, step="details")
    lifecycle.apply([first, second], NOW)
    lifecycle.apply([recovery(first, evidence={REBASED: 1.0})], NOW + 60)
    assert only(lifecycle).is_open
    lifecycle.apply([recovery(second, evidence={REBASED: 1.0})], NOW + 120)
    assert only(lifecycle).resolution is Resolution.ACCEPTED


@pytest.mark.parametrize("kind", ["faster", "improving", "volume", "mix", "creep"])
def test_what_is_reported_only_makes_no_alert(deviation: MakeDeviation, kind: str) -> None:
    lifecycle = new()
    assert lifecycle.apply([deviation(kind, ratio=0.5)], NOW) == []
    assert lifecycle.alerts == {}


# --- one cause, whatever crosses first ------------------------------------------------------------------


def test_a_derived_step_leads_and_ends_with_what_it_was_derived_from(deviation: MakeDeviation) -> None:
    lifecycle = new()
    whole = deviation(step=None)
    lifecycle.apply([whole, deviation(step="total", evidence={DERIVED: 6.0})], NOW)
    assert [member.deviation.scope.step for member in only(lifecycle).members] == ["total", None]
    lifecycle.apply([recovery(whole)], NOW + 600)
    assert only(lifecycle).resolution is Resolution.RECOVERED


def test_a_derived_step_that_is_found_by_itself_must_end_by_itself(deviation: MakeDeviation) -> None:
    lifecycle = new()
    whole, step = deviation(step=None), deviation(step="total")
    lifecycle.apply([whole, deviation(step="total", evidence={DERIVED: 6.0})], NOW)
    lifecycle.apply([step], NOW + 60)
    lifecycle.apply([recovery(whole)], NOW + 600)
    assert only(lifecycle).is_open
    lifecycle.apply([recovery(step)], NOW + 660)
    assert only(lifecycle).resolution is Resolution.RECOVERED


# --- sizes estimated anew -------------------------------------------------------------------------------


def sized(deviation: MakeDeviation, ratio: float, **changes: Any) -> Deviation:
    return deviation(ratio=ratio, **changes)


def test_a_new_estimate_is_kept_and_tells_nobody(deviation: MakeDeviation) -> None:
    lifecycle = new()
    lifecycle.apply([deviation()], NOW)
    told = only(lifecycle).sequence
    for number, ratio in enumerate((1.15, 1.22, 1.12, 1.05), start=1):
        assert lifecycle.re_estimate(sized(deviation, ratio), only(lifecycle).id, NOW + 900 * number) == []
    alert = only(lifecycle)
    assert alert.sequence == told
    assert [round(math.exp(size.effect), 2) for size in alert.history] == [1.19, 1.15, 1.22, 1.12, 1.05]
    assert [size.at for size in alert.history] == [NOW, *(NOW + 900 * number for number in range(1, 5))]
    assert alert.lead.effect == math.log(1.05)


def test_only_what_is_surely_and_much_worse_is_told_and_once(deviation: MakeDeviation) -> None:
    lifecycle = new()
    lifecycle.apply([deviation()], NOW)
    unsure = deviation(ratio=1.35, effect_low=math.log(1.2))
    assert lifecycle.re_estimate(unsure, only(lifecycle).id, NOW + 900) == []
    worse = lifecycle.re_estimate(deviation(ratio=1.6), only(lifecycle).id, NOW + 1800)
    assert [each.kind for each in worse] == [TransitionKind.UPDATED]
    assert only(lifecycle).severity is Severity.CRITICAL
    assert lifecycle.re_estimate(deviation(ratio=1.62), only(lifecycle).id, NOW + 2700) == []


def test_the_history_of_sizes_is_bounded_and_keeps_the_first(deviation: MakeDeviation) -> None:
    lifecycle = new()
    lifecycle.apply([deviation()], NOW)
    for number in range(300):
        lifecycle.re_estimate(sized(deviation, 1.1), only(lifecycle).id, NOW + 900 * (number + 1))
    history = only(lifecycle).history
    assert len(history) == 100
    assert history[0].effect == math.log(1.19)
    assert history[-1].at == NOW + 900 * 300
    assert alert_from_json(to_json(only(lifecycle))) == only(lifecycle)


def test_impact_goes_into_the_history(deviation: MakeDeviation, impact: Impact) -> None:
    lifecycle = new()
    lifecycle.apply([deviation()], NOW)
    lifecycle.attach(only(lifecycle).id, None, impact)
    assert [(size.customers, size.completions_lost) for size in only(lifecycle).history] == [(1204, 31.0)]


def test_a_new_estimate_is_due_every_fifteen_windows_and_later_every_sixty(deviation: MakeDeviation) -> None:
    lifecycle = new()
    lifecycle.apply([deviation()], NOW)
    due = []
    for minute in range(1, 400):
        now = NOW + 60 * minute
        if estimate_is_due(only(lifecycle), now, 60.0):
            due.append(minute)
            lifecycle.re_estimate(sized(deviation, 1.1), only(lifecycle).id, now)
    assert due == [15, 30, 45, 60, 75, 90, 105, 120, 180, 240, 300, 360]
    lifecycle.apply([recovery(deviation())], NOW + 60 * 400)
    assert not estimate_is_due(only(lifecycle), NOW + 60 * 500, 60.0)


def test_coming_back_soon_reopens_the_same_alert(deviation: MakeDeviation) -> None:
    lifecycle = new(reopen_seconds=600.0)
    lifecycle.apply([deviation()], NOW)
    lifecycle.acknowledge(only(lifecycle).id, "wang", NOW + 10)
    lifecycle.apply([recovery(deviation())], NOW + 60)
    assert kinds(lifecycle.apply([deviation(began=NOW + 100)], NOW + 300)) == ["reopened"]
    assert only(lifecycle).state is AlertState.FIRING
    assert only(lifecycle).acknowledged_by is None


def test_coming_back_late_is_a_new_alert(deviation: MakeDeviation) -> None:
    lifecycle = new(reopen_seconds=600.0)
    lifecycle.apply([deviation()], NOW)
    lifecycle.apply([recovery(deviation())], NOW + 60)
    lifecycle.apply([deviation(began=NOW + 1000)], NOW + 1200)
    assert len(lifecycle.alerts) == 2
    lifecycle.forget(NOW + 1200)
    assert [alert.opened_at for alert in lifecycle.alerts.values()] == [NOW + 1200]


def test_an_accepted_level_does_not_reopen(deviation: MakeDeviation) -> None:
    lifecycle = new()
    lifecycle.apply([deviation()], NOW)
    first = only(lifecycle).id
    assert kinds(lifecycle.accept(first, "wang", NOW + 10, "new release")) == ["accepted", "resolved"]
    lifecycle.apply([deviation()], NOW + 60)
    assert len(lifecycle.alerts) == 2
    assert lifecycle.alerts[first].accepted_by == "wang"


def test_people_leave_traces(deviation: MakeDeviation) -> None:
    lifecycle = new()
    lifecycle.apply([deviation()], NOW)
    id_ = only(lifecycle).id
    trail = [
        *lifecycle.acknowledge(id_, "wang", NOW + 1, "looking"),
        *lifecycle.assign(id_, "li", "wang", NOW + 2),
        *lifecycle.comment(id_, "release 8.2.0?", "li", NOW + 3),
    ]
    assert [(each.kind.value, each.by, each.note, each.sequence) for each in trail] == [
        ("acknowledged", "wang", "looking", 3),
        ("assigned", "wang", "li", 4),
        ("commented", "li", "release 8.2.0?", 5),
    ]
    assert (only(lifecycle).acknowledged_by, only(lifecycle).assignee) == ("wang", "li")


def test_what_is_not_open_cannot_be_acknowledged(deviation: MakeDeviation) -> None:
    lifecycle = new()
    lifecycle.apply([deviation()], NOW)
    with pytest.raises(UnknownAlertError) as caught:
        lifecycle.acknowledge("nonsense", "wang", NOW)
    assert str(caught.value) == f"alert 'nonsense' is not open; open alerts: {only(lifecycle).id}"


def test_severity_of_a_deviation_and_its_escalation(deviation: MakeDeviation) -> None:
    lifecycle = new(material_change=100.0)
    lifecycle.apply([deviation(ratio=1.2)], NOW)
    assert only(lifecycle).severity is Severity.WARNING
    assert kinds(lifecycle.apply([deviation(ratio=1.6)], NOW + 60)) == ["updated"]
    assert only(lifecycle).severity is Severity.CRITICAL
    assert lifecycle.apply([deviation(ratio=1.2)], NOW + 120) == []
    assert only(lifecycle).severity is Severity.CRITICAL


def test_a_reminder_until_somebody_acknowledges(deviation: MakeDeviation) -> None:
    lifecycle = new(remind_seconds=3600.0)
    lifecycle.apply([deviation()], NOW)
    assert kinds(lifecycle.apply([], NOW + 3599)) == []
    assert kinds(lifecycle.apply([], NOW + 3600)) == ["reminded"]
    assert kinds(lifecycle.apply([], NOW + 7199)) == []
    lifecycle.acknowledge(only(lifecycle).id, "wang", NOW + 7199)
    assert kinds(lifecycle.apply([], NOW + 9000)) == []


def silence(**changes: Any) -> Silence:
    values: dict[str, Any] = {
        "id": "s1",
        "starts_at": NOW - 60,
        "ends_at": NOW + 600,
        "author": "wang",
        "comment": "drill",
    }
    return Silence(**{**values, **changes})


def test_a_silenced_alert_is_kept_and_told_of_when_the_silence_ends(deviation: MakeDeviation) -> None:
    lifecycle = new((silence(flow="bill_*"),))
    first = lifecycle.apply([deviation()], NOW)
    assert kinds(first) == ["opened", "muted", "fired"]
    assert [event_of(each, only(lifecycle)) for each in first] == [None, None, None]
    ended = lifecycle.apply([], NOW + 600)
    assert [event_of(each, only(lifecycle)) for each in ended] == [Event.FIRING]


def test_an_alert_that_ends_within_its_silence_is_never_told_of(deviation: MakeDeviation) -> None:
    lifecycle = new((silence(),))
    lifecycle.apply([deviation()], NOW)
    ended = lifecycle.apply([recovery(deviation())], NOW + 60)
    assert kinds(ended) == ["resolved"]
    assert event_of(ended[0], only(lifecycle)) is None


def test_the_end_is_told_whenever_the_beginning_was(deviation: MakeDeviation) -> None:
    lifecycle = new((silence(starts_at=NOW + 60),))
    lifecycle.apply([deviation()], NOW)
    lifecycle.mark_told(only(lifecycle).id)
    ended = lifecycle.apply([recovery(deviation())], NOW + 120)
    assert [event_of(each, only(lifecycle)) for each in ended] == [Event.RESOLVED]


@pytest.mark.parametrize(
    ("changes", "matches"),
    [
        ({}, True),
        ({"flow": "bill_inquiry", "step": "total", "kind": "slower"}, True),
        ({"flow": "transfer"}, False),
        ({"step": "details"}, False),
        ({"kind": "silent"}, False),
        ({"dimensions": (("region", "north"),)}, True),
        ({"dimensions": (("region", "south"),)}, False),
        ({"starts_at": NOW + 1}, False),
        ({"ends_at": NOW}, False),
    ],
)
def test_what_a_silence_matches(deviation: MakeDeviation, changes: dict[str, Any], matches: bool) -> None:
    lifecycle = new()
    lifecycle.apply([deviation(dimensions=[("region", "north")])], NOW)
    assert silence(**changes).matches(only(lifecycle), NOW) is matches


def test_infinite_effects_are_bounded(deviation: MakeDeviation) -> None:
    lifecycle = new()
    silent = deviation("silent", effect=-math.inf, effect_low=-math.inf, effect_high=math.nan, evidence={"x": math.inf})
    lifecycle.apply([silent], NOW)
    assert only(lifecycle).lead.effect == -math.log(1e6)
    assert alert_from_json(to_json(only(lifecycle))) == only(lifecycle)


def make(kind: DeviationKind, scope: Scope, now: float, began: float, effect: float) -> Deviation:
    return Deviation(kind, scope, now, began, began - 60, began + 60, effect, effect, effect, 1.0, 1.2, 10, 100)


LEGAL = {
    None: {AlertState.PENDING},
    AlertState.PENDING: {AlertState.PENDING, AlertState.FIRING, AlertState.RESOLVED},
    AlertState.FIRING: {AlertState.FIRING, AlertState.RESOLVED},
    AlertState.RESOLVED: {AlertState.RESOLVED, AlertState.FIRING},  # reopened
}


class LifecycleMachine(RuleBasedStateMachine):
    """Two lifecycles get the same: one lives on, one is written and read back before every step."""

    scopes = st.builds(
        Scope,
        st.sampled_from(["bill_inquiry", "transfer"]),
        st.sampled_from([None, "total", "details"]),
        st.sampled_from([(), (("region", "north"),)]),
        st.sampled_from([None, "verdict:slow", "verdict:wrong", "verdict:error"]),
    )

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.settings = LifecycleSettings(
            pending_seconds=120.0, group_seconds=300.0, reopen_seconds=600.0, remind_seconds=900.0
        )
        self.silences = (silence(flow="transfer", starts_at=NOW + 300, ends_at=NOW + 1200),)
        self.living = Lifecycle(self.settings, STEPS, (), self.silences)
        self.stored: list[str] = []
        self.states: dict[str, AlertState] = {}
        self.sequences: dict[str, int] = {}
        self.told: dict[str, list[Event]] = {}
        self.members_seen = 0

    def both(self, act: Callable[[Lifecycle], list[Transition]]) -> list[Transition]:
        again = Lifecycle(self.settings, STEPS, [alert_from_json(text) for text in self.stored], self.silences)
        transitions = act(self.living)
        assert act(again) == transitions
        assert again.alerts == self.living.alerts
        for transition in transitions:
            assert transition.sequence == self.sequences.get(transition.alert_id, 0) + 1
            self.sequences[transition.alert_id] = transition.sequence
        for id_, event in events(transitions, self.living.alerts).items():
            self.living.mark_told(id_)
            again.mark_told(id_)
            self.told.setdefault(id_, []).append(event)
        for alert in self.living.alerts.values():
            before = self.states.get(alert.id)
            if before is None and alert.state is not AlertState.PENDING:
                before = AlertState.PENDING
            assert alert.state in LEGAL[before]
            self.states[alert.id] = alert.state
        self.stored = [to_json(alert) for alert in self.living.alerts.values()]
        return transitions

    @rule(
        found=st.lists(
            st.tuples(st.sampled_from(sorted(ALERTING)), scopes, st.integers(0, 900), st.floats(0.01, 2.0)), max_size=4
        ),
        wait=st.sampled_from([60, 60, 60, 300]),
    )
    def window(self, found: list[tuple[DeviationKind, Scope, int, float]], wait: int) -> None:
        self.now += wait
        given = [make(kind, scope, self.now, self.now - ago, effect) for kind, scope, ago, effect in found]
        self.both(lambda lifecycle: lifecycle.apply(given, self.now))
        known = {
            (member.deviation.kind, member.deviation.scope)
            for alert in self.living.alerts.values()
            if alert.is_open
            for member in alert.members
        }
        assert {(each.kind, each.scope) for each in given} <= known

    @precondition(lambda self: any(alert.is_open for alert in self.living.alerts.values()))
    @rule(data=st.data(), wait=st.sampled_from([0, 60, 600]))
    def recover(self, data: st.DataObject, wait: int) -> None:
        self.now += wait
        members = [member for alert in self.living.alerts.values() if alert.is_open for member in alert.members]
        chosen = data.draw(st.lists(st.sampled_from(members), min_size=1, max_size=3))
        over = [recovery(member.deviation) for member in chosen]
        self.both(lambda lifecycle: lifecycle.apply(over, self.now))

    @precondition(lambda self: any(alert.is_open for alert in self.living.alerts.values()))
    @rule(data=st.data(), act=st.sampled_from(["acknowledge", "assign", "comment", "accept"]))
    def hand(self, data: st.DataObject, act: str) -> None:
        id_ = data.draw(st.sampled_from([alert.id for alert in self.living.alerts.values() if alert.is_open]))
        match act:
            case "acknowledge":
                self.both(lambda lifecycle: lifecycle.acknowledge(id_, "wang", self.now))
            case "assign":
                self.both(lambda lifecycle: lifecycle.assign(id_, "li", "wang", self.now))
            case "comment":
                self.both(lambda lifecycle: lifecycle.comment(id_, "hm", "wang", self.now))
            case _:
                self.both(lambda lifecycle: lifecycle.accept(id_, "wang", self.now))

    @invariant()
    def a_scope_is_in_one_open_alert(self) -> None:
        seen = [
            (member.deviation.kind, member.deviation.scope)
            for alert in self.living.alerts.values()
            if alert.is_open
            for member in alert.members
        ]
        assert len(seen) == len(set(seen))

    @invariant()
    def open_alerts_have_a_member_that_lasts(self) -> None:
        for alert in self.living.alerts.values():
            lasting = any(member.recovered_at is None for member in alert.members)
            assert lasting or not alert.is_open
            assert (alert.resolved_at is not None) == (alert.resolution is not None) == (not alert.is_open)

    @invariant()
    def every_end_has_a_beginning(self) -> None:
        for told in self.told.values():
            fires = told.count(Event.FIRING)
            assert told[0] is Event.FIRING
            assert fires - 1 <= told.count(Event.RESOLVED) <= fires


TestLifecycleMachine = LifecycleMachine.TestCase
TestLifecycleMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
