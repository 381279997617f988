"""The history of scheduled reports: the list, one report with its files, and the files at addresses that stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from ...metrics.configuration.config import Config
from ...metrics.specification.flow import FlowSpec
from ...metrics.store.reports import DeliveryState, ReportRun, read_file, read_runs
from ...metrics.store.store import Store
from ..report.files import REPORT_TYPES
from ..report.html import with_scripts
from ..scheduled.asked import GIVEN_UP_SECONDS, INTERRUPTED
from ..scheduled.delivery import FOLDER
from ..scheduled.schedule import next_report
from ..wording import NOTHING, Wording
from .request import PageRequest
from .table import Cells, Chip, Column, Row, Table

__all__ = ["REPORT_FILTERS", "report_file", "report_run_page", "reports_page"]

REPORT_FILTERS = ("flow", "page")
"""Parameters of the list."""

_PAGE_LENGTH = 50
_PAGES_MOST = 1_000
_OFTEN_SECONDS = 3
_FILE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts allow-downloads"
)
"""A report is one file with its styles and script inside; it runs in a sandbox, without our cookies."""


def reports_page(
    store: Store, config: Config, flows: Mapping[str, FlowSpec], asked: PageRequest, *, everything: bool
) -> dict[str, Any]:
    """The list, newest first, and the schedules with their next report (for whoever may see everything).

    Raises:
        ValueError: a filter cannot be used.
    """
    flow, number = asked.own.get("flow", ""), asked.own.get("page", "1")
    if flow and flow not in flows:
        raise ValueError(f"flow={flow!r} is not declared; write one of {', '.join(flows)}")
    if not number.isdecimal() or not 1 <= int(number) <= _PAGES_MOST:
        raise ValueError(f"page={number!r} is not a number from 1 to {_PAGES_MOST}; write e.g. 1")
    offset = (int(number) - 1) * _PAGE_LENGTH
    with store.connection() as connection:
        runs = read_runs(connection, flows=[flow] if flow else list(flows), limit=_PAGE_LENGTH + 1, offset=offset)
    w = asked.wording
    tables = [_run_table(runs[:_PAGE_LENGTH], flows, asked)]
    if everything:
        tables.append(_schedule_table(config, asked))
    return {
        "tables": tables,
        "flow_names": {name: one.title.in_language(w.language) for name, one in flows.items()},
        "chosen": flow,
        "newer": asked.link(asked.path, page=str(int(number) - 1)) if int(number) > 1 else "",
        "older": asked.link(asked.path, page=str(int(number) + 1)) if len(runs) > _PAGE_LENGTH else "",
    }


def _run_table(runs: list[ReportRun], flows: Mapping[str, FlowSpec], asked: PageRequest) -> Table:
    w = asked.wording
    cells, text = Cells(w), w.translator.text
    rows = tuple(
        Row(
            (
                cells.words(w.days(run.start, run.end), f"/reports/{run.run_id}"),
                cells.words(_title(run, flows, w)),
                cells.words(_origin(run, w), style="nowrap"),
                cells.words(run.headline or _state(run, w), style=_style(run), emphasis=bool(run.headline)),
                cells.chips(
                    [Chip(kind.upper(), "file", f"/reports/{run.run_id}/report.{kind}") for kind in run.formats]
                ),
                cells.words(_sent(run.deliveries, w)),
                cells.time(run.made_at),
            )
        )
        for run in runs
    )
    columns = (
        Column(text("Period")),
        Column(text("Flow")),
        Column(text("Schedule"), wide=True),
        Column(text("What it says")),
        Column(text("Files")),
        Column(text("Sent"), wide=True),
        Column(text("Made"), wide=True),
    )
    empty = text("No scheduled report has been made yet; reports are scheduled under reports: in the configuration.")
    return Table("reports", text("Reports"), columns, rows, empty=empty)


def _schedule_table(config: Config, asked: PageRequest) -> Table:
    w = asked.wording
    cells, text = Cells(w), w.translator.text
    every = {"day": text("every day"), "week": text("every week"), "month": text("every month")}
    rows = []
    for schedule in config.reports:
        due = next_report(schedule, config.calendar, config.timezone, asked.now)
        targets = [*schedule.notifiers, *([text("folder")] if schedule.folder else [])]
        rows.append(
            Row(
                (
                    cells.words(schedule.name),
                    cells.words(every[schedule.every]),
                    cells.time(due.due_at if due else None),
                    cells.words(w.listed(list(schedule.formats))),
                    cells.words(w.listed(targets) or NOTHING),
                )
            )
        )
    columns = (
        Column(text("Schedule")),
        Column(text("How often")),
        Column(text("Next")),
        Column(text("Files")),
        Column(text("Goes to")),
    )
    return Table("schedules", text("Schedules"), columns, tuple(rows), empty=text("No report is scheduled."))


def report_run_page(
    store: Store, flows: Mapping[str, FlowSpec], run_id: str, asked: PageRequest
) -> dict[str, Any] | None:
    """One report of the history; ``None`` when there is none, or it is not of these flows."""
    run = _run(store, flows, run_id)
    if run is None:
        return None
    w = asked.wording
    cells, text = Cells(w), w.translator.text
    left = run.state == "waiting" and run.asked_by is not None
    waits = left and asked.now - run.due_at < GIVEN_UP_SECONDS
    states = {"waiting": text("not yet"), "delivered": text("delivered"), "failed": text("failed")}
    rows = tuple(
        Row((cells.words(_target(each, w)), cells.words(states[each.state]), cells.words(each.error or "")))
        for each in run.deliveries
    )
    columns = (Column(text("Goes to")), Column(text("State")), Column(text("Remark")))
    return {
        "page": replace(asked, renewed=waits, often=_OFTEN_SECONDS),
        "run": run,
        "waits": waits,
        "origin": _origin(run, w),
        "title": _title(run, flows, w),
        "said": run.headline or _state(run, w),
        "error": INTERRUPTED if left and not waits else run.error or "",
        "pages": _pages(run) if run.flow in flows else "",
        "tables": [Table("deliveries", text("Deliveries"), columns, rows, empty=text("It is sent to nobody."))],
    }


def report_file(store: Store, flows: Mapping[str, FlowSpec], run_id: str, kind: str) -> Response | None:
    """A file of a report as it was made; ``None`` when there is none."""
    run = _run(store, flows, run_id)
    if run is None or kind not in run.formats or kind not in REPORT_TYPES:
        return None
    with store.connection() as connection:
        content = read_file(connection, run_id, kind)
    if content is None:
        return None
    if kind == "html":
        content = with_scripts(content.decode()).encode()
    shown = "inline" if kind in ("html", "pdf") else "attachment"
    headers = {
        "content-disposition": f'{shown}; filename="{run.run_id}.{kind}"',
        "content-security-policy": _FILE_POLICY,
    }
    return Response(content, media_type=REPORT_TYPES[kind], headers=headers)


def _run(store: Store, flows: Mapping[str, FlowSpec], run_id: str) -> ReportRun | None:
    with store.connection() as connection:
        runs = read_runs(connection, run_id=run_id, flows=list(flows))
    return runs[0] if runs else None


def _origin(run: ReportRun, w: Wording) -> str:
    """The schedule, or who asked for it."""
    return run.schedule if run.asked_by is None else w.translator.text("asked for by {who}", who=run.asked_by)


def _title(run: ReportRun, flows: Mapping[str, FlowSpec], w: Wording) -> str:
    """The flow's title, with the customers it speaks of unless it is all of them."""
    flow = flows.get(run.flow)
    title = flow.title.in_language(w.language) if flow else run.title or run.flow
    part = ", ".join(f"{name}={'|'.join(values)}" for name, values in sorted(run.dimensions.items()))
    return f"{title} · {part}" if part else title


def _style(run: ReportRun) -> str:
    return {"alert": "worse", "worse": "worse", "better": "better"}.get(run.status or "", "")


def _state(run: ReportRun, w: Wording) -> str:
    text = w.translator.text
    return {
        "waiting": text("Not made yet"),
        "failed": text("Could not be made"),
    }.get(run.state, text("Made"))


def _target(delivery: DeliveryState, w: Wording) -> str:
    return w.translator.text("folder") if delivery.target == FOLDER else delivery.target


def _sent(deliveries: tuple[DeliveryState, ...], w: Wording) -> str:
    text = w.translator.text
    said = []
    for each in deliveries:
        target = _target(each, w)
        if each.state == "waiting":
            said.append(text("{target} (not yet)", target=target))
        elif each.state == "failed":
            said.append(text("{target} (failed)", target=target))
        else:
            said.append(target)
    return w.listed(said) or NOTHING


def _file(run: ReportRun, kind: str) -> Chip:
    return Chip(kind.upper(), "file", f"/reports/{run.run_id}/report.{kind}")


def _pages(run: ReportRun) -> str:
    """The flow's page of the same period."""
    return f"/flows/{run.flow}?{urlencode({'from': _iso(run.start), 'to': _iso(run.end)})}"


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
