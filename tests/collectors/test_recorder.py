"""The recorder as a host uses it: what it records, and that it never disturbs the host."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from cxgauge.collectors.customer_token import CustomerKey, CustomerTokens
from cxgauge.collectors.recorder.plan import FlowPlan
from cxgauge.collectors.recorder.recorder import Recorder
from cxgauge.collectors.spool import ResumePoint, SpoolReader, SpoolWriter
from cxgauge.metrics.observation import SeriesKey, Source, check_results
from cxgauge.metrics.specification.flow import FlowSpec, parse_flow
from cxgauge.metrics.verdict import CheckResult, Verdict

FLOW = """
name: bill_inquiry
title: {en: Bill inquiry, zh: 账单查询}
owner: cards
dimensions:
  - {name: channel, values: [app, web]}
  - {name: app_version, limit: 3}
steps:
  - name: bill_total
    title: {en: Bill total, zh: 账单总额}
    timeliness: {target: 1.0s, timeout: 10s}
  - name: bill_details
    title: {en: Bill details, zh: 账单明细}
    repeated: true
    timeliness: {target: 1.0s}
    checks:
      - {name: details_present, kind: present, value: $.details}
      - {name: total_is_sum, kind: sum_equals, value: $.total, of: "$.details[*].amount"}
  - name: dispute
    title: {en: Dispute, zh: 争议}
    optional: true
    timeliness: {target: 1.0s}
"""
BILL = {"total": "3.00", "details": [{"amount": "1.00"}, {"amount": "2.00"}]}


class Clock:
    """Wall time and a monotonic timer that tests move together."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def wall(self) -> float:
        return 1_800_000_000.0 + self.seconds

    def timer(self) -> int:
        return round(self.seconds * 1e9)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Desk:
    """A recorder with a spool of its own, and what it has written."""

    def __init__(self, path: Path, flows: str | None = FLOW, **options: Any) -> None:
        self.path = path
        self.clock = Clock()
        specs: dict[str, FlowSpec] = {} if flows is None else {"bill_inquiry": parse_flow(flows, "bill.yml")}
        options.setdefault("spool", lambda: SpoolWriter(path, "test", minimum_free_bytes=0))
        self.recorder = Recorder(flows=specs, clock=self.clock.wall, timer=self.clock.timer, **options)

    def written(self) -> list[tuple[SeriesKey, Any]]:
        """Everything in the spool, as series and record."""
        assert self.recorder.flush(30)
        reader = SpoolReader(self.path)
        found = []
        for source in reader.sources():
            for batch in reader.read(source, ResumePoint()).batches:
                found += [(batch.series[record["series"]], record) for record in batch.records]
        return found

    def verdicts(self) -> list[tuple[str, Verdict]]:
        return [(key.step, Verdict(record["verdict"])) for key, record in self.written()]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "spool")
    yield made
    made.recorder.close(30)


def pass_all(desk: Desk) -> None:
    """Pass both required steps, a second each."""
    with desk.recorder.flow("bill_inquiry", channel="app") as flow:
        for name in ("bill_total", "bill_details"):
            with flow.step(name):
                desk.clock.sleep(0.5)


def test_a_step_is_recorded_with_series_time_and_duration(desk: Desk) -> None:
    with desk.recorder.flow("bill_inquiry", channel="app", app_version="8.1.0") as flow, flow.step("bill_total"):
        desk.clock.sleep(0.25)
    (key, record), *_ = desk.written()
    assert key == SeriesKey("bill_inquiry", "bill_total", (("channel", "app"), ("app_version", "8.1.0")))
    assert record["duration_seconds"] == 0.25
    assert record["observed_at_us"] == 1_800_001_000_250_000
    assert record["source"] == Source.RECORDER
    assert desk.recorder.drops() == {}


def test_slow_and_timed_out_by_the_steps_targets(desk: Desk) -> None:
    for seconds in (1.0, 1.001, 10.0):
        with desk.recorder.flow("bill_inquiry", instance="x") as flow, flow.step("bill_total"):
            desk.clock.sleep(seconds)
    assert [verdict for _, verdict in desk.verdicts()] == [Verdict.GOOD, Verdict.SLOW, Verdict.TIMEOUT]


