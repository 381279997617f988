"""The read path: rollups as columns, and the few questions that need observations."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

import numpy as np

from ..observation import SeriesKey
from ..rollup import Origin, Rollup, merge, regroup
from ..verdict import Verdict
from .catalog import Catalog
from .connection import Connection, Database
from .named_queries import named_query
from .rows import read_rollup

__all__ = ["CustomersHit", "Example", "ReadPath", "fetch_rollups"]

CUSTOMERS_AND_SIMULATED = (Origin.CUSTOMER, Origin.SIMULATED)


@dataclass(frozen=True, slots=True)
class CustomersHit:
    """Distinct customers and flow instances among ``observations``; those without a token are not among the first."""

    customers: int
    flow_instances: int
    observations: int


@dataclass(frozen=True, slots=True)
class Example:
    """One observation to look at: ``trace_id`` and ``span_id`` as hexadecimal, None where there is none."""

    observed_at: float
    duration_seconds: float
    verdict: Verdict
    series: SeriesKey
    trace_id: str | None
    span_id: str | None
    flow_instance: UUID | None
    simulated: bool


class ReadPath:
    """Reads; thread-safe. Times are seconds since 1970 UTC, spans contain their start and not their end."""

    def __init__(self, database: Database, catalog: Catalog, *, window_seconds: int) -> None:
        self._database = database
        self._catalog = catalog
        self._window_seconds = window_seconds

    def rollups(
        self,
        start: float,
        end: float,
        flow: str | None = None,
        step: str | None = None,
        *,
        dimensions: Mapping[str, str] | None = None,
        hours: bool = False,
        origins: Collection[Origin] = CUSTOMERS_AND_SIMULATED,
    ) -> tuple[Rollup, dict[int, SeriesKey]]:
        """The rollup of the windows that start within the span, and what its series ids mean.

        Args:
            start: First window start.
            end: Windows starting here or later are left out.
            flow: One flow; all if None.
            step: One step; all if None.
            dimensions: Only series with these dimension values.
            hours: Rows of whole hours (far fewer) instead of windows.
            origins: Whose experience; probes are left out unless asked for.
        """
        chosen = None
        if flow is not None or step is not None or dimensions:
            chosen = self._series_ids(flow, step, dimensions or {})
        parameters = {"start": start, "end": end, "origins": sorted(int(o) for o in origins), "series": chosen}
        suffix = "" if chosen is None else "_of_series"
        with self._database.connection() as connection:
            if hours:
                with connection.transaction():
                    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                    parts = fetch_rollups(connection, named_query(f"read.hours{suffix}"), parameters)
                    parts += fetch_rollups(connection, named_query(f"read.fresh_windows{suffix}"), parameters)
                rollup = merge([Rollup.empty(3600), *(regroup(part, window_seconds=3600) for part in parts)])
            else:
                parts = fetch_rollups(connection, named_query(f"read.windows{suffix}"), parameters)
                # Windows of several lengths, after the setting was changed: the shortest that all of them fill.
                common = math.lcm(*(part.window_seconds for part in parts)) if parts else self._window_seconds
                rollup = merge([Rollup.empty(common), *(regroup(part, window_seconds=common) for part in parts)])
        ids, place = np.unique(rollup.series, return_inverse=True)
        widths = np.zeros(len(ids), dtype=np.int64)
        used = rollup.checks.any(axis=2) * np.arange(1, rollup.checks.shape[1] + 1)
        np.maximum.at(widths, place, used.max(axis=1, initial=0))
        return rollup, self._catalog.series_of(ids.tolist(), widths.tolist())

    def span(self) -> tuple[float, float] | None:
        """Start of the oldest and of the newest window there is; None without any."""
        with self._database.connection() as connection:
            row = connection.execute(named_query("read.span")).fetchone()
        return None if row is None or row[0] is None else (float(row[0]), float(row[1]))

    def customers_hit(
        self,
        start: float,
        end: float,
        flow: str,
        step: str | None = None,
        *,
        dimensions: Mapping[str, str] | None = None,
        verdicts: Collection[Verdict] = tuple(Verdict),
        at_least_seconds: float = 0.0,
    ) -> CustomersHit:
        """Count distinct customers and flow instances with such observations; probes are left out.

        Args:
            start: From.
            end: Before.
            flow: The flow.
            step: One step; all if None.
            dimensions: Only series with these dimension values.
            verdicts: Only these verdicts.
            at_least_seconds: Only durations of at least this; with 0 also those without a usable duration.
        """
        parameters = {
            "start": start,
            "end": end,
            "series": self._series_ids(flow, step, dimensions or {}),
            "verdicts": [int(verdict) for verdict in verdicts],
            "at_least_seconds": at_least_seconds,
        }
        with self._database.connection() as connection:
            row = connection.execute(named_query("read.customers_hit"), parameters).fetchone()
        return CustomersHit(*(row or (0, 0, 0)))

    def worst_examples(
        self,
        start: float,
        end: float,
        flow: str,
        step: str | None = None,
        *,
        dimensions: Mapping[str, str] | None = None,
        verdicts: Collection[Verdict] = tuple(Verdict),
        limit: int = 10,
    ) -> list[Example]:
        """The worst observations of the span: worst verdict first, then longest duration; probes are left out."""
        parameters = {
            "start": start,
            "end": end,
            "series": self._series_ids(flow, step, dimensions or {}),
            "verdicts": [int(verdict) for verdict in verdicts],
            "limit": limit,
        }
        with self._database.connection() as connection:
            rows = connection.execute(named_query("read.worst_examples"), parameters).fetchall()
        keys = self._catalog.series_of({row[3] for row in rows})
        return [_example(row, keys[row[3]]) for row in rows]

    def _series_ids(self, flow: str | None, step: str | None, dimensions: Mapping[str, str]) -> list[int]:
        wanted = set(dimensions.items())
        return [
            number
            for number, key in self._catalog.series().items()
            if (flow is None or key.flow == flow)
            and (step is None or key.step == step)
            and wanted.issubset(key.dimensions)
        ]


def fetch_rollups(connection: Connection, rows: LiteralString, parameters: Mapping[str, Any]) -> list[Rollup]:
    """Rollups of the rows that a query gives, one a window length, canonical (rows with equal keys added up)."""
    query: LiteralString = f"WITH rows AS (\n{rows}\n)\n{named_query('read.columns')}"
    found = connection.cursor(binary=True).execute(query, parameters).fetchall()
    by_length: dict[int, list[Any]] = {}
    for seconds, *columns in found:
        by_length.setdefault(int(seconds), []).append(columns)
    return [regroup(read_rollup(slices, seconds), window_seconds=seconds) for seconds, slices in by_length.items()]


def _example(row: tuple[Any, ...], key: SeriesKey) -> Example:
    observed_at, duration, verdict, _, trace_id, span_id, flow_instance, source = row
    return Example(
        observed_at,
        duration,
        Verdict(verdict),
        key,
        None if trace_id is None else trace_id.hex,
        None if span_id is None else f"{span_id & (1 << 64) - 1:016x}",
        flow_instance,
        source == 5,
    )
