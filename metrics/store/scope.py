# ruff: noqa: S608 - rules are put together from constants of this module
"""Which data a person may see: some flows, some values of some dimensions; and the views that show nothing else.

A restricted connection sees temporary views that stand before the tables of the same name. Every query that names
``alerts`` or ``window_rollups`` is restricted by that alone; the schema itself is not on the search path, so neither
a table nor a function of it can be reached by its name. A table without a rule here is empty for restricted people.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from ..names import Schema

__all__ = ["EVERYTHING", "RULES", "SETTING", "DataScope", "view"]

SETTING = "cxgauge.scope"
"""The session setting that carries the scope to the views; without it they answer with an error."""


@dataclass(frozen=True, slots=True)
class DataScope:
    """What may be seen.

    Attributes:
        flows: These flows; ``None`` for all.
        dimensions: ``(name, values)``: only observations with one of these values, of each dimension named. Series
            that lack the dimension are not seen, nor is any figure that was computed over other values too.
    """

    flows: frozenset[str] | None = None
    dimensions: tuple[tuple[str, frozenset[str]], ...] = ()

    @classmethod
    def of(cls, flows: Iterable[str] | None = None, dimensions: Mapping[str, Iterable[str]] | None = None) -> DataScope:
        """A scope from plain collections; equal ones compare equal."""
        limits = sorted((dimensions or {}).items())
        return cls(
            None if flows is None else frozenset(flows), tuple((name, frozenset(values)) for name, values in limits)
        )

    @property
    def is_everything(self) -> bool:
        """Whether nothing is hidden."""
        return self.flows is None and not self.dimensions

    def shows_flow(self, flow: str) -> bool:
        """Whether anything of the flow may be seen."""
        return self.flows is None or flow in self.flows

    def to_json(self) -> str:
        """What :data:`SETTING` is set to."""
        flows = None if self.flows is None else sorted(self.flows)
        return json.dumps({"flows": flows, "dimensions": {name: sorted(values) for name, values in self.dimensions}})


EVERYTHING = DataScope()

_SCOPE = "(SELECT current_setting('cxgauge.scope')::jsonb)"
_UNDIVIDED = f"{_SCOPE} -> 'dimensions' = '{{}}'"
_OWN_SERIES = "series_id = ANY (ARRAY(SELECT visible.series_id FROM pg_temp.series AS visible))"
_OWN_ALERTS = "alert_id IN (SELECT visible.alert_id FROM pg_temp.alerts AS visible)"
_OWN_RUNS = "run_id IN (SELECT visible.run_id FROM pg_temp.report_runs AS visible)"


def _flow(column: str) -> str:
    return f"({_SCOPE} -> 'flows' = 'null' OR {_SCOPE} -> 'flows' ? {column})"


def _dimensions(column: str) -> str:
    """Each limited dimension has one of its values."""
    return (
        f"NOT EXISTS (SELECT FROM jsonb_each({_SCOPE} -> 'dimensions') AS allowed "
        f"WHERE NOT coalesce(allowed.value ? ({column} ->> allowed.key), false))"
    )


_PAIRS = (
    "(SELECT coalesce(jsonb_object_agg(pair ->> 0, pair ->> 1), '{}') "
    "FROM jsonb_array_elements(member #> '{deviation,scope,dimensions}') AS pair)"
)
# Alerts that were put together speak of several places: all of them must be visible.
_MEMBERS = (
    "NOT EXISTS (SELECT FROM jsonb_array_elements(document -> 'members') AS member WHERE NOT ("
    + _flow("(member #>> '{deviation,scope,flow}')")
    + " AND "
    + _dimensions(_PAIRS)
    + "))"
)
# What a reload changed names flows, and the ledger quotes figures over all values.
_EVENT = f"({_flow('flow')} AND flow IS NOT NULL OR flow IS NULL AND kind <> 'configuration')"
_NEARBY = (
    "jsonb_set(document, '{nearby}', coalesce((SELECT jsonb_agg(near) FROM jsonb_array_elements("
    "CASE jsonb_typeof(document -> 'nearby') WHEN 'array' THEN document -> 'nearby' ELSE '[]' END) AS near "
    f"WHERE near ->> 'kind' <> 'configuration' AND ({_UNDIVIDED} OR near ->> 'kind' <> 'improvement')), '[]'))"
)
# Attribution and impact may compare with, or count, what has other values.
_DOCUMENT = f"CASE WHEN {_UNDIVIDED} THEN {_NEARBY} ELSE {_NEARBY} - 'attribution' - 'impact' END"

_FLOW_ONLY = f"{_flow('flow')} AND {_UNDIVIDED}"
# What people had made of their part is for those who see just this part, and for those who see all of it.
_RUN = f"{_flow('flow')} AND ({_UNDIVIDED} OR asked_by IS NOT NULL AND dimensions = {_SCOPE} -> 'dimensions')"
# An entry of the ledger says what is done, for everybody or for some; free text beside it may quote others' figures.
_NOT_FOR_OTHERS = (
    f"NOT EXISTS (SELECT FROM jsonb_each({_SCOPE} -> 'dimensions') AS allowed "
    "WHERE dimensions ? allowed.key AND NOT allowed.value ? (dimensions ->> allowed.key))"
)
_FINDING = (
    f"CASE WHEN {_UNDIVIDED} OR finding IN (SELECT visible.alert_id FROM pg_temp.alerts AS visible) "
    "THEN finding ELSE '' END"
)
_NOTE = f"CASE WHEN {_UNDIVIDED} THEN note ELSE '' END"
_OWN_IMPROVEMENTS = "improvement_id IN (SELECT visible.improvement_id FROM pg_temp.improvements AS visible)"
# A silence names flows by a pattern; whoever it may concern sees it, unless it is for other values only.
_PATTERN = "replace(replace(replace(replace(document ->> 'flow', '\\', '\\\\'), '%', '\\%'), '_', '\\_'), '*', '%')"
_SILENCE = (
    f"({_SCOPE} -> 'flows' = 'null' OR EXISTS (SELECT FROM jsonb_array_elements_text({_SCOPE} -> 'flows') AS flow "
    f"WHERE flow LIKE {_PATTERN})) AND NOT EXISTS (SELECT FROM jsonb_array_elements(document -> 'dimensions') AS pair "
    f"WHERE {_SCOPE} -> 'dimensions' ? (pair ->> 0) AND NOT {_SCOPE} -> 'dimensions' -> (pair ->> 0) ? (pair ->> 1))"
)
_NEVER = "false"

RULES: dict[str, str] = {
    Schema.SERIES: f"{_flow('flow')} AND {_dimensions('dimensions')}",
    Schema.CHECKS: _flow("flow"),
    Schema.OBSERVATIONS: _OWN_SERIES,
    Schema.WINDOW_ROLLUPS: _OWN_SERIES,
    Schema.HOUR_ROLLUPS: _OWN_SERIES,
    Schema.INSTANCE_ROLLUPS: _FLOW_ONLY,
    Schema.TRANSITION_ROLLUPS: _FLOW_ONLY,
    Schema.TRANSITION_HOURS: _UNDIVIDED,  # which hours were counted
    Schema.WINDOW_DIGESTS: _OWN_SERIES,
    Schema.DIGEST_HOURS: _UNDIVIDED,  # which hours were digested
    Schema.DIGEST_LATE: _OWN_SERIES,
    Schema.INSTANCE_SLICES: _FLOW_ONLY,
    Schema.TRANSITION_SLICES: _FLOW_ONLY,
    Schema.COUNTED_SLICES: _UNDIVIDED,
    Schema.QUALITY_ROLLUPS: _FLOW_ONLY,  # what no flow is known of: for those who see all flows
    Schema.BASELINES: "true",  # read for which steps are judged; pages show nothing else of it
    Schema.BASELINE_BANDS: _FLOW_ONLY,
    Schema.ALERTS: f"{_flow('flow')} AND {_dimensions('dimensions')} AND {_MEMBERS}",
    Schema.ALERT_TRANSITIONS: _OWN_ALERTS,
    Schema.DEVIATIONS: f"{_flow('flow')} AND {_dimensions('dimensions')}",
    Schema.EVENTS: f"{_EVENT} AND ({_UNDIVIDED} OR kind <> 'improvement')",
    Schema.IMPROVEMENTS: f"{_flow('flow')} AND {_NOT_FOR_OTHERS}",
    Schema.IMPROVEMENT_TRAIL: f"{_OWN_IMPROVEMENTS} AND {_UNDIVIDED}",
    Schema.REPORT_RUNS: _RUN,
    Schema.REPORT_FILES: _OWN_RUNS,
    Schema.REPORT_DELIVERIES: _OWN_RUNS,
    Schema.REPORT_SCHEDULES: _NEVER,
    Schema.RESUME_POINTS: _NEVER,
    Schema.EVALUATION_PROGRESS: _NEVER,
    Schema.DETECTOR_STATE: _NEVER,
    Schema.SILENCES: _SILENCE,
    Schema.DELIVERIES: _NEVER,
    Schema.NOTIFIER_CALLS: _NEVER,
    Schema.ALERTMANAGER_POSTS: _NEVER,
    Schema.ACCOUNTS: _NEVER,
    Schema.SESSIONS: _NEVER,
    Schema.SERVICE_TOKENS: _NEVER,
    Schema.AUDIT: _NEVER,
    Schema.MIGRATIONS: _NEVER,
}
"""Which rows of each table are seen; a test wants an entry for every table there is."""

_INSTEAD = {
    (Schema.ALERTS, "document"): _DOCUMENT,
    (Schema.IMPROVEMENTS, "finding"): _FINDING,
    (Schema.IMPROVEMENTS, "note"): _NOTE,
}


def view(schema: str, table: str, columns: Iterable[str]) -> sql.Composed:
    """The statement that puts a restricted view before a table."""
    rule: LiteralString = RULES.get(table, _NEVER)
    shown = [
        sql.SQL("{} AS {}").format(sql.SQL(_literal(table, column)), sql.Identifier(column))
        if (table, column) in _INSTEAD
        else sql.Identifier(column)
        for column in columns
    ]
    return sql.SQL("CREATE OR REPLACE TEMPORARY VIEW {} AS SELECT {} FROM {} WHERE {}").format(
        sql.Identifier(table), sql.SQL(", ").join(shown), sql.Identifier(schema, table), sql.SQL(rule)
    )


def _literal(table: str, column: str) -> LiteralString:
    return _INSTEAD[table, column]
