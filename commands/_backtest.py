"""``cxgauge backtest`` on the own store."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ._installation import fail, load_config, open_store
from ._report import declared_flow

if TYPE_CHECKING:
    from datetime import tzinfo

    from ..metrics.backtest.store import Alarm

__all__ = ["backtest_store"]

_HEADER = ("scope", "kind", "started", "found", "effect", "95 % interval", "delay", "limit", "ended")
_POINTS = 500  # of a picture


def backtest_store(
    flow_name: str, start: str, end: str, config_path: Path | None, output: Path | None, budget: float | None
) -> None:
    """Judge a span of a flow's stored windows by what was before it; print what was found, and draw it.

    Raises:
        typer.Exit: an option cannot be used, or there is no history; the reason has been printed.
    """
    import time
    from dataclasses import replace

    from ..alerts.cells import CellMap
    from ..alerts.evaluation_settings import EvaluationSettings
    from ..alerts.learning import learn_from_store
    from ..dashboards.backtest_picture import Panel, backtest_page
    from ..dashboards.periods import parse_moment
    from ..metrics.backtest.store import levels_of, replay, share_of_budget
    from ..metrics.detection.input import Measurements

    config = load_config(config_path)
    flow = declared_flow(config, flow_name)
    settings, window, now = EvaluationSettings.of(config), config.window_seconds, time.time()
    try:
        first, last = (parse_moment(text, config.timezone, now) // window * window for text in (start, end))
    except ValueError as error:
        raise fail(str(error)) from None
    if last <= first:
        raise fail(f"--to={end!r} is not after --from={start!r}; swap them")
    with open_store(config) as store:
        detection = share_of_budget(settings.detection, store.series())
        if budget is not None:
            detection = replace(detection, false_alarms_per_series_month=budget)
        profile = learn_from_store(store, first, settings.learning, detection, flow=flow_name)
        if profile is None:
            raise fail(f"nothing of {flow_name} is stored before --from={start!r} to learn from; begin later")
        rollup, keys = store.read_rollups(first, last, flow_name)
    stream = Measurements.from_rollup(rollup, CellMap(profile.fleet.cells, profile.traffic).cells(keys))
    alarms = replay(profile, stream, first, last)
    zone = config.timezone
    rows = [_row(alarm, zone) for alarm in alarms]
    _print(rows)
    untested = sum(bool(reason) for reason in profile.reasons)
    days = profile.span_seconds / 86_400
    typer.echo(
        f"{len(profile.fleet.scopes) - untested} of {len(profile.fleet.scopes)} scopes judged over "
        f"{(last - first) / 86_400:.2f} days after {days:.2f} days of history: "
        f"{sum(alarm.paged for alarm in alarms)} alarms, {sum(not alarm.paged for alarm in alarms)} reported"
    )
    for reason in sorted({reason for reason in profile.reasons if reason}):
        typer.echo(f"not judged: {profile.reasons.count(reason)} scopes, {reason}")
    if output is None:
        return
    seconds = max(math.ceil((last - first) / _POINTS / window), 1) * window
    panels = []
    for step in flow.steps:
        inside = [number for number, key in enumerate(profile.fleet.cells) if key.step == step.name]
        if inside:
            here = [alarm for alarm in alarms if alarm.deviation.scope.step in (None, step.name)]
            levels = levels_of(stream, inside, first, last, float(seconds))
            panels.append(Panel(step.title.in_language(config.language), levels, here))
    title = f"{flow.title.in_language(config.language)}, {_time(first, zone)} – {_time(last, zone)}"
    try:
        output.write_text(backtest_page(title, panels, _HEADER, rows, zone), encoding="utf-8")
    except OSError as error:
        raise fail(f"{output} cannot be written: {error.strerror}") from None
    typer.echo(f"picture: {output}")


def _time(at: float, zone: tzinfo) -> str:
    return f"{datetime.fromtimestamp(at, zone):%Y-%m-%d %H:%M:%S}"


def _row(alarm: Alarm, zone: tzinfo) -> tuple[str, ...]:
    found = alarm.deviation
    scope = found.scope
    place = scope.step or "(whole flow)"
    place += "".join(f" {name}={value}" for name, value in scope.dimensions) + (
        f" {scope.check}" if scope.check else ""
    )

    def change(effect: float) -> str:
        ratio = math.exp(max(min(effect, 50.0), -50.0))
        return f"×{ratio:.2g}" if ratio >= 2 else f"{(ratio - 1) * 100:+.1f} %"

    return (
        place,
        found.kind.value if alarm.paged else f"{found.kind.value} (reported)",
        _time(found.started_at, zone),
        _time(found.detected_at, zone),
        change(found.effect),
        f"{change(found.effect_low)} to {change(found.effect_high)}",
        f"{alarm.delay_seconds / 60:.1f} min",
        "–" if alarm.limit_seconds is None else f"{alarm.limit_seconds / 60:.1f} min",
        "–" if alarm.ended_at is None else _time(alarm.ended_at, zone),
    )


def _print(rows: list[tuple[str, ...]]) -> None:
    if not rows:
        typer.echo("no alarms")
        return
    widths = [max(map(len, column)) for column in zip(_HEADER, *rows, strict=True)]
    for row in (_HEADER, *rows):
        typer.echo("  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip())
