"""A picture of a backtest: durations over time with alarms shaded, as one HTML file with inline SVG, no script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any

import numpy as np

from ..metrics.backtest.store import Alarm, Levels
from ..metrics.store.events import StoredEvent
from .backtest_words import BacktestWords

__all__ = ["Panel", "backtest_page"]

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 1000.0, 220.0, 64.0, 8.0, 8.0, 24.0
_STYLE = (
    "body{font:14px system-ui,sans-serif;margin:24px auto;max-width:1040px;padding:0 16px;color:#1c2733}"
    "h1{font-size:20px}h2{font-size:16px;margin:20px 0 4px}svg{width:100%;height:auto}"
    "table{border-collapse:collapse;width:100%;font-size:12px;display:block;overflow-x:auto}"
    "td,th{padding:4px 8px;text-align:left;white-space:nowrap;"
    "border-bottom:1px solid #dde3ea}.p50,.p95{fill:none;stroke-width:1.5}.p50{stroke:#0d57a3}.p95{stroke:#b3560b}"
    ".alarm{fill:#d93025;fill-opacity:.16}.report{fill:#5a6775;fill-opacity:.1}.grid{stroke:#e3e8ee}"
    ".event{stroke:#5a6775;stroke-dasharray:3 3;stroke-width:1.5}"
    "text{font-size:11px;fill:#5a6775}"
)


@dataclass(frozen=True, slots=True)
class Panel:
    """One step: its levels, and what was found there."""

    title: str
    step: str
    levels: Levels
    alarms: Sequence[Alarm]


def backtest_page(
    title: str,
    panels: Sequence[Panel],
    rows: Sequence[Sequence[str]],
    words: BacktestWords,
    events: Sequence[StoredEvent] = (),
) -> str:
    """The page: a panel a step with the events of the span marked, then the table of what was found."""
    text = words.translator.text
    legend = (
        ("#0d57a3", text("median")),
        ("#b3560b", text("95 % quantile")),
        ("#d93025", text("alarms, from their estimated beginning")),
        ("#5a6775", text("reported only; dashed: events such as deployments")),
    )
    language = "zh-CN" if words.language == "zh" else "en"
    parts = [f"<!doctype html><html lang={language}><meta charset=utf-8><title>{escape(title)}</title>"]
    parts.append(f"<style>{_STYLE}</style><h1>{escape(title)}</h1><p>")
    parts.append(" · ".join(f"<b style='color:{colour}'>{escape(label)}</b>" for colour, label in legend) + "</p>")
    parts += [_panel(panel, words, events) for panel in panels]
    cells = "".join(f"<th>{escape(name)}</th>" for name in words.header())
    body = "".join("<tr>" + "".join(f"<td>{escape(value)}</td>" for value in row) + "</tr>" for row in rows)
    alarms, nothing, heading = text("Alarms"), text("No alarms."), text("Events")
    table = f"<h2>{escape(alarms)}</h2><table><tr>{cells}</tr>{body}</table>"
    parts.append(table if rows else f"<p>{escape(nothing)}</p>")
    if events:
        parts.append(f"<h2>{escape(heading)}</h2><ul>")
        parts += [f"<li>{escape(words.event(event))}</li>" for event in events]
        parts.append("</ul>")
    return "".join(parts) + "</html>\n"


def _panel(panel: Panel, words: BacktestWords, events: Sequence[StoredEvent]) -> str:
    levels = panel.levels
    first, last = float(levels.start[0]), float(levels.start[-1]) + levels.seconds
    known = np.concatenate([levels.p50, levels.p95])
    top = float(np.nanmax(known)) if np.isfinite(known).any() else 1.0
    top = _round_up(top)

    def x(at: float) -> float:
        share = min(max((at - first) / (last - first), 0.0), 1.0)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(value: float) -> float:
        return round(_HEIGHT - _BOTTOM - value / top * (_HEIGHT - _TOP - _BOTTOM), 1)

    parts = [f"<h2>{escape(panel.title)}</h2><svg viewBox='0 0 {_WIDTH:g} {_HEIGHT:g}' role=img>"]
    parts.append(f"<title>{escape(panel.title)}</title>")
    for paged, kind in ((False, "report"), (True, "alarm")):
        for begin, end, names in _spans(panel.alarms, words, last, paged=paged):
            left = x(begin)
            width = max(x(end) - left, 1.5)
            parts.append(
                f"<rect class={kind} x='{left}' y='{_TOP:g}' width='{width:.1f}' height='{_HEIGHT - _TOP - _BOTTOM:g}'>"
                f"<title>{escape(', '.join(names))}</title></rect>"
            )
    for share in (0.0, 0.5, 1.0):
        at = y(top * share)
        parts.append(f"<line class=grid x1='{_LEFT:g}' x2='{_WIDTH - _RIGHT:g}' y1='{at}' y2='{at}'/>")
        parts.append(f"<text x='{_LEFT - 6:g}' y='{at + 4}' text-anchor=end>{top * share:.3g} s</text>")
    for step in range(6):
        moment = first + (last - first) * step / 5
        anchor = "start" if step == 0 else "end" if step == 5 else "middle"
        label = f"{datetime.fromtimestamp(moment, words.zone):%m-%d %H:%M}"
        parts.append(f"<text x='{x(moment)}' y='{_HEIGHT - 6:g}' text-anchor={anchor}>{label}</text>")
    for event in events:
        if first <= event.at <= last and event.step in (None, panel.step):
            at = x(event.at)
            parts.append(
                f"<line class=event x1='{at}' x2='{at}' y1='{_TOP:g}' y2='{_HEIGHT - _BOTTOM:g}'>"
                f"<title>{escape(words.event(event))}</title></line>"
            )
    middle = levels.start + levels.seconds / 2
    for name, values in (("p95", levels.p95), ("p50", levels.p50)):
        parts.append(f"<path class={name} d='{_path(middle, values, x, y)}'/>")
    return "".join(parts) + "</svg>"


def _spans(
    alarms: Sequence[Alarm], words: BacktestWords, last: float, *, paged: bool
) -> list[tuple[float, float, list[str]]]:
    """Spans of alarms, overlapping ones as one, and what they are."""
    spans: list[tuple[float, float, list[str]]] = []
    for alarm in sorted(alarms, key=lambda each: each.deviation.started_at):
        if alarm.paged is not paged:
            continue
        begin, end = alarm.deviation.started_at, alarm.ended_at if alarm.ended_at is not None else last
        name = " ".join(words.row(alarm)[:2])
        if spans and begin <= spans[-1][1]:
            first, until, names = spans[-1]
            spans[-1] = (first, max(until, end), names if name in names else [*names, name])
        else:
            spans.append((begin, end, [name]))
    return spans


def _path(at: Any, values: Any, x: Any, y: Any) -> str:
    """A line with gaps where there are no data."""
    found, pen_down = [], False
    for moment, value in zip(at, values, strict=True):
        if math.isfinite(value):
            found.append(f"{'L' if pen_down else 'M'}{x(float(moment))} {y(float(value))}")
        pen_down = math.isfinite(value)
    return "".join(found)


def _round_up(value: float) -> float:
    step = 10.0 ** math.floor(math.log10(value)) / 2 if value > 0 else 1.0
    return math.ceil(value / step) * step
