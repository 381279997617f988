"""The page of the data's quality: what arrives, what was lost and why, how late things are, what is judged.

What collection and evaluation say of themselves is of the process that serves the page; the rest is the store's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...alerts.coverage import judged_steps
from ...alerts.evaluator import NAME
from ...metrics.configuration.config import Config
from ...metrics.specification.flow import FlowSpec
from ...metrics.store.connection import Tier
from ...metrics.store.named_queries import named_query
from ...metrics.store.store import Store
from ..exposition.health import HealthFigures
from ..figure_types import Period
from ..wording import NOTHING, Wording
from .request import PageRequest
from .table import Cell, Cells, Column, Row, Table

__all__ = ["data_page"]

_HOUR = 3_600
_SOURCES_SHOWN = 100
_LATE_SECONDS = 300.0
_SPOOL_FULL = 0.8


def data_page(
    store: Store, flows: Mapping[str, FlowSpec], config: Config, health: HealthFigures | None, asked: PageRequest
) -> dict[str, Any]:
    """What the template of the page shows."""
    w = asked.wording
    tables = [
        _coverage(store, flows, asked),
        _running(health, w),
        _left_out(health, w),
        _sources(store, asked),
        _learning(store, flows, asked),
        _database(store, config, asked),
    ]
    faults = [row for table in tables for row in table.rows if any(cell.style == "alert" for cell in row.cells)]
    return {"tables": tables, "faults": len(faults)}


# -- what is measured -------------------------------------------------------------------------------------------------


def _coverage(store: Store, flows: Mapping[str, FlowSpec], asked: PageRequest) -> Table:
    """By step: in how much of the period there is data, and what the figures leave out."""
    w, period = asked.wording, asked.period
    cells, text = Cells(w), w.translator.text
    hours = period.seconds >= 86_400 and not period.start % _HOUR
    seconds = _HOUR if hours else store.settings.window_seconds
    parameters = {"start": period.start, "end": period.end, "flows": list(flows)}
    with store.connection() as connection:
        query = named_query("pages.coverage_hours" if hours else "pages.coverage_windows")
        found = {(row[0], row[1]): row[2:] for row in connection.execute(query, parameters)}
    end = min(period.end, asked.now)
    spans = max(1, -(-int(end - period.start) // seconds))
    nothing = (None, None, 0, 0, 0, 0, 0)
    rows = []
    for flow in flows.values():
        for step in flow.steps:
            starts, last, every, simulated, probes, unusable, unknown = found.get((flow.name, step.name), nothing)
            present = np.array(sorted(starts or ()), dtype=np.int64)
            rows.append(
                Row(
                    (
                        cells.words(flow.title.in_language(w.language), asked.link(f"/flows/{flow.name}")),
                        cells.words(
                            step.title.in_language(w.language), asked.link(f"/flows/{flow.name}/steps/{step.name}")
                        ),
                        cells.share(len(present) / spans, bar=True),
                        _gap(present, Period(period.start, end), seconds, w),
                        cells.time(last),
                        cells.count(every or 0),
                        cells.count(simulated or 0),
                        cells.count(probes or 0),
                        cells.count(max(0, unusable or 0)),
                        cells.count(unknown or 0),
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
        Column(text("Simulated"), count, number=True),
        Column(text("Probes, left out"), count, number=True),
        Column(text("Without usable duration"), count, number=True),
        Column(text("Checks unknown"), count, number=True),
    )
    of_hours = text("Covered: share of the period's hours with any observation; at night there may be no customer.")
    note = of_hours if hours else text("Covered: share of the period's windows with any observation.")
    return Table("coverage", text("Coverage by step"), columns, tuple(rows), note=note)


def _gap(present: Any, period: Period, seconds: int, w: Wording) -> Cell:
    """The longest span without data."""
    edges = np.concatenate(([period.start - seconds], present, [max(period.end, period.start)]))
    longest = float(max(0.0, np.diff(edges).max() - seconds)) if len(present) else period.seconds
    return Cell(w.length(longest) if longest else NOTHING, longest)


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
    rows = []
    for flow in flows.values():
        for step in flow.steps:
            reason = judged.get((flow.name, step.name), text("never seen when the baseline was learnt"))
            state = cells.words(text("judged"), style="fine")
            if reason:
                state = cells.words(text("still learning"), style="learning")
            rows.append(
                Row(
                    (
                        cells.words(flow.title.in_language(w.language)),
                        cells.words(step.title.in_language(w.language)),
                        state,
                        cells.words(reason),
                    )
                )
            )
    columns = (Column(text("Flow")), Column(text("Step")), Column(text("State")), Column(text("Why not")))
    note = text("No baseline has been learnt yet.")
    if newest is not None:
        note = text(
            "Baseline learnt {at} from {period}.",
            at=w.time(newest[0] // 1),
            period=w.period(Period(newest[1], newest[2])),
        )
    return Table("learning", text("What is judged"), columns, tuple(rows), note=note)


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
