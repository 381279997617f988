"""What came late, twice or not at all: written with the observations it belongs to, read by hour, flow and step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from ..quality import QualityCounts, Reason
from .catalog import storable_text
from .connection import Connection
from .named_queries import named_query

__all__ = ["StepQuality", "add_quality", "read_quality"]

_HOUR = 3_600


@dataclass(frozen=True, slots=True)
class StepQuality:
    """Amounts of one step in a span, by reason; flow and step are empty where they were not known."""

    flow: str
    step: str
    amounts: Counter[Reason] = field(default_factory=Counter)


def add_quality(connection: Connection, counts: QualityCounts) -> None:
    """Add counts; in the caller's transaction."""
    rows = [
        {"hour": hour, "flow": storable_text(flow), "step": storable_text(step), "reason": reason, "amount": amount}
        for (hour, flow, step, reason), amount in sorted(counts.amounts.items())  # in order: no two writers deadlock
    ]
    with connection.cursor() as cursor:
        cursor.executemany(named_query("quality.add"), rows)


def read_quality(
    connection: Connection, start: float, end: float, flows: Collection[str] | None = None
) -> dict[tuple[str, str], StepQuality]:
    """What was counted in the hours that a span touches, by flow and step.

    Args:
        connection: A connection.
        start: Seconds since 1970 UTC; the hour it is in counts as a whole.
        end: Seconds since 1970 UTC; likewise.
        flows: These flows; all, and what no flow is known of, if None.
    """
    parameters = {
        "start": start // _HOUR * _HOUR,
        "end": -(-end // _HOUR) * _HOUR,
        "flows": None if flows is None else list(flows),
    }
    found: dict[tuple[str, str], StepQuality] = {}
    for flow, step, reason, amount in connection.execute(named_query("quality.amounts"), parameters):
        known = Reason(reason) if reason in Reason._value2member_map_ else Reason.OTHER
        found.setdefault((flow, step), StepQuality(flow, step)).amounts[known] += amount
    return found
