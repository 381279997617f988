"""What people read about entries of the improvement ledger."""

from __future__ import annotations

from ..metrics.specification.flow import FlowSpec
from ..metrics.store.improvements import Improvement
from .wording import Wording

__all__ = ["STANDINGS", "customers_words", "field_words", "measure_words", "standing_words", "trail_words"]

STANDINGS = ("planned", "overdue", "done", "better", "same", "worse", "too_few", "dropped")
"""Where entries may stand, in the order in which filters offer them."""


def measure_words(flow: FlowSpec, entry: Improvement, w: Wording) -> str:
    """The figure that is to get better."""
    text = w.translator.text
    if entry.measure.startswith("check:"):
        return w.check_title(flow, entry.step, entry.measure.removeprefix("check:"))
    known = {
        "p50": text("Median"),
        "p95": text("95th percentile"),
        "p99": text("99th percentile"),
        "good_rate": text("Good answers"),
    }
    return known.get(entry.measure, entry.measure)


def customers_words(entry: Improvement) -> list[str]:
    """For which customers it is, ``channel=app``; nothing for all."""
    return [f"{name}={value}" for name, value in sorted(entry.dimensions.items())]


def standing_words(standing: str, w: Wording) -> str:
    """Where an entry stands."""
    text = w.translator.text
    return {
        "planned": text("planned"),
        "overdue": text("overdue"),
        "dropped": text("given up"),
        "done": text("in effect"),
        "better": text("better: verified"),
        "worse": text("worse"),
        "same": text("not better: verified"),
        "too_few": text("not enough data yet"),
    }[standing]


def field_words(name: str, w: Wording) -> str:
    """What may be changed of an entry."""
    text = w.translator.text
    return {
        "action": text("What is done"),
        "owner": text("Owner"),
        "due": text("Due"),
        "finding": text("Finding"),
        "note": text("Note"),
        "dimensions": text("For whom"),
        "done_at": text("In effect since"),
    }.get(name, "")


def trail_words(action: str, w: Wording) -> str:
    """What somebody did to an entry."""
    text = w.translator.text
    return {
        "planned": text("planned"),
        "changed": text("changed"),
        "done": text("in effect"),
        "dropped": text("given up"),
        "reopened": text("taken up again"),
    }.get(action, action)
