"""The page of the data's quality: what arrives, what was lost and why, how late things are, what is judged.

What collection and evaluation say of themselves is of the process that serves the page; the rest is the store's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...alerts.coverage import judged_steps
from ...alerts.evaluator import NAME
from ...metrics.configuration.config import Config
from ...metrics.specification.flow import FlowSpec
from ...metrics.store.connection import Tier
from ...metrics.store.named_queries import named_query
from ...metrics.store.quality import StepQuality, read_quality
from ...metrics.store.store import Store
from ..coverage import read_coverage
from ..data_quality import step_quality
from ..exposition.health import HealthFigures
from ..figure_types import Period
from ..quality_words import quality_numbers
from ..wording import NOTHING, Wording
from .quality_table import quality_columns, reason_rows, urgency
from .request import PageRequest
from .table import Cell, Cells, Column, Row, Table

__all__ = ["data_page"]

_SOURCES_SHOWN = 100
_STEPS_SHOWN = 40
_LATE_SECONDS = 300.0
_SPOOL_FULL = 0.8


def data_page(
    store: Store, flows: Mapping[str, FlowSpec], config: Config, health: HealthFigures | None, asked: PageRequest
) -> dict[str, Any]:
    """What the template of the page shows."""
    w = asked.wording
    with store.connection() as connection:
        end = min(asked.period.end, max(asked.now, asked.period.start))
        quality = read_quality(connection, asked.period.start, end)
    tables = [
        _coverage(store, flows, asked, quality),
        _amounts(flows, quality, asked),
        _running(health, w),
        _left_out(health, w),
        _sources(store, asked),
        _learning(store, flows, asked),
        _database(store, config, asked),
    ]
    faults = [row for table in tables for row in table.rows if any(cell.style == "alert" for cell in row.cells)]
    return {"tables": tables, "faults": len(faults)}


# -- what is measured -------------------------------------------------------------------------------------------------


def _amounts(
    flows: Mapping[str, FlowSpec], quality: Mapping[tuple[str, str], StepQuality], asked: PageRequest
) -> Table:
    """What came late, twice or not at all in the period, by flow, step and reason; first what is missing."""
    w = asked.wording
    cells, text = Cells(w), w.translator.text
    counted = [
        (place, reason, amount)
        for place, one in quality.items()
        if place[0] in flows or not place[0]
        for reason, amount in one.amounts.items()
    ]
    counted.sort(key=lambda each: (*urgency(each[1], each[2]), each[0]))
    rows: list[Row] = []
    for (name, step), reason, amount in counted[: None if asked.table == "left_out" else _STEPS_SHOWN]:
        flow = flows.get(name)
        titles = {} if flow is None else {one.name: one.title.in_language(w.language) for one in flow.steps}
        first = (
            cells.words(text("flow not known"))
            if flow is None
            else cells.words(flow.title.in_language(w.language), asked.link(f"/flows/{flow.name}")),
            cells.words(titles.get(step, step) or NOTHING),
        )
        rows += reason_rows({reason: amount}, first, w)
    columns = (
        Column(text("Flow")), Column(text("Step")), Column(text("Reason")), Column(text("What became of it")),
        Column(text("Count"), text("count"), number=True),
    )  # fmt: skip
    empty = text("Nothing came late, twice or not at all, as far as is known.")
    note = text("Of the period, by whole hours; kept in the database, from all recorders, receivers and imports.")
    if len(rows) < len(counted):
        note += " " + text("The first {count} of {all}; the CSV has all.",
                           count=w.count(len(rows)), all=w.count(len(counted)))  # fmt: skip
    return Table("left_out", text("Late, doubled and lost, by reason"), columns, tuple(rows), empty=empty, note=note)


def _coverage(
    store: Store,
    flows: Mapping[str, FlowSpec],
    asked: PageRequest,
    quality: Mapping[tuple[str, str], StepQuality],
) -> Table:
    """By step: in how much of the period there is data, and what belongs beside its figures."""
    w = asked.wording
    cells, text = Cells(w), w.translator.text
    found, hours = read_coverage(store, flows, asked.period, asked.now)
    places = sorted(found, key=lambda place: found[place].covered) if len(found) > _STEPS_SHOWN else list(found)
    shown = places if asked.table == "coverage" else places[:_STEPS_SHOWN]
    rows = []
    for place in shown:
        one, flow = found[place], flows[place[0]]
        step = step_quality(place[1], quality.get(place), one.checks_unknown, one.checks_skipped)
        rows.append(
            Row(
                (
                    cells.words(flow.title.in_language(w.language), asked.link(f"/flows/{flow.name}")),
                    cells.words(
                        flow.step(place[1]).title.in_language(w.language),
                        asked.link(f"/flows/{flow.name}/steps/{place[1]}"),
                    ),
                    cells.share(one.covered, bar=True),
                    Cell(w.length(one.longest_gap) if one.longest_gap else NOTHING, one.longest_gap),
                    cells.time(one.last),
                    cells.count(one.observations),
                    *(cells.count(amount) for amount in quality_numbers(step)),
                    cells.count(one.unusable),
                    cells.count(one.simulated),
                    cells.count(one.probes),
                )
            )
        )
    count = text("count")
    columns = (
        Column(text("Flow")),
        Column(text("Step")),
        Column(text("Covered"), text("ratio"), number=True),
        Column(text("Longest gap"), text("s"), number=True),
        Column(text("Last data")),
        Column(text("Observations"), count, number=True),
        *quality_columns(w),
        Column(text("Without usable duration"), count, number=True),
        Column(text("Simulated"), count, number=True),
        Column(text("Probes, left out"), count, number=True),
    )
    of_hours = text("Covered: share of the period's hours with any observation; at night there may be no customer.")
    note = of_hours if hours else text("Covered: share of the period's windows with any observation.")
    if len(shown) < len(places):
        note += " " + text("The {count} steps with the least; the CSV has all {all}.",
                           count=w.count(len(shown)), all=w.count(len(places)))  # fmt: skip
    return Table("coverage", text("Coverage by step"), columns, tuple(rows), note=note)


# -- what runs --------------------------------------------------------------------------------------------------------


def _running(health: HealthFigures | None, w: Wording) -> Table:
    """How far spool, writer and evaluator are behind."""
    cells, text = Cells(w), w.translator.text
    rows: list[Row] = []

    def add(what: str, value: Cell, fault: bool, meaning: str) -> None:
        state = cells.words(text("look here"), style="alert") if fault else cells.words(text("in order"), style="fine")
        rows.append(Row((cells.words(what), value, state, cells.words(meaning))))

    def lag(seconds: float | None) -> Cell:
        return Cell(NOTHING if seconds is None else w.length(seconds), seconds)

    if health is not None:
        writer, evaluation = health.writer_lag_seconds, health.evaluation_lag_seconds
        add(text("Waiting in the spool"), lag(writer), (writer or 0) > _LATE_SECONDS,
            text("how long the oldest observation waits to be written to the database"))  # fmt: skip
        size, limit = health.spool_bytes or 0, health.spool_limit_bytes or 0
        add(text("Spool on disk"), Cell(_bytes(size, limit), size), bool(limit) and size > _SPOOL_FULL * limit,
            text("when it is full, observations are refused and counted"))  # fmt: skip
        failures = health.writer_failures or 0
        add(text("Failed attempts to write"), cells.count(failures), False,
            text("since the start; every one was repeated"))  # fmt: skip
        add(text("Behind in judging"), lag(evaluation), evaluation is None or evaluation > _LATE_SECONDS,
            text("age of the newest window that was judged"))  # fmt: skip
        took = health.evaluation_duration_seconds
        add(text("Duration of judging"), cells.seconds(took), False, text("how long judging the last window took"))
        add(text("Written since the start"), cells.count(health.written or 0), False, text("observations"))
    columns = (
        Column(text("What")), Column(text("Value"), number=True), Column(text("State")), Column(text("Meaning")),
    )  # fmt: skip
    empty = text("Collection and evaluation do not run in this process.")
    return Table("running", text("Collection and evaluation"), columns, tuple(rows), empty=empty)


def _bytes(size: int, limit: int) -> str:
    return f"{size / 1e6:,.1f} MB / {limit / 1e6:,.0f} MB"


def _left_out(health: HealthFigures | None, w: Wording) -> Table:
    """What was received and what became of it; what was lost, by reason."""
    cells, text = Cells(w), w.translator.text
    words = {
        "accepted": text("accepted"),
        "ignored": text("spans that belong to no step"),
        "duplicate": text("sent twice, taken once"),
        "refused": text("refused"),
    }
    rows = []
    if health is not None:
        for name, count in health.received.items():
            fault = name == "refused" and count > 0
            rows.append(_counted(words.get(name, name), name, count, text("received"), fault, cells))
        for name, count in sorted(health.dropped.items()):
            rows.append(_counted(name, name, count, text("lost"), count > 0, cells))
        for name, count in sorted(health.dimension_other.items()):
            what = text("{dimension}: values beyond the limit, counted as “other”", dimension=name)
            rows.append(_counted(what, name, count, text("merged"), False, cells))
        if health.clock_ahead:
            what = text("the sender's clock was ahead")
            rows.append(_counted(what, "clock_ahead", health.clock_ahead, text("time corrected"), False, cells))
        for status, count in sorted(health.replies.items()):
            what = text("replies with status {status}", status=status)
            rows.append(_counted(what, status, count, text("replied"), status >= "400" and count > 0, cells))
    columns = (
        Column(text("Reason")), Column(text("What became of it")), Column(text("Count"), text("count"), number=True),
        Column(text("State")),
    )  # fmt: skip
    empty = text("The receiver does not run in this process.")
    note = text("Since the start of the process.")
    return Table("received", text("Received and left out, by reason"), columns, tuple(rows), empty=empty, note=note)


def _counted(what: str, name: str, count: int, became: str, fault: bool, cells: Cells) -> Row:
    text = cells.w.translator.text
    state = cells.words(text("look here"), style="alert") if fault else cells.words(text("in order"), style="fine")
    return Row((Cell(what, name), cells.words(became), cells.count(count), state))


def _sources(store: Store, asked: PageRequest) -> Table:
    """Senders' spools and imports: when each was last written from."""
    w = asked.wording
    cells, text = Cells(w), w.translator.text
    found = sorted(store.progress(), key=lambda source: -source.updated_at)
    rows = tuple(
        Row(
            (
                cells.words(source.source, style="mono"),
                cells.time(source.updated_at),
                Cell(w.length(max(0.0, asked.now - source.updated_at)), max(0.0, asked.now - source.updated_at)),
                cells.count(source.observations),
            )
        )
        for source in found[:_SOURCES_SHOWN]
    )
    columns = (
        Column(text("Source")),
        Column(text("Last seen")),
        Column(text("Ago"), text("s"), number=True),
        Column(text("Observations in all"), text("count"), number=True),
    )
    note = text("A source is a spool directory of recorders or of the receiver, or an import.")
    return Table("sources", text("Senders last seen"), columns, rows, empty=text("Nothing was ever sent."), note=note)


