"""Queries of the dashboards: rollups and functions only, as the reader role may ask them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ...metrics.names import Schema
from ...metrics.specification.flow import FlowSpec
from ...metrics.translation import Language

__all__ = [
    "FROM",
    "INTERVAL",
    "SCHEMA",
    "TO",
    "ask_steps",
    "branches",
    "case",
    "dimension_filter",
    "literal",
    "quoted",
    "step_values",
]

SCHEMA = Schema.NAME
FROM, TO, INTERVAL = "$__timeFrom()::timestamptz", "$__timeTo()::timestamptz", "'$__interval'::interval"


def literal(text: str) -> str:
    """``text`` as a literal of SQL that Grafana does not take for a template."""
    return "'" + text.replace("'", "''").replace("$", "'||chr(36)||'").replace("[[", "['||'[") + "'"


def quoted(name: str) -> str:
    """``name`` for use between the quotes of an identifier; what Grafana takes for a template becomes full-width."""
    return name.replace('"', '""').replace("$", "＄").replace("[[", "［［")


def case(column: str, names: Mapping[str, str]) -> str:
    """``column`` with its values replaced by the names people read."""
    return f"CASE {column} {branches(names)} ELSE {column} END" if names else column


def branches(names: Mapping[str, str]) -> str:
    """The branches of a CASE that turn values into the names people read."""
    return " ".join(f"WHEN {literal(value)} THEN {literal(name)}" for value, name in names.items())


def dimension_filter(names: Sequence[str]) -> str:
    """The filter that the dashboard's variables ask for; ``*`` stands for everything."""
    pairs = ", ".join(f"{literal(name)}, nullif(${{{name}:sqlstring}}, '*')" for name in names)
    return f"jsonb_strip_nulls(jsonb_build_object({pairs}))" if names else "'{}'::jsonb"


def step_values(flows: Iterable[FlowSpec], language: Language) -> str:
    """What is specified of every step, as rows ``s``."""
    rows = [
        f"({position}, {literal(flow.name)}, {literal(flow.title.in_language(language))}, {literal(step.name)}, "
        f"{literal(step.title.in_language(language))}, {step.good_objective:g}::float8)"
        for flow in flows
        for position, step in enumerate(flow.steps)
    ]
    return f"(VALUES {', '.join(rows)}) AS s (position, flow, flow_title, step, step_title, objective)"


def ask_steps(values: str, start: str = FROM, end: str = TO, dimensions: str = "'{}'::jsonb") -> str:
    """Counts of every step between two times: ``observations, good, returned, accurate``.

    ``returned`` had an answer, ``accurate`` of them were neither wrong nor incomplete nor stale. So ``accurate / returned``
    is the accuracy, and ``good / accurate`` the timeliness: of the answers that were right and complete, the share
    within the target. (What was wrong as well as slow counts as wrong only: the worst verdict wins.)
    """
    return (
        "SELECT s.*, c.* FROM " + values + " CROSS JOIN LATERAL ("
        "SELECT sum(r.good + r.slow + r.stale + r.incomplete + r.wrong + r.abandoned + r.timeout + r.error)::float8 AS observations, "
        "sum(r.good)::float8 AS good, sum(r.good + r.slow + r.stale + r.incomplete + r.wrong)::float8 AS returned, "
        "sum(r.good + r.slow)::float8 AS accurate "
        f"FROM {SCHEMA}.rollup_rows(s.flow, s.step, {start}, {end}, {dimensions}) AS r) AS c"
    )
