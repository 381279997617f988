"""Charts as SVG, drawn on the server: they need no script, print well, and obey a strict content policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, floor, log10
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..metrics.sketch import bucket_seconds
from .chart_data import Band, log_data, time_data
from .series import StepPoints
from .wording import Wording

__all__ = ["Axis", "Chart", "Mark", "distribution_chart", "duration_chart", "rate_chart", "rate_line"]

WIDTH, HEIGHT = 540.0, 200.0
_LABEL_ROOM = 1.1  # above a level line, for its label
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 12.0, 12.0, 28.0
_BLOCKS_FOR_PERCENTILES = 20


@dataclass(frozen=True, slots=True)
class Mark:
    """A tick with its label, at ``at`` along its axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """Ticks along an axis."""

    ticks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A path with a class for its colour and a name for the legend."""

    path: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart ready for the template ``chart.svg.j2``.

    ``description`` says in words what the picture shows; ``bands`` are filled areas, ``rules`` level lines, ``shades``
    spans of time as ``(x, width, label)``, ``marks`` moments such as deployments; ``data`` is what a script shows to
    whoever points at a line.
    """

    title: str
    description: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    bands: tuple[Line, ...] = ()
    rules: tuple[Mark, ...] = ()
    shades: tuple[tuple[float, float, str], ...] = ()
    marks: tuple[Mark, ...] = ()
    width: float = WIDTH
    height: float = HEIGHT
    left: float = _LEFT
    top: float = _TOP
    right: float = WIDTH - _RIGHT
    bottom: float = HEIGHT - _BOTTOM
    data: dict[str, Any] | None = None


class _Scale:
    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high, self.start, self.end = low, max(high, low + 1e-12), start, end

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + min(max(share, 0.0), 1.0) * (self.end - self.start), 2)


def duration_chart(
    points: StepPoints,
    start: float,
    end: float,
    target_seconds: float | None,
    w: Wording,
    *,
    shades: Sequence[tuple[float, float, str]] = (),
    events: Sequence[tuple[float, str]] = (),
    bands: Sequence[tuple[float, float, float]] = (),
) -> Chart:
    """Median and 95th percentile over time, with the target as a level line and what is usual as a band."""
    text = w.translator.text
    known = [value for point in points.points for value in (point.p50, point.p95) if value is not None]
    top = max([*known, _LABEL_ROOM * (target_seconds or 0.0)], default=1.0)
    x, y = _Scale(start, end, _LEFT, WIDTH - _RIGHT), _Scale(0, _nice(top), HEIGHT - _BOTTOM, _TOP)
    middle = [(x(point.start + points.seconds / 2), point) for point in points.points]
    lines = (
        Line(_path([(at, None if p.p95 is None else y(p.p95)) for at, p in middle]), "p95", text("95th percentile")),
        Line(_path([(at, None if p.p50 is None else y(p.p50)) for at, p in middle]), "p50", text("Median")),
    )
    rules: tuple[Mark, ...] = ()
    if target_seconds is not None:
        rules = (Mark(y(target_seconds), text("target {duration}", duration=w.seconds(target_seconds))),)
    area = _area([(x(max(at, start)), x(min(at + 3_600, end)), y(low), y(high)) for at, low, high in bands])
    last = next((p for p in reversed(points.points) if p.p50 is not None), None)
    description = text("Median and 95th percentile over time; no data")
    if last is not None:
        description = text(
            "Median and 95th percentile over time; last median {p50}, last 95th percentile {p95}",
            p50=w.seconds(last.p50), p95=w.seconds(last.p95),
        )  # fmt: skip
    return Chart(
        text("Duration"),
        description,
        _time_axis(start, end, x, w),
        Axis(tuple(Mark(y(value), w.level(value, top)) for value in _levels(_nice(top)))),
        lines,
        bands=(Line(area, "usual", text("usual")),) if area else (),
        rules=rules,
        shades=tuple((x(a), max(1.5, round(x(b) - x(a), 2)), label) for a, b, label in shades),
        marks=tuple(Mark(x(at), label) for at, label in events if start <= at <= end),
        data=time_data(
            [point.start for point in points.points], points.seconds,
            [(line.kind, line.name, [getattr(p, line.kind) for p in points.points]) for line in lines],
            w, rate=False, ends=(0.0, _nice(top)), shades=shades,
            marks=[(at, label) for at, label in events if start <= at <= end],
            level=None if target_seconds is None else (target_seconds, rules[0].label),
            band=_band(text("usual"), bands),
        ),
    )  # fmt: skip


def _band(name: str, bands: Sequence[tuple[float, float, float]]) -> Band | None:
    """What is usual, hour by hour."""
    starts, lows, highs = ([one[part] for one in bands] for part in range(3))
    return (name, starts, lows, highs) if bands else None