def test_checks_judge_the_answer_and_nothing_of_it_is_kept(desk: Desk) -> None:
    answers = [BILL, {"total": "3.01", "details": BILL["details"]}, {"total": "3.00", "details": []}]
    with desk.recorder.flow("bill_inquiry", instance="x") as flow:
        for answer in answers:
            with flow.step("bill_details") as step:
                step.answer(answer)
    records = [record for _, record in desk.written()]
    assert [Verdict(record["verdict"]) for record in records] == [Verdict.GOOD, Verdict.WRONG, Verdict.INCOMPLETE]
    assert check_results(int(records[1]["checks"]), 2) == (CheckResult.PASS, CheckResult.FAIL)
    for segment in desk.path.rglob("*.segment"):
        assert b"3.01" not in segment.read_bytes()


def test_the_duration_ends_when_the_answer_is_handed_over(desk: Desk) -> None:
    with desk.recorder.flow("bill_inquiry", instance="x") as flow, flow.step("bill_details") as step:
        desk.clock.sleep(0.5)
        step.answer(BILL)
        desk.clock.sleep(5)
    ((_, record),) = desk.written()
    assert record["duration_seconds"] == 0.5
    assert record["verdict"] == Verdict.GOOD


def test_an_answer_may_be_judged_later(tmp_path: Path) -> None:
    desk = Desk(tmp_path, judge_later=True)
    with desk.recorder.flow("bill_inquiry", instance="x") as flow, flow.step("bill_details") as step:
        step.answer({"total": "1", "details": [{"amount": "2"}]})
    assert desk.verdicts() == [("bill_details", Verdict.WRONG)]
    desk.recorder.close()


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (ValueError("x"), Verdict.ERROR),
        (KeyboardInterrupt(), Verdict.ERROR),
        (TimeoutError(), Verdict.TIMEOUT),
        (concurrent.futures.TimeoutError(), Verdict.TIMEOUT),
        (asyncio.CancelledError(), Verdict.ABANDONED),
        (GeneratorExit(), Verdict.ABANDONED),
    ],
)
def test_an_exception_is_a_verdict_and_goes_on_untouched(desk: Desk, error: BaseException, verdict: Verdict) -> None:
    @desk.recorder.flow_of("bill_inquiry")
    def inquiry() -> None:
        with desk.recorder.step("bill_details") as step:
            step.answer(BILL)
            desk.clock.sleep(2)
            raise error

    with pytest.raises(type(error)) as caught:
        inquiry()
    assert caught.value is error
    ((key, record),) = desk.written()
    assert (key.step, record["verdict"], record["duration_seconds"]) == ("bill_details", verdict, 2.0)
    assert record["checks"] == 0


def test_configured_exceptions_mean_timeout(tmp_path: Path) -> None:
    class HostTimeout(Exception):  # noqa: N818
        pass

    class SlowCore(Exception):  # noqa: N818
        pass

    desk = Desk(tmp_path, timeout_exceptions=[HostTimeout, f"{__name__}.{SlowCore.__qualname__}"])
    for kind in (HostTimeout, SlowCore):
        with contextlib.suppress(kind), desk.recorder.flow("bill_inquiry") as flow, flow.step("bill_total"):
            raise kind
    assert desk.verdicts() == [("bill_total", Verdict.TIMEOUT)] * 2
    desk.recorder.close()


def test_a_verdict_and_checks_the_host_knows_itself(desk: Desk) -> None:
    with desk.recorder.flow("bill_inquiry", instance="x") as flow:
        with flow.step("bill_total") as step:
            step.verdict("error")
            step.verdict(Verdict.SLOW)
        with flow.step("bill_details") as step:
            step.answer(BILL)
            step.check("total_is_sum", passed=False)
        with flow.step("bill_details") as step:
            step.check("details_present", passed=None)
    records = [record for _, record in desk.written()]
    assert [Verdict(record["verdict"]) for record in records] == [Verdict.ERROR, Verdict.WRONG, Verdict.GOOD]
    assert check_results(int(records[1]["checks"]), 2) == (CheckResult.PASS, CheckResult.FAIL)
    assert check_results(int(records[2]["checks"]), 2) == (CheckResult.UNKNOWN, CheckResult.NOT_EVALUATED)


