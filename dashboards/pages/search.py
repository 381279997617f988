"""The search: flows, steps, checks, owners, dimension values, releases, events and alerts, by words in any language.

Every word must be found, whatever its case. What the specification says is searched in memory, alerts and events by
parameterised queries; every list is bounded, and nothing outside the flows given is shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ...alerts.alert import RULER, alert_from_json
from ...metrics.observation import SeriesKey
from ...metrics.specification.flow import FlowSpec
from ...metrics.store.events import StoredEvent
from ...metrics.store.named_queries import named_query
from ...metrics.store.store import Store
from ..release_split import VERSION_DIMENSIONS
from .alert_list import alert_list
from .moments import event_words
from .request import PageRequest
from .table import Cells, Column, Row, Table

__all__ = ["search_page"]

_LISTED = 30
_WORDS_MOST = 8
_LENGTH_MOST = 100
_ID_PREFIX = 4
_SPECIAL, _ESCAPED = re.compile(r"([\\%_])"), r"\\\1"


def search_page(store: Store, flows: Mapping[str, FlowSpec], asked: PageRequest) -> dict[str, Any]:
    """What the template of the search shows."""
    query = asked.own.get("q", "").strip()[:_LENGTH_MOST].replace("\x00", "")
    words = query.casefold().split()[:_WORDS_MOST]
    tables: list[Table] = []
    if words:
        matches = _matcher(words)
        series = [key for key in store.series().values() if key.flow in flows]
        tables = [
            _alerts(store, flows, query, words, matches, asked),
            _flows_and_steps(flows, matches, asked),
            _owners(flows, matches, asked),
            _values(flows, series, matches, asked),
            _events(store, flows, words, asked),
        ]
    found = [table for table in tables if table.rows]
    return {"query": query, "tables": found, "limit": _LISTED}


def _matcher(words: list[str]) -> Callable[..., bool]:
    def matches(*texts: str) -> bool:
        where = " ".join(texts).casefold()
        return all(word in where for word in words)

    return matches


def _patterns(words: Iterable[str]) -> list[str]:
    """Words for ILIKE; what has a meaning there is escaped."""
    return [f"%{_SPECIAL.sub(_ESCAPED, word)}%" for word in words]


def _flows_and_steps(flows: Mapping[str, FlowSpec], matches: Callable[..., bool], asked: PageRequest) -> Table:
    w = asked.wording
    cells, text = Cells(w), w.translator.text

    def row(what: str, path: str, kind: str, name: str) -> Row:
        return Row((cells.words(what, asked.link(path)), cells.words(kind), cells.words(name)))

    def rows() -> Iterator[Row]:
        for flow in flows.values():
            title = flow.title.in_language(w.language)
            of_flow = (flow.name, flow.title.en, flow.title.zh or "")
            if matches(*of_flow):
                yield row(title, f"/flows/{flow.name}", text("flow"), flow.name)
            for step in flow.steps:
                path, name = f"/flows/{flow.name}/steps/{step.name}", f"{flow.name}/{step.name}"
                both = text("{flow} › {step}", flow=title, step=step.title.in_language(w.language))
                if matches(step.name, step.title.en, step.title.zh or "", *of_flow):
                    yield row(both, path, text("step"), name)
                for check in step.checks:
                    titles = (check.title.en, check.title.zh or "") if check.title else ()
                    if matches(check.name, *titles):
                        said = w.check_title(flow, step.name, check.name)
                        yield row(f"{both}: {said}", path, text("check"), f"{name}/{check.name}")

    columns = (Column(text("What")), Column(text("Kind")), Column(text("Name")))
    return Table("flows", text("Flows, steps and checks"), columns, tuple(_first(rows())))


def _owners(flows: Mapping[str, FlowSpec], matches: Callable[..., bool], asked: PageRequest) -> Table:
    w = asked.wording
    cells, text = Cells(w), w.translator.text
    rows = (
        Row(
            (
                cells.words(flow.owner, asked.link("/alerts", owner=flow.owner)),
                cells.words(flow.title.in_language(w.language), asked.link(f"/flows/{flow.name}")),
            )
        )
        for flow in flows.values()
        if flow.owner and matches(flow.owner)
    )
    columns = (Column(text("Owner")), Column(text("Flow")))
    return Table("owners", text("Owners"), columns, tuple(_first(rows)))


def _values(
    flows: Mapping[str, FlowSpec], series: list[SeriesKey], matches: Callable[..., bool], asked: PageRequest
) -> Table:
    """Values of dimensions that were ever seen, releases among them, by flow."""
    w = asked.wording
    cells, text = Cells(w), w.translator.text
    seen = {(key.flow, name, value) for key in series for name, value in key.dimensions}
    found = sorted(each for each in seen if matches(*each[1:]))
    rows = (
        Row(
            (
                cells.words(value, asked.link(f"/flows/{flow}/steps/{flows[flow].steps[0].name}") + "#dimensions"),
                cells.words(text("release") if name in VERSION_DIMENSIONS else name),
                cells.words(flows[flow].title.in_language(w.language), asked.link(f"/flows/{flow}")),
            )
        )
        for flow, name, value in found
    )
    columns = (Column(text("Value")), Column(text("Dimension")), Column(text("Flow")))
    return Table("values", text("Dimension values and releases"), columns, tuple(_first(rows)))


def _alerts(
    store: Store,
    flows: Mapping[str, FlowSpec],
    query: str,
    words: list[str],
    matches: Callable[..., bool],
    asked: PageRequest,
) -> Table:
    """By id, by words kept with the alert, or all of a flow or step whose title has the words, newest first."""
    prefix = _patterns([query.casefold()])[0][1:] if len(words) == 1 and len(query) >= _ID_PREFIX else ""
    parameters = {"flows": [*flows, RULER], "prefix": prefix, "patterns": _patterns(words), "limit": _LISTED}
    with store.connection() as connection:
        rows = connection.execute(named_query("pages.search_alerts"), parameters).fetchall()
        titled = [name for name, flow in flows.items() if matches(name, *_titles(flow))]
        if titled:
            of_flows = {**parameters, "flows": titled, "patterns": ["%"], "prefix": ""}
            rows += connection.execute(named_query("pages.search_alerts"), of_flows).fetchall()
    documents = list(dict.fromkeys(row[0] for row in rows))[:_LISTED]
    return alert_list(flows, [alert_from_json(document) for document in documents], asked)


def _titles(flow: FlowSpec) -> list[str]:
    titles = [flow.title, *(step.title for step in flow.steps)]
    return [flow.owner, *(part for title in titles for part in (title.en, title.zh or ""))]


def _events(store: Store, flows: Mapping[str, FlowSpec], words: list[str], asked: PageRequest) -> Table:
    w = asked.wording
    cells, text = Cells(w), w.translator.text
    parameters = {"flows": list(flows), "patterns": _patterns(words), "limit": _LISTED}
    with store.connection() as connection:
        found = connection.execute(named_query("pages.search_events"), parameters).fetchall()
    rows = []
    for event in (StoredEvent(*row) for row in found):
        title = flows[event.flow].title.in_language(w.language) if event.flow else text("all flows")
        path = asked.link(f"/flows/{event.flow}") if event.flow else ""
        rows.append(
            Row(
                (
                    cells.words(event.title),
                    cells.words(event_words(event.kind, w)),
                    cells.words(event.version or ""),
                    cells.time(event.at),
                    cells.words(title, path),
                )
            )
        )
    columns = (
        Column(text("What")), Column(text("Kind")), Column(text("Release")), Column(text("Time")), Column(text("Flow")),
    )  # fmt: skip
    return Table("events", text("Events"), columns, tuple(rows))


def _first(rows: Iterator[Row]) -> Iterator[Row]:
    for number, row in enumerate(rows):
        if number >= _LISTED:
            return
        yield row