def rate_chart(
    points: StepPoints,
    start: float,
    end: float,
    objective: float | None,
    w: Wording,
    *,
    shades: Sequence[tuple[float, float, str]] = (),
    events: Sequence[tuple[float, str]] = (),
) -> Chart:
    """Good-answer rate over time, with the objective as a level line."""
    text = w.translator.text
    found = points.points
    rates = [point.good / point.observations for point in found if point.observations]
    low = min([*rates, objective if objective is not None else 1.0], default=0.0)
    floor_rate = max(0.0, 1 - _nice(1 - low)) if low < 1 else 0.9
    x, y = _Scale(start, end, _LEFT, WIDTH - _RIGHT), _Scale(floor_rate, 1.0, HEIGHT - _BOTTOM, _TOP)
    line = _path(
        [
            (x(p.start + points.seconds / 2), y(p.good / p.observations) if p.observations else None)
            for p in points.points
        ]
    )
    levels = [floor_rate + (1 - floor_rate) * part / 4 for part in range(5)]
    rules: tuple[Mark, ...] = ()
    if objective is not None:
        rules = (Mark(y(objective), text("objective {rate}", rate=w.percent(objective))),)
    return Chart(
        text("Good answers"),
        text("Share of good answers over time; lowest {rate}", rate=w.percent(min(rates) if rates else None)),
        _time_axis(start, end, x, w),
        Axis(tuple(Mark(y(level), w.plain_percent(level)) for level in levels)),
        (Line(line, "good", text("Good answers")),),
        rules=rules,
        shades=tuple((x(a), max(1.5, round(x(b) - x(a), 2)), label) for a, b, label in shades),
        marks=tuple(Mark(x(at), label) for at, label in events if start <= at <= end),
        data=time_data(
            [point.start for point in points.points], points.seconds,
            [("good", text("Good answers"), [p.good / p.observations if p.observations else None for p in found])],
            w, rate=True, ends=(floor_rate, 1.0), shades=shades,
            marks=[(at, label) for at, label in events if start <= at <= end],
            level=None if objective is None else (objective, rules[0].label),
        ),
    )  # fmt: skip


def distribution_chart(
    after: NDArray[np.float64],
    before: NDArray[np.float64] | None,
    low_bucket: int,
    w: Wording,
    *,
    names: tuple[str, str],
    usual: NDArray[np.float64] | None = None,
    usual_name: str = "",
    target_seconds: float | None = None,
) -> Chart:
    """Shares of durations on a logarithmic axis, this period against the other.

    Args:
        after: Answers by bucket.
        before: Those of the other period, if there is one.
        low_bucket: Number of the first bucket.
        w: Wording.
        names: Of the two periods.
        usual: ``[blocks, buckets]`` answers of earlier blocks: the band of what is usual spans nine in ten of them, or
            all when there are fewer than twenty.
        usual_name: What the blocks are.
        target_seconds: Where the target is.
    """
    text = w.translator.text
    grouped, centres = _grouped(after, low_bucket)
    other = _grouped(before, low_bucket)[0] if before is not None else None
    shares = [grouped / max(1, grouped.sum()), *([other / max(1, other.sum())] if other is not None else [])]
    band = _usual_band(usual, low_bucket) if usual is not None and len(usual) else None
    tops = [*shares, *([band[1]] if band is not None else [])]
    top = max((float(share.max()) for share in tops if len(share)), default=1.0)
    logs = np.log10(centres) if len(centres) else np.zeros(1)
    x = _Scale(float(logs[0]), float(logs[-1]), _LEFT, WIDTH - _RIGHT)
    y = _Scale(0, _nice(top), HEIGHT - _BOTTOM, _TOP)
    kinds = (("after", names[0]), ("before", names[1]))
    lines = tuple(
        Line(_path([(x(float(at)), y(float(value))) for at, value in zip(logs, share, strict=True)]), kind, name)
        for share, (kind, name) in zip(shares, kinds, strict=False)
    )
    ticks = [
        Mark(x(log10(value)), w.seconds(value)) for value in _log_ticks(10 ** float(logs[0]), 10 ** float(logs[-1]))
    ]
    return Chart(
        text("Distribution of durations"),
        text("Share of answers by duration, logarithmic scale"),
        Axis(tuple(ticks)),
        Axis(tuple(Mark(y(value), w.plain_percent(value)) for value in _levels(_nice(top)))),
        tuple(reversed(lines)),
        bands=(Line(_between(logs, band, x, y), "usual", usual_name),) if band is not None else (),
        marks=_target_mark(target_seconds, logs, x, w),
        data=log_data(
            (10.0**logs).tolist(),
            [(kind, name, share.tolist()) for share, (kind, name) in zip(shares, kinds, strict=False)],
            w,
            ends=(0.0, _nice(top)),
            marks=[(target_seconds, mark.label) for mark in _target_mark(target_seconds, logs, x, w) if target_seconds],
            band=(usual_name, (10.0**logs).tolist(), band[0].tolist(), band[1].tolist()) if band is not None else None,
        ),
    )