# Leaving a flow


def test_leaving_before_a_required_step_abandons_that_step(desk: Desk) -> None:
    with desk.recorder.flow("bill_inquiry") as flow:
        with flow.step("bill_total"):
            desk.clock.sleep(0.5)
        desk.clock.sleep(7)
    (_, (key, record)) = desk.written()
    assert (key.step, record["verdict"], record["duration_seconds"]) == ("bill_details", Verdict.ABANDONED, 7.0)


def test_a_finished_flow_abandons_nothing_though_optional_steps_are_left_out(desk: Desk) -> None:
    pass_all(desk)
    assert desk.verdicts() == [("bill_total", Verdict.GOOD), ("bill_details", Verdict.GOOD)]


def test_a_flow_in_which_nothing_was_asked_records_nothing(desk: Desk) -> None:
    with desk.recorder.flow("bill_inquiry"):
        pass
    assert desk.written() == []


def test_an_error_between_steps_is_recorded_on_the_next_step(desk: Desk) -> None:
    with contextlib.suppress(ValueError), desk.recorder.flow("bill_inquiry"):
        raise ValueError
    assert desk.verdicts() == [("bill_total", Verdict.ERROR)]


def test_a_step_that_failed_is_not_followed_by_an_abandoned_one(desk: Desk) -> None:
    with desk.recorder.flow("bill_inquiry") as flow, contextlib.suppress(ValueError), flow.step("bill_total"):
        raise ValueError
    assert desk.verdicts() == [("bill_total", Verdict.ERROR)]


@pytest.mark.parametrize("how", ["leave_open", "inject", "instance", "carrier"])
def test_a_flow_that_others_share_is_not_abandoned_here(desk: Desk, how: str) -> None:
    carrier: dict[str, str] = {}
    desk.recorder.inject(carrier, desk.recorder.flow("bill_inquiry"))
    shared: dict[str, dict[str, Any]] = {"instance": {"instance": "abc"}, "carrier": {"carrier": carrier}}
    options = shared.get(how, {})
    with desk.recorder.flow("bill_inquiry", **options) as flow:
        if how == "leave_open":
            flow.leave_open()
        if how == "inject":
            desk.recorder.inject({})
        with flow.step("bill_total"):
            pass
    assert desk.verdicts() == [("bill_total", Verdict.GOOD)]