# -- what is judged and kept ------------------------------------------------------------------------------------------


def _learning(store: Store, flows: Mapping[str, FlowSpec], asked: PageRequest) -> Table:
    """Which steps are judged, and why the others are not."""
    w = asked.wording
    cells, text = Cells(w), w.translator.text
    judged = judged_steps(store)
    with store.connection() as connection:
        newest = connection.execute(named_query("pages.newest_baseline"), {"name": NAME}).fetchone()
    unseen = text("never seen when the baseline was learnt")
    steps = [(flow, step, judged.get((flow.name, step.name), unseen)) for flow in flows.values() for step in flow.steps]
    shown = steps
    if len(steps) > _STEPS_SHOWN and asked.table != "learning":
        shown = [each for each in steps if each[2]][:_STEPS_SHOWN]
    rows = [
        Row(
            (
                cells.words(flow.title.in_language(w.language)),
                cells.words(step.title.in_language(w.language)),
                cells.words(text("still learning"), style="learning")
                if reason
                else cells.words(text("judged"), style="fine"),
                cells.words(reason),
            )
        )
        for flow, step, reason in shown
    ]
    columns = (Column(text("Flow")), Column(text("Step")), Column(text("State")), Column(text("Why not")))
    note = text("No baseline has been learnt yet.")
    if newest is not None:
        note = text(
            "Baseline learnt {at} from {period}.",
            at=w.time(newest[0] // 1),
            period=w.period(Period(newest[1], newest[2])),
        )
    if len(shown) < len(steps):
        done = sum(not reason for _, _, reason in steps)
        note += " " + text("{count} of {all} steps are judged.", count=w.count(done), all=w.count(len(steps)))
    empty = text("All steps are judged.")
    return Table("learning", text("What is judged"), columns, tuple(rows), note=note, empty=empty)


def _database(store: Store, config: Config, asked: PageRequest) -> Table:
    w = asked.wording
    cells, text = Cells(w), w.translator.text
    facts, keep = store.facts, config.retention
    with store.connection() as connection:
        measured = connection.execute(named_query("health.size")).fetchone()
        oldest = connection.execute(named_query("pages.oldest_hour")).fetchone()
        durability = connection.execute(named_query("health.durability")).fetchone() or ("?", "?", "?")
    tiers = {
        Tier.PLAIN: text("plain PostgreSQL"),
        Tier.TIMESCALEDB_APACHE: text("TimescaleDB, Apache edition"),
        Tier.TIMESCALEDB_COMMUNITY: text("TimescaleDB, Community edition"),
    }
    version = f"PostgreSQL {facts.postgresql // 10_000}.{facts.postgresql % 10_000}"
    timescale = f", TimescaleDB {facts.timescaledb}" if facts.timescaledb else ""
    days, size = text("days"), f"{(measured[0] if measured else 0) / 1e6:,.0f} MB"
    durable = text("Survives a power cut (fsync, synchronous_commit, full_page_writes)")
    entries: Sequence[tuple[str, Cell]] = (
        (text("Kind of database"), cells.words(f"{tiers[facts.tier]} ({version}{timescale})")),
        (text("Size"), cells.words(size)),
        (
            durable,
            cells.words(", ".join(durability)),
        ),
        (text("Single observations are kept"), _days(keep.observations_days, days)),
        (text("Windows are kept"), _days(keep.window_rollups_days, days)),
        (text("Hours are kept"), _days(keep.hour_rollups_days, days)),
        (text("Oldest hour"), cells.time(oldest[0] if oldest else None)),
        (text("Length of a window"), Cell(f"{store.settings.window_seconds} s", f"{store.settings.window_seconds} s")),
    )
    rows = tuple(Row((cells.words(what), value)) for what, value in entries)
    columns = (Column(text("What")), Column(text("Value")))
    return Table("database", text("Database and retention"), columns, rows)


def _days(number: float, unit: str) -> Cell:
    return Cell(f"{number:g} {unit}", f"{number:g} {unit}")
