"""``cxgauge backtest`` on the own store."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ._installation import fail, load_config, open_store
from ._report import declared_flow

if TYPE_CHECKING:
    from ..alerts.lifecycle import LifecycleSettings
    from ..metrics.backtest.store import Alarm
    from ..metrics.store.events import StoredEvent
    from ..metrics.translation import Language

__all__ = ["backtest_store"]

_POINTS = 500  # of a picture
_EVENTS = 200
_NOT_COUNTED = frozenset({"incident", "maintenance"})
_INCIDENT_SECONDS = 4 * 3600.0  # of an event whose end nobody told


def backtest_store(  # noqa: PLR0915 (one step after the other)
    flow_name: str,
    start: str,
    end: str,
    config_path: Path | None,
    output: Path | None,
    budget: float | None,
    spike: tuple[int | None, float | None] = (None, None),
    *,
    nulls: bool = False,
    language: Language | None = None,
) -> None:
    """Judge a span of a flow's stored windows by what was before it; print what was found, and draw it.

    Args:
        flow_name: The flow.
        start: Beginning of the span, as people write it.
        end: Its end.
        config_path: Configuration file.
        output: Where to write the picture.
        budget: False alarms tolerated a series-month; the configuration's by default.
        spike: Longest spike in windows and what ratio makes one; the configuration's by default.
        nulls: Nothing was wrong in the span: say whether the promise was kept.
        language: Of table and picture; the configuration's by default.

    Raises:
        typer.Exit: an option cannot be used, or there is no history; the reason has been printed.
    """
    import time

    from ..alerts.cells import CellMap
    from ..alerts.evaluation_settings import EvaluationSettings
    from ..alerts.learning import learn_from_store
    from ..dashboards.backtest_picture import Panel, backtest_page
    from ..dashboards.backtest_words import BacktestWords
    from ..dashboards.periods import parse_moment
    from ..metrics.backtest.promise import Promise
    from ..metrics.backtest.store import families, levels_of, replay, share_of_budget
    from ..metrics.detection.input import Measurements
    from ..metrics.store.events import events_within

    config = load_config(config_path)
    flow = declared_flow(config, flow_name)
    settings, window, now = EvaluationSettings.of(config), config.window_seconds, time.time()
    words = BacktestWords(flow, language or config.language, config.timezone)
    try:
        first, last = (parse_moment(text, config.timezone, now) // window * window for text in (start, end))
    except ValueError as error:
        raise fail(str(error)) from None
    if last <= first:
        raise fail(f"--to={end!r} is not after --from={start!r}; swap them")
    with open_store(config) as store:
        detection = share_of_budget(settings.detection, store.series()).with_spike(*spike)
        if budget is not None:
            detection = replace(detection, false_alarms_per_series_month=budget)
        profile = learn_from_store(store, first, settings.learning, detection, flow=flow_name)
        if profile is None:
            raise fail(f"nothing of {flow_name} is stored before --from={start!r} to learn from; begin later")
        rollup, keys = store.read_rollups(first, last, flow_name)
        with store.connection() as connection:
            events = events_within(connection, first, last, flow_name, limit=_EVENTS)[::-1]
    stream = Measurements.from_rollup(rollup, CellMap(profile.fleet.cells, profile.traffic).cells(keys))
    alarms = replay(profile, stream, first, last)
    rows = [words.row(alarm) for alarm in alarms]
    _print(words.header(), rows, words.nothing())
    scopes, untested = len(profile.fleet.scopes), sum(bool(reason) for reason in profile.reasons)
    days = (last - first) / 86_400, profile.span_seconds / 86_400
    _say([words.summary(scopes - untested, scopes, days, alarms), *words.not_judged(profile.reasons)])
    if nulls:
        steps = {flow.name: tuple(step.name for step in flow.steps)}
        alerts, left_out, seconds_out = _false_alerts(alarms, events, (first, last), steps, settings.lifecycle)
        judged = families(dict(enumerate(profile.fleet.cells)))
        months = (last - first - seconds_out) * judged / (30 * 86_400)
        if months <= 0:
            raise fail("the whole span is incidents and maintenance, so nothing can be said about the promise")
        _say(words.promise(Promise(alerts, months, detection.false_alarms_per_series_month or 0.0), left_out))
    if output is None:
        return
    seconds = max(math.ceil((last - first) / _POINTS / window), 1) * window
    panels = []
    for step in flow.steps:
        inside = [number for number, key in enumerate(profile.fleet.cells) if key.step == step.name]
        if inside:
            here = _of_step(alarms, step.name, settings.lifecycle.group_seconds)
            levels = levels_of(stream, inside, first, last, float(seconds))
            panels.append(Panel(step.title.in_language(words.language), step.name, levels, here))
    title = f"{flow.title.in_language(words.language)}, {words.time(first)} – {words.time(last)}"
    try:
        output.write_text(backtest_page(title, panels, rows, words, events), encoding="utf-8")
    except OSError as error:
        raise fail(f"{output} cannot be written: {error.strerror}") from None
    _say([words.picture(output)])


def _of_step(alarms: Sequence[Alarm], step: str, group_seconds: float) -> list[Alarm]:
    """Alarms of a step, and of the whole flow where no single step says it at the same time."""

    def said_by_a_step(alarm: Alarm) -> bool:
        began = alarm.deviation.started_at
        return any(
            each.deviation.scope.step is not None and abs(each.deviation.started_at - began) <= group_seconds
            for each in alarms
        )

    return [
        alarm
        for alarm in alarms
        if alarm.deviation.scope.step == step or (alarm.deviation.scope.step is None and not said_by_a_step(alarm))
    ]


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        typer.echo(line)


def _false_alerts(
    alarms: Sequence[Alarm],
    events: Sequence[StoredEvent],
    span: tuple[float, float],
    steps: Mapping[str, Sequence[str]],
    settings: LifecycleSettings,
) -> tuple[int, int, float]:
    """Alerts that the alarms make (one cause, one alert), those in incidents and maintenance, and seconds of these."""
    from ..alerts.lifecycle import Lifecycle
    from ..metrics.deviation import DeviationKind

    known = sorted(
        (max(event.at, span[0]), min(event.ended_at or event.at + _INCIDENT_SECONDS, span[1]))
        for event in events
        if event.kind in _NOT_COUNTED
    )
    seconds, through = 0.0, span[0]
    for begin, end in known:
        seconds += max(end - max(begin, through), 0.0)
        through = max(through, end)
    found = [(alarm.deviation.detected_at, alarm.deviation) for alarm in alarms if alarm.paged]
    found += [
        (alarm.ended_at, replace(alarm.deviation, kind=DeviationKind.RECOVERED, ends=alarm.deviation.kind))
        for alarm in alarms
        if alarm.paged and alarm.ended_at is not None
    ]
    lifecycle = Lifecycle(settings, steps)
    for at, deviation in sorted(found, key=lambda each: each[0]):
        lifecycle.apply([deviation], at)
    begun = [alert.lead.started_at for alert in lifecycle.alerts.values()]
    inside = sum(any(begin <= at < end for begin, end in known) for at in begun)
    return len(begun) - inside, inside, seconds


def _print(header: Sequence[str], rows: Sequence[Sequence[str]], nothing: str) -> None:
    if not rows:
        typer.echo(nothing)
        return
    widths = [max(map(_width, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        cells = (value + " " * (width - _width(value)) for value, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


def _width(text: str) -> int:
    """Columns of a terminal: a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)