def test_a_flow_of_which_a_passage_was_dropped_is_not_called_abandoned(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.write_text("in the way")
    desk = Desk(spool, spool=spool, buffer_limit=1, flush_interval_seconds=0.01)
    with desk.recorder.flow("bill_inquiry") as flow:
        for name in ("bill_total", "bill_details"):
            with flow.step(name):
                pass
        spool.unlink()
        assert desk.recorder.flush(30)
    assert desk.verdicts() == [("bill_total", Verdict.GOOD)]
    assert sum(desk.recorder.drops().values()) == 1
    desk.recorder.close(30)


def test_a_customer_who_leaves_can_be_told_without_a_context_manager(desk: Desk) -> None:
    flow = desk.recorder.flow("bill_inquiry")
    with flow.step("bill_total"):
        pass
    flow.abandon()
    flow.abandon()
    assert desk.verdicts() == [("bill_total", Verdict.GOOD), ("bill_details", Verdict.ABANDONED)]


BRANCHING = """
name: card
title: {en: Card, zh: 卡}
owner: cards
steps:
  - {name: apply, title: {en: a, zh: a}, timeliness: {target: 1s}, next: [hint, approve, refuse]}
  - {name: hint, title: {en: d, zh: d}, optional: true, timeliness: {target: 1s}, next: [approve]}
  - {name: approve, title: {en: b, zh: b}, timeliness: {target: 1s}, next: [activate]}
  - {name: refuse, title: {en: c, zh: c}, timeliness: {target: 1s}, next: []}
  - {name: activate, title: {en: e, zh: e}, timeliness: {target: 1s}}
"""


@pytest.mark.parametrize(
    ("passed", "expected"),
    [
        ([], "apply"),
        (["apply"], "approve"),
        (["apply", "hint"], "approve"),
        (["apply", "refuse"], None),
        (["apply", "approve"], "activate"),
        (["apply", "approve", "activate"], None),
        (["apply", "approve", "activate", "apply"], None),
        (["approve", "apply"], "activate"),
    ],
)
def test_the_next_expected_step_follows_branches(passed: list[str], expected: str | None) -> None:
    assert FlowPlan(parse_flow(BRANCHING, "card.yml")).next_expected(passed) == expected


# Identity


def test_steps_of_a_flow_share_its_instance_and_flows_do_not(desk: Desk) -> None:
    pass_all(desk)
    pass_all(desk)
    one, two, three, four = [bytes(record["flow_instance"]) for _, record in desk.written()]
    assert one == two != three == four
    assert any(one)


def test_the_customer_is_kept_as_a_keyed_token(tmp_path: Path) -> None:
    tokens = CustomerTokens([CustomerKey(7, b"k" * 32)])
    desk = Desk(tmp_path, tokens=tokens)
    with desk.recorder.flow("bill_inquiry", customer="6222020000000000", instance="x") as flow, flow.step("bill_total"):
        pass
    ((_, record),) = desk.written()
    assert bytes(record["customer"]) == tokens.token("6222020000000000")
    for segment in tmp_path.rglob("*.segment"):
        assert b"6222020000000000" not in segment.read_bytes()
    desk.recorder.close()


def test_without_a_key_customers_are_left_out(desk: Desk) -> None:
    with desk.recorder.flow("bill_inquiry", customer="c", instance="x") as flow, flow.step("bill_total"):
        pass
    ((_, record),) = desk.written()
    assert bytes(record["customer"]) == bytes(16)


def test_an_instance_given_as_text_is_the_same_everywhere(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        desk = Desk(tmp_path / name, tokens=CustomerTokens([CustomerKey(1, b"k" * 32)]))
        with desk.recorder.flow("bill_inquiry", instance="session-1") as flow, flow.step("bill_total"):
            pass
        found += [bytes(record["flow_instance"]) for _, record in desk.written()]
        desk.recorder.close()
    assert found[0] == found[1]


def test_dimensions_are_bounded_and_overflow_is_counted(desk: Desk) -> None:
    for version in range(5):
        flow = desk.recorder.flow("bill_inquiry", channel="fax", app_version=version)
        with flow.step("bill_total"):
            pass
    values = [dict(key.dimensions) for key, _ in desk.written()]
    assert [value["app_version"] for value in values] == ["0", "1", "2", "other", "other"]
    assert {value["channel"] for value in values} == {"other"}
    assert desk.recorder.drops() == {"label_overflow": 7}


def test_the_current_flow_travels_in_the_context(desk: Desk) -> None:
    assert desk.recorder.current_flow() is None
    with desk.recorder.flow("bill_inquiry", instance="outer") as outer:
        with desk.recorder.flow("bill_inquiry", instance="inner") as inner:
            assert desk.recorder.current_flow() is inner
        assert desk.recorder.current_flow() is outer
        with desk.recorder.step("bill_total"):
            pass
    assert desk.recorder.current_flow() is None
    ((_, record),) = desk.written()
    assert bytes(record["flow_instance"]) == outer.id


# asyncio


def test_async_flows_do_not_mix(desk: Desk) -> None:
    async def customer(number: int) -> None:
        async with desk.recorder.flow("bill_inquiry", instance=f"{number:032x}", app_version="1"):
            for name in ("bill_total", "bill_details"):
                async with desk.recorder.step(name):
                    await asyncio.sleep(0)

    async def all_customers() -> None:
        await asyncio.gather(*(customer(number) for number in range(1, 21)))

    asyncio.run(all_customers())
    seen: dict[bytes, list[str]] = {}
    for key, record in desk.written():
        seen.setdefault(bytes(record["flow_instance"]), []).append(key.step)
    assert seen == {number.to_bytes(16, "big"): ["bill_total", "bill_details"] for number in range(1, 21)}


def test_a_cancelled_task_is_abandoned_and_an_inner_timeout_is_a_timeout(desk: Desk) -> None:
    async def impatient() -> None:
        async with desk.recorder.flow("bill_inquiry"), desk.recorder.step("bill_total"):
            await asyncio.sleep(60)

    async def waited() -> None:
        async with desk.recorder.flow("bill_inquiry"), desk.recorder.step("bill_total"):
            await asyncio.wait_for(asyncio.sleep(60), 0.01)

    async def run() -> None:
        task = asyncio.create_task(impatient())
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        with contextlib.suppress(TimeoutError):
            await waited()

    asyncio.run(run())
    assert desk.verdicts() == [("bill_total", Verdict.ABANDONED), ("bill_total", Verdict.TIMEOUT)]


def test_a_flow_may_be_left_in_another_context(desk: Desk) -> None:
    async def dependency() -> AsyncIterator[None]:
        with desk.recorder.flow("bill_inquiry", instance="x"):
            yield

    async def run() -> None:
        generator = dependency()
        await asyncio.create_task(anext(generator))  # type: ignore[arg-type]
        with contextlib.suppress(StopAsyncIteration):
            await asyncio.create_task(anext(generator))  # type: ignore[arg-type]

    asyncio.run(run())
    assert desk.recorder.drops() == {}


# Decorators


def test_decorated_functions(desk: Desk) -> None:
    recorder = desk.recorder

    @recorder.step_of("bill_details", answer=lambda result: result["body"])
    def details(account: str) -> dict[str, Any]:
        """Ask for details."""
        return {"body": {**BILL, "total": account}}

    @recorder.step_of("bill_total")
    async def total() -> dict[str, Any]:
        return BILL

    @recorder.flow_of("bill_inquiry", customer=lambda account: account, channel="web")
    async def inquiry(account: str) -> str:
        await total()
        details(account)
        return "done"

    assert asyncio.run(inquiry("4.00")) == "done"
    assert details.__doc__ == "Ask for details."
    found = desk.written()
    assert [(key.step, Verdict(record["verdict"])) for key, record in found] == [
        ("bill_total", Verdict.GOOD),
        ("bill_details", Verdict.WRONG),
    ]
    assert dict(found[0][0].dimensions)["channel"] == "web"


def test_decorated_functions_run_though_the_hosts_lambdas_fail(desk: Desk) -> None:
    @desk.recorder.flow_of("bill_inquiry", customer=lambda: 1 / 0)
    def inquiry() -> str:
        return details()

    @desk.recorder.step_of("bill_total", answer=lambda _: 1 / 0)
    def details() -> str:
        return "kept"

    assert inquiry() == "kept"
    assert details() == "kept"
    assert desk.recorder.drops() == {"internal_error": 2, "no_flow": 1}
    assert desk.verdicts() == [("bill_total", Verdict.GOOD), ("bill_details", Verdict.ABANDONED)]


# Never into the host


def test_names_that_nobody_declared_are_counted(desk: Desk) -> None:
    with desk.recorder.flow("nope") as flow:
        for _ in range(2):
            with flow.step("bill_total") as step:
                step.answer(BILL)
                step.verdict("wrong")
                step.check("x", passed=True)
    with desk.recorder.flow("bill_inquiry", instance="x") as flow, flow.step("nope"):
        pass
    with desk.recorder.step("bill_total"):
        pass
    assert desk.written() == []
    assert desk.recorder.drops() == {"unknown_flow": 2, "unknown_step": 1, "no_flow": 1}


def test_a_recorder_without_configuration_does_nothing(tmp_path: Path) -> None:
    recorder = Recorder()
    with recorder.flow("bill_inquiry", customer="c", channel="app") as flow, flow.step("bill_total") as step:
        step.answer(BILL)
    recorder.inject({})
    assert recorder.drops() == {"not_configured": 1}
    assert recorder.flush()
    assert recorder.close()


class Evil:
    """An object whose every use raises."""

    def __str__(self, *_: object) -> str:
        raise RuntimeError("evil")

    __repr__ = __hash__ = __eq__ = __len__ = __iter__ = __getattr__ = __str__  # type: ignore[assignment]


@pytest.mark.parametrize("evil", [Evil(), None, [], {}, object(), "\ud800", b"\xff", 1e400], ids=range(8))
def test_no_argument_raises_into_the_host(desk: Desk, evil: Any) -> None:
    recorder = desk.recorder
    with recorder.flow(evil) as flow, flow.step("bill_total"):
        pass
    with recorder.flow("bill_inquiry", customer=evil, instance=evil, carrier=evil, channel=evil) as flow:
        with flow.step(evil) as step:
            step.answer(evil)
        with flow.step("bill_details") as step:
            step.answer(evil)
            step.verdict(evil)
            step.check(evil, passed=evil)
        recorder.inject(evil)
        recorder.inject({}, evil)
        recorder.observe(flow, evil, evil)
        recorder.observe(flow, "bill_total", 1.0, at=evil, verdict=evil, checks=evil)
        recorder.observe(evil, "bill_total", 1.0)
    with recorder.join(evil, channel=evil) as flow, flow.step("bill_total"):
        pass
    assert recorder.flush(30)


def test_a_step_object_is_for_one_passage(desk: Desk) -> None:
    with desk.recorder.flow("bill_inquiry", instance="x") as flow:
        step = flow.step("bill_total")
        for _ in range(2):
            with step:
                pass
    assert len(desk.written()) == 1
    assert desk.recorder.drops() == {"internal_error": 1}


def test_observe_records_what_was_measured_elsewhere(desk: Desk) -> None:
    flow = desk.recorder.flow("bill_inquiry", channel="web", instance="x")
    desk.recorder.observe(flow, "bill_total", 1.5, at=5.0, source=Source.SIMULATED)
    desk.recorder.observe(flow, "bill_details", 0.5, checks={"total_is_sum": CheckResult.FAIL})
    desk.recorder.observe(flow, "nope", 0.5)
    (_, first), (_, second) = desk.written()
    assert (first["observed_at_us"], first["duration_seconds"]) == (5_000_000, 1.5)
    assert (first["verdict"], first["source"]) == (Verdict.SLOW, Source.SIMULATED)
    assert second["verdict"] == Verdict.WRONG
    assert desk.recorder.drops() == {"unknown_step": 1}


# Configuration


def test_a_recorder_from_a_configuration_file(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "bill_inquiry.yml").write_text(FLOW)
    (tmp_path / "cxgauge.yml").write_text("recorder: {customer_key_file: key}\nspool: {minimum_free_bytes: 1MiB}\n")
    (tmp_path / "key").write_text("2:" + "ab" * 32)
    recorder = Recorder.from_config(tmp_path / "cxgauge.yml", strict=True)
    with recorder.flow("bill_inquiry", customer="c") as flow, flow.step("bill_total"):
        pass
    assert recorder.close(30)
    reader = SpoolReader(tmp_path / "data" / "spool")
    (source,) = reader.sources()
    chunk = reader.read(source, ResumePoint())
    assert chunk.finished
    assert bytes(chunk.batches[0].records["customer"][0])[0] == 2


def test_a_faulty_configuration_makes_a_recorder_that_says_why(tmp_path: Path) -> None:
    recorder = Recorder.from_config(tmp_path / "missing.yml")
    with recorder.flow("bill_inquiry") as flow, flow.step("bill_total"):
        pass
    assert "missing.yml" in str(recorder.problem)
    assert recorder.drops() == {"not_configured": 1}
    with pytest.raises(Exception, match=r"missing\.yml"):
        Recorder.from_config(tmp_path / "missing.yml", strict=True)
