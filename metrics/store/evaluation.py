"""What the evaluation keeps between windows and asks of the past; every function works in the caller's transaction.

Times are seconds since 1970 UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from ..baseline.bands import BandHour
from .connection import Connection
from .named_queries import named_query

__all__ = [
    "DetectorState",
    "StoredBaseline",
    "add_bands",
    "add_baseline",
    "completions",
    "detector_state",
    "detector_through",
    "newest_baseline",
    "newest_baseline_id",
    "progress",
    "save_detector_state",
    "set_progress",
    "untaught_spans",
]


@dataclass(frozen=True, slots=True)
class StoredBaseline:
    """A learnt profile."""

    baseline_id: int
    learned_at: float
    history_through: float
    profile: bytes
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DetectorState:
    """The detector after every window that ended at or before ``through``."""

    through: float
    state: bytes
    settings: dict[str, Any]


def progress(connection: Connection, name: str) -> tuple[float, dict[str, Any]] | None:
    """How far ``name`` has come, and its details; ``None`` if it never started."""
    row = connection.execute(named_query("evaluation.progress"), {"name": name}).fetchone()
    return None if row is None else (row[0], row[1])


def set_progress(connection: Connection, name: str, through: float, details: Mapping[str, Any]) -> None:
    """Note how far ``name`` has come."""
    values = {"name": name, "through": through, "details": Jsonb(dict(details))}
    connection.execute(named_query("evaluation.set_progress"), values)


def detector_state(connection: Connection, name: str) -> DetectorState | None:
    """The stored state of a detector."""
    row = connection.execute(named_query("evaluation.detector_state"), {"name": name}, binary=True).fetchone()
    return None if row is None else DetectorState(*row)


def detector_through(connection: Connection, name: str) -> float | None:
    """How far the stored state of a detector has come; the state itself, megabytes of a large fleet, is not read."""
    row = connection.execute(named_query("evaluation.detector_through"), {"name": name}).fetchone()
    return None if row is None else float(row[0])


def save_detector_state(connection: Connection, name: str, state: DetectorState) -> None:
    """Replace the stored state of a detector."""
    values = {"name": name, "through": state.through, "state": state.state, "settings": Jsonb(state.settings)}
    connection.execute(named_query("evaluation.set_detector_state"), values, binary=True)


def newest_baseline(connection: Connection, name: str, baseline_id: int | None = None) -> StoredBaseline | None:
    """The newest profile called ``name``, or the one with this id."""
    values = {"name": name, "baseline_id": baseline_id}
    row = connection.execute(named_query("evaluation.newest_baseline"), values, binary=True).fetchone()
    return None if row is None else StoredBaseline(*row)


def newest_baseline_id(connection: Connection, name: str) -> int | None:
    """The id of the newest profile called ``name``."""
    row = connection.execute(named_query("evaluation.newest_baseline_id"), {"name": name}).fetchone()
    return None if row is None else row[0]


def add_baseline(
    connection: Connection,
    name: str,
    learned_at: float,
    history: tuple[float, float],
    profile: bytes,
    details: Mapping[str, Any],
    keep: int = 5,
) -> int:
    """Store a profile and forget all but the newest ``keep``; returns its id."""
    values = {
        "name": name,
        "learned_at": learned_at,
        "history_from": history[0],
        "history_through": history[1],
        "profile": profile,
        "details": Jsonb(dict(details)),
    }
    row = connection.execute(named_query("evaluation.add_baseline"), values, binary=True).fetchone()
    connection.execute(named_query("evaluation.prune_baselines"), {"name": name, "keep": keep})
    if row is None:
        raise RuntimeError("the database did not number the new baseline")
    return int(row[0])


def add_bands(
    connection: Connection, bands: Sequence[BandHour], learned_until: float, keep_seconds: float = 400 * 86_400.0
) -> None:
    """Store what is usual by hour; hours before ``learned_until`` that have a band keep it, old ones are forgotten."""
    values = {
        "flow": [band.flow for band in bands],
        "step": [band.step for band in bands],
        "hour": [band.hour for band in bands],
        "expected": [band.expected_seconds for band in bands],
        "low": [band.low_seconds for band in bands],
        "high": [band.high_seconds for band in bands],
        "learned_until": learned_until,
    }
    connection.execute(named_query("evaluation.add_bands"), values)
    connection.execute(named_query("evaluation.prune_bands"), {"before": learned_until - keep_seconds})


def untaught_spans(connection: Connection, start: float) -> list[tuple[float, float, str]]:
    """Spans ``(from, to, flow)`` since ``start`` that must not teach a baseline; ``to`` may be infinite."""
    return [
        (row[0], row[1], row[2])
        for row in connection.execute(named_query("evaluation.untaught_spans"), {"start": start})
    ]


def completions(
    connection: Connection, start: float, end: float, until: float, first: Sequence[int], last: Sequence[int]
) -> tuple[int, int]:
    """Flow instances that passed a series of ``first`` within [start, end), and those that passed one of ``last`` too.

    Passing the last counts until ``until``, if it gave an answer.
    """
    values = {"start": start, "end": end, "until": until, "first": list(first), "last": list(last)}
    row = connection.execute(named_query("evaluation.completions"), values).fetchone()
    return (0, 0) if row is None else (int(row[0]), int(row[1]))
