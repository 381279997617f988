"""What is behind a chart's lines, for the script that lets people point at it; the picture itself needs none of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from .wording import Wording

__all__ = ["Band", "local_milliseconds", "log_data", "time_data"]

Values = Sequence[float | None]
Series = Sequence[tuple[str, str, Values]]
Band = tuple[str, Sequence[float], Sequence[float], Sequence[float]]
"""Name, where along the axis, lower and upper end."""


def local_milliseconds(at: float, w: Wording) -> int:
    """The bank's wall clock as if it were UTC, so that a browser in any zone shows the bank's times."""
    offset = datetime.fromtimestamp(at, UTC).astimezone(w.zone).utcoffset()
    return round((at + (offset.total_seconds() if offset else 0.0)) * 1000)


def time_data(
    starts: Sequence[float],
    seconds: float,
    series: Series,
    w: Wording,
    *,
    rate: bool,
    ends: tuple[float, float],
    level: tuple[float, str] | None = None,
    shades: Sequence[tuple[float, float, str]] = (),
    marks: Sequence[tuple[float, str]] = (),
    band: Band | None = None,
) -> dict[str, Any]:
    """Lines over time; each of ``series`` is kind, name and values: seconds, or ratios 0-1 (``rate``).

    ``ends`` are those of the vertical axis.
    """
    return {
        **_plain("time", w, rate=rate, ends=ends),
        "at": [local_milliseconds(start + seconds / 2, w) for start in starts],
        "said": [w.time(start) for start in starts],
        "series": [_series(kind, name, values, w, rate=rate) for kind, name, values in series],
        "level": None if level is None else {"at": level[0], "name": level[1]},
        "shades": [[local_milliseconds(a, w), local_milliseconds(b, w)] for a, b, _ in shades],
        "marks": [[local_milliseconds(at, w), label] for at, label in marks],
        "band": None if band is None else _band(band, [local_milliseconds(at, w) for at in band[1]], steps=True),
    }


def log_data(
    at_seconds: Sequence[float],
    series: Series,
    w: Wording,
    *,
    ends: tuple[float, float],
    marks: Sequence[tuple[float, str]] = (),
    band: Band | None = None,
) -> dict[str, Any]:
    """Shares of answers by duration, on a logarithmic axis."""
    return {
        **_plain("log", w, rate=True, ends=ends),
        "at": list(at_seconds),
        "said": [w.seconds(value) for value in at_seconds],
        "series": [_series(kind, name, values, w, rate=True) for kind, name, values in series],
        "level": None,
        "shades": [],
        "marks": [[at, label] for at, label in marks],
        "band": None if band is None else _band(band, band[1], steps=False),
    }


def _plain(axis: str, w: Wording, *, rate: bool, ends: tuple[float, float]) -> dict[str, Any]:
    chinese = w.language == "zh"
    units = {"s": " 秒" if chinese else " s", "ms": " 毫秒" if chinese else " ms", "%": "%" if chinese else " %"}
    return {"x": axis, "y": "ratio" if rate else "seconds", "units": units, "range": list(ends)}


def _series(kind: str, name: str, values: Values, w: Wording, *, rate: bool) -> dict[str, Any]:
    said = [w.percent(value) if rate else w.seconds(value) for value in values]
    return {"kind": kind, "name": name, "values": list(values), "said": said}


def _band(band: Band, at: Sequence[float], *, steps: bool) -> dict[str, Any]:
    name, _, low, high = band
    return {"name": name, "at": list(at), "low": list(low), "high": list(high), "steps": steps}