def _usual_band(usual: NDArray[np.float64], low_bucket: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    grouped = np.stack([_grouped(block, low_bucket)[0] for block in usual])
    shares = grouped / np.maximum(1, grouped.sum(axis=1, keepdims=True))
    if len(shares) < _BLOCKS_FOR_PERCENTILES:
        return shares.min(axis=0), shares.max(axis=0)
    low, high = np.percentile(shares, (5, 95), axis=0)
    return low, high


def _between(
    at: NDArray[np.float64], band: tuple[NDArray[np.float64], NDArray[np.float64]], x: _Scale, y: _Scale
) -> str:
    """SVG path around the area between two lines."""
    upper = [f"{x(float(a)):g} {y(float(b)):g}" for a, b in zip(at, band[1], strict=True)]
    lower = [f"{x(float(a)):g} {y(float(b)):g}" for a, b in zip(at, band[0], strict=True)]
    return f"M{'L'.join(upper)}L{'L'.join(reversed(lower))}Z"


def _target_mark(target: float | None, logs: NDArray[np.float64], x: _Scale, w: Wording) -> tuple[Mark, ...]:
    if target is None or not logs[0] <= log10(target) <= logs[-1]:
        return ()
    return (Mark(x(log10(target)), w.translator.text("target {duration}", duration=w.seconds(target))),)


def rate_line(points: Sequence[tuple[int, int]], width: float = 120.0, height: float = 28.0) -> str:
    """Path of a small line of good-answer rates ``(good, all)``, full height from 90 % (or the lowest) to 100 %."""
    rates = [good / total if total else None for good, total in points]
    known = [rate for rate in rates if rate is not None]
    if not known:
        return ""
    x = _Scale(0, max(1, len(rates) - 1), 1, width - 1)
    y = _Scale(min([0.9, *known]), 1.0, height - 2, 2)
    return _path([(x(number), None if rate is None else y(rate)) for number, rate in enumerate(rates)])


def _grouped(counts: NDArray[np.float64], low_bucket: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Buckets of 2 % joined by three to about 6 %: finer ones would show the noise of counting."""
    size = 3
    padded = np.pad(counts, (0, -len(counts) % size))
    grouped = padded.reshape(-1, size).sum(axis=1)
    centres = bucket_seconds(low_bucket + 1 + size * np.arange(len(grouped)))
    return grouped, centres


def _path(points: Sequence[tuple[float, float | None]]) -> str:
    """SVG path through the known points; a gap where one is unknown, a short dash for a single one."""
    parts: list[str] = []
    drawing = False
    for number, (x, y) in enumerate(points):
        if y is None:
            drawing = False
            continue
        alone = not drawing and (number + 1 == len(points) or points[number + 1][1] is None)
        parts.append(f"{'L' if drawing else 'M'}{x:g} {y:g}" + ("h1" if alone else ""))
        drawing = True
    return "".join(parts)


def _area(pieces: Sequence[tuple[float, float, float, float]]) -> str:
    """SVG path around rectangles ``(left, right, low, high)``, each closed."""
    return "".join(
        f"M{a:g} {low:g}L{a:g} {high:g}L{b:g} {high:g}L{b:g} {low:g}Z" for a, b, low, high in pieces if b > a
    )


def _nice(value: float) -> float:
    """The next round number that is not below ``value``, and whose quarters are round too."""
    if value <= 0:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return next(step * power for step in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10) if step * power >= value * (1 - 1e-9))


def _levels(top: float) -> list[float]:
    return [top * part / 4 for part in range(5)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(floor(log10(low)), ceil(log10(high)) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside if len(inside) <= 8 else [tick for tick in inside if f"{tick:e}"[0] == "1"]


_TICK_SECONDS = (10, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 14_400, 21_600, 43_200, 86_400)
_TICKS_MOST = 6


def _time_axis(start: float, end: float, x: _Scale, w: Wording) -> Axis:
    """Ticks at round times of the bank's day."""
    days = ceil((end - start) / 86_400 / _TICKS_MOST)
    step = next((one for one in _TICK_SECONDS if (end - start) / one <= _TICKS_MOST), days * 86_400)
    offset = datetime.fromtimestamp(start, UTC).astimezone(w.zone).utcoffset()
    shift = offset.total_seconds() if offset else 0.0
    first = ceil((start + shift) / step) * step - shift
    count = max(0, floor((end - first) / step) + 1)
    return Axis(tuple(Mark(x(first + step * n), w.tick(first + step * n, end - start)) for n in range(count)))
