"""The detector on recordings: learn on a history, follow streams minute by minute, events out.

Same code as in production. The work on a row depends on the profile and that row only, and the follower sees
minutes in order: nothing at minute ``t`` uses data after ``t``. Streams of different times run side by side, each on
its own clock.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, fields, replace

import numpy as np

from ..baseline.baseline import Profile, learn
from ..baseline.budget import TAILS
from ..baseline.copy import copy_profile
from ..baseline.location import pulled_in_sum, tail_count
from ..detection.calendar import local_time
from ..detection.channels import ChannelMap, Grid, shift_inputs, volume_terms
from ..detection.clock import Alternatives, Clock
from ..detection.events import Event, EventKind
from ..detection.follow import Follower, Inputs
from ..detection.input import BucketGrid, Channel, Fleet, Measurements
from ..detection.settings import DetectionSettings
from ..observation import SeriesKey
from .file import Floats, Integers, Recording, RecordingError
from .promise import Promise

__all__ = ["MONDAY", "BacktestEvent", "promise_of", "run_backtest"]

MONDAY = 345_600.0  # 1970-01-05 00:00 UTC, minute 0 of recordings
OTHER = "(other)"  # the cell of groups that the history does not know

_CELLS_AT_ONCE = 96
_STREAM_CELLS_AT_ONCE = 1_200
_BLOCK = 1_440
_PAGED = {EventKind.UP: "latency", EventKind.TAIL: "latency", EventKind.FAIL: "fail"}
_REPORTED = {
    EventKind.DOWN: "down",
    EventKind.VOLUME: "volume",
    EventKind.SILENT: "volume",
    EventKind.MIX: "mix",
    EventKind.CREEP: "creep",
}


@dataclass(frozen=True, slots=True)
class BacktestEvent:
    """One event of a stream; minutes are absolute, effects log-ratios."""

    series: str
    minute: int
    change_minute: int
    effect: float
    low: float
    high: float
    kind: str

    def row(self) -> tuple[str, int, int, str, str, str, str]:
        """The event as a row of the output file."""
        return (self.series, self.minute, self.change_minute, f"{self.effect:.5f}", f"{self.low:.5f}",
                f"{self.high:.5f}", self.kind)  # fmt: skip


def run_backtest(
    history: Recording,
    stream: Recording,
    settings: DetectionSettings,
    grid: BucketGrid,
    *,
    profiles: MutableMapping[tuple[str, ...], Profile] | None = None,
) -> list[BacktestEvent]:
    """Learn the history series that the streams name, and follow every stream.

    A stream ``<id>@<name>`` is judged by history series ``<name>``, a stream ``<id>`` by ``T``.

    Args:
        history: What is learnt from.
        stream: What is judged.
        settings: Budget, zone, calendar.
        grid: The grid of both histograms.
        profiles: What was learnt in an earlier run from the same history, by history series; what it lacks is added.

    Raises:
        RecordingError: a stream names a history series that is not there.
    """
    taught_by = {name: _teacher(name, history, stream) for name in stream.names}
    order = np.argsort(stream.series, kind="stable")
    spans = np.searchsorted(stream.series[order], np.arange(len(stream.names) + 1))
    events: list[BacktestEvent] = []
    for teachers in _teachers(history, sorted(set(taught_by.values()))):
        profile = profiles.get(tuple(teachers)) if profiles is not None else None
        if profile is None:
            profile = _learn(history, teachers, settings, grid)
            if profiles is not None:
                profiles[tuple(teachers)] = profile
        pupils = [index for index, name in enumerate(stream.names) if taught_by[name] in teachers]
        pupils.sort(key=lambda index: int(spans[index + 1] - spans[index]))  # streams of like length go together
        width = max(len(profile.fleet.cells) // max(len(teachers), 1), 1)
        size = max(_STREAM_CELLS_AT_ONCE // width, 1)
        for begin in range(0, len(pupils), size):
            chosen = pupils[begin : begin + size]
            rows = np.concatenate([order[spans[index] : spans[index + 1]] for index in chosen])
            names = [stream.names[index] for index in chosen]
            events += _follow(stream, rows, names, [taught_by[name] for name in names], profile)
    place = {name: index for index, name in enumerate(stream.names)}
    return sorted(events, key=lambda event: (place[event.series], event.minute))


def promise_of(stream: Recording, alarms: int, promised: float) -> Promise:
    """What was promised of a recording that holds no change, and what was observed; of 0 months without data."""
    minutes = np.zeros(len(stream.names))
    for index in range(len(stream.names)):
        mine = stream.minute[stream.series == index]
        minutes[index] = mine.max() - mine.min() + 1 if len(mine) else 0
    return Promise(alarms, float(minutes.sum()) / (30 * 1440), promised)


def _teacher(name: str, history: Recording, stream: Recording) -> str:
    wanted = name.rsplit("@", 1)[1] if "@" in name else "T"
    if wanted in history.names:
        return wanted
    if "@" not in name and name in history.names:
        return name
    have = ", ".join(history.names[:8]) or "none"
    raise RecordingError(
        f"{stream.path}:{stream.line.get(name, 0)}: series={name!r} needs history series {wanted!r}, which is not in "
        f"{history.path} (it has: {have}); name the stream <id>@<history series>"
    )


def _teachers(history: Recording, wanted: list[str]) -> Iterator[list[str]]:
    """History series in portions that are learnt together."""
    code = {name: index for index, name in enumerate(history.names)}
    pairs = np.unique(np.stack([history.series, history.group]), axis=1)[0]
    cells = np.bincount(pairs, minlength=len(history.names)) + 1
    portion: list[str] = []
    size = 0
    for name in wanted:
        if portion and size + cells[code[name]] > _CELLS_AT_ONCE:
            yield portion
            portion, size = [], 0
        portion.append(name)
        size += int(cells[code[name]])
    if portion:
        yield portion


def _key(series: str, group: str) -> SeriesKey:
    return SeriesKey(series, "step", (("group", group),))


def _fleet(cells: list[SeriesKey], grid: BucketGrid) -> Fleet:
    fleet = Fleet.build(cells, grid, flows=False)
    channels = tuple(
        Channel(index, None, tuple((int(cell), 0) for cell in inside)) for index, inside in enumerate(fleet.members)
    )
    return replace(fleet, channels=channels)


def _learn(history: Recording, teachers: list[str], settings: DetectionSettings, grid: BucketGrid) -> Profile:
    code = {name: index for index, name in enumerate(history.names)}
    rows = np.flatnonzero(np.isin(history.series, [code[name] for name in teachers]))
    pairs = np.unique(np.stack([history.series[rows], history.group[rows]]), axis=1).T
    cells = [_key(history.names[series], history.groups[group]) for series, group in pairs]
    cells += [_key(name, OTHER) for name in teachers]
    place = {(int(series), int(group)): index for index, (series, group) in enumerate(pairs)}
    pair_code = history.series[rows] * (len(history.groups) + 1) + history.group[rows]
    codes, inverse = np.unique(pair_code, return_inverse=True)
    lookup = np.array([place[divmod(int(each), len(history.groups) + 1)] for each in codes], dtype=np.int64)
    measurements = _measurements(history, rows, lookup[inverse] if len(codes) else np.zeros(0, dtype=np.int64))
    return learn(measurements, _fleet(cells, grid), settings)


def _measurements(recording: Recording, rows: Integers, cell: Integers) -> Measurements:
    """Rows of a recording as the detector reads them; the one outcome column is failed checks."""
    lengths = np.diff(recording.offsets)[rows]
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    source = np.repeat(recording.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
    counts = recording.bucket_counts[source]
    in_buckets = np.bincount(np.repeat(np.arange(len(rows)), lengths), counts, minlength=len(rows))
    n = np.where(np.isnan(recording.n[rows]), in_buckets, recording.n[rows])
    timed = (lengths > 0) | np.isfinite(recording.sum_log[rows])
    fails = recording.fails[rows]
    tried = np.where(np.isnan(fails), 0.0, np.where(np.isnan(recording.n[rows]), np.maximum(n, 1.0), n))
    return Measurements(
        MONDAY + 60.0 * recording.minute[rows],
        cell,
        np.where(timed, n, 0.0),
        np.where(n > 0, recording.sum_log[rows], 0.0),
        recording.sum_sq[rows],
        offsets,
        recording.buckets[source],
        counts,
        np.nan_to_num(fails)[:, None],
        tried[:, None],
    )


def _follow(
    stream: Recording, rows: Integers, names: list[str], teachers: list[str], profile: Profile
) -> list[BacktestEvent]:
    """Follow some streams side by side."""
    copied, cell_of = copy_profile(profile, teachers, _key, OTHER)
    local_series = {stream.names.index(name): index for index, name in enumerate(names)}
    which = np.array([local_series[int(index)] for index in np.unique(stream.series[rows])], dtype=np.int64)
    which = which[np.searchsorted(np.unique(stream.series[rows]), stream.series[rows])]
    groups = np.array(
        [[cell_of(index, group) for group in stream.groups] for index in range(len(names))], dtype=np.int64
    )
    cell = groups[which, stream.group[rows]]
    minute = stream.minute[rows]
    first = np.full(len(names), np.iinfo(np.int64).max)
    last = np.full(len(names), -1)
    np.minimum.at(first, which, minute)
    np.maximum.at(last, which, minute)
    step = minute - first[which]
    order = np.argsort(step, kind="stable")
    follower = Follower(copied, copied.settings)
    scope_stream = np.array([int(scope.flow) for scope in copied.fleet.scopes])
    cell_stream = np.array([int(key.flow) for key in copied.fleet.cells])
    teller = _Teller(names)
    channels, clock = ChannelMap.of(copied.fleet), Clock(copied, copied.settings)
    total = int(step.max()) + 1
    for begin in range(0, total, _BLOCK):
        end = min(begin + _BLOCK, total)
        low, high = np.searchsorted(step[order], [begin, end])
        part = order[low:high]
        block = _Block(copied, channels, clock, first, last - first, begin, end - begin, cell_stream, scope_stream)
        inputs = block.inputs(_measurements(stream, rows[part], cell[part]), step[part] - begin, which[part])
        for t, window in enumerate(inputs):
            now = MONDAY + 60.0 * (first[scope_stream] + begin + t)
            for event in follower.step(now, window):
                teller.tell(int(scope_stream[event.scope]), event)
    return teller.events


@dataclass(slots=True)
class _Block:
    """A stretch of minutes of all streams as dense arrays."""

    profile: Profile
    channels: ChannelMap
    clock: Clock
    first: Integers
    length: Integers
    begin: int
    size: int
    cell_stream: Integers
    scope_stream: Integers

    def inputs(self, rows: Measurements, step: Integers, which: Integers) -> Iterator[Inputs]:
        """What the follower reads of each minute."""
        profile, fleet, cells = self.profile, self.profile.fleet, len(self.profile.fleet.cells)
        grid = Grid(self.size, cells, step * cells + rows.cell)
        level, expected, usual, hour, other = self._seasons()
        flat = level.ravel()[grid.position]
        scale = profile.scale[rows.cell]
        pulled = pulled_in_sum(rows, fleet.grid, flat, scale)
        usable = np.isfinite(pulled) & profile.known[rows.cell]
        count = grid.add(np.where(usable, rows.count, 0.0))
        total = grid.add(np.where(usable, pulled, 0.0))
        deviation = np.divide(total, count * profile.slope, out=np.zeros_like(total), where=count > 0)
        shift = shift_inputs(deviation, level, count, profile.spread, fleet)
        present = np.zeros((self.size, len(self.first)), dtype=bool)
        present[step, which] = True
        here = present[:, self.scope_stream]
        volume, volume_variance = volume_terms(shift.count, expected)
        volume_variance = np.where(here, volume_variance, np.inf)
        failed, mean, tried = self._counts(rows, grid, flat, scale)
        mean *= profile.count.shape[hour, np.arange(mean.shape[1])]
        residual = np.concatenate([shift.residual, volume, shift.level - usual], axis=1)
        variance = np.concatenate([shift.variance, volume_variance, shift.mix_variance], axis=1)
        seen = np.tile(shift.count, (1, 3))
        inside = np.arange(self.begin, self.begin + self.size)[:, None] <= self.length[self.scope_stream]
        expected = np.where(inside, expected, 0.0)
        for t in range(self.size):
            alternatives = Alternatives(*(values[t] for values in other))
            yield Inputs(residual[t], variance[t], seen[t], failed[t], mean[t], tried[t], expected[t], alternatives)

    def _seasons(self) -> tuple[Floats, Floats, Floats, Integers, list[Floats]]:
        """Levels of cells, volume, mix and alternatives of scopes, hour of count tests, each on its own clock."""
        profile = self.profile
        cells, scopes = len(profile.fleet.cells), len(profile.fleet.scopes)
        level = np.zeros((self.size, cells))
        expected, usual = np.zeros((self.size, scopes)), np.zeros((self.size, scopes))
        channel_scope = [channel.scope for channel in profile.fleet.channels]
        test_stream = self.scope_stream[
            np.concatenate([np.repeat(np.arange(scopes), len(TAILS)), channel_scope]).astype(int)
        ]
        hour = np.zeros((self.size, len(test_stream)), dtype=np.int64)
        none = Alternatives.none(scopes)
        other: list[Floats] = [np.zeros((self.size, *getattr(none, item.name).shape)) for item in fields(none)]
        for start in np.unique(self.first):
            minutes = start + self.begin + np.arange(self.size)
            local = local_time(MONDAY + 60.0 * minutes, profile.settings)
            same = self.first == start
            for target, season, owner in (
                (level, profile.season, self.cell_stream),
                (expected, profile.volume, self.scope_stream),
                (usual, profile.mix, self.scope_stream),
            ):
                columns = np.flatnonzero(same[owner])
                target[:, columns] = season.take(columns).at(local)
            places = np.flatnonzero(same[self.scope_stream])
            for target, values in zip(other, self.clock.at(MONDAY + 60.0 * minutes, places), strict=True):
                target[..., places] = values
            hour[:, same[test_stream]] = np.minimum(local.second // 3600, 23).astype(np.int64)[:, None]
        return level, expected, usual, hour, other

    def _counts(self, rows: Measurements, grid: Grid, level: Floats, scale: Floats) -> tuple[Floats, Floats, Floats]:
        profile, fleet = self.profile, self.profile.fleet
        row = np.repeat(np.arange(len(rows)), np.diff(rows.offsets))
        known = profile.known[rows.cell]
        in_buckets = np.bincount(row, rows.bucket_counts, minlength=len(rows)) * known
        tails = []
        for k in range(len(TAILS)):
            beyond = tail_count(rows, fleet.grid, level + profile.tail_edge[rows.cell, k] * scale)
            tails.append(grid.add(beyond * known))
        failed, tried = [grid.add(rows.failed[:, 0])], [grid.add(rows.tried[:, 0])]
        trials = grid.add(in_buckets)
        return self.channels.over_time(fleet, tails, profile.tail_rate, trials, failed, tried, profile.pair_rate)


class _Teller:
    """One cause, one event: while a series' latency (or failures) is reported, its parts and tails are not."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._open: dict[tuple[int, str], set[tuple[int, int, EventKind]]] = {}
        self.events: list[BacktestEvent] = []

    def tell(self, stream: int, event: Event) -> None:
        """Take an event of a scope or channel; report it if it is news about the series."""
        kind = event.ends if event.kind is EventKind.RESOLVE and event.ends is not None else event.kind
        topic = _PAGED.get(kind) or _REPORTED.get(kind, kind.value)
        running = self._open.setdefault((stream, topic), set())
        token = (event.scope, event.channel, kind)
        if event.kind is EventKind.RESOLVE:
            running.discard(token)
            if not running and kind in _PAGED:
                self._append(stream, event, "resolve")
            return
        if not running:
            self._append(stream, event, "volume" if kind is EventKind.SILENT else kind.value)
        if kind is not EventKind.CREEP:
            running.add(token)

    def _append(self, stream: int, event: Event, kind: str) -> None:
        minute, change = (round((moment - MONDAY) / 60) for moment in (event.now, event.started))
        self.events.append(
            BacktestEvent(self._names[stream], minute, change, event.effect, event.low, event.high, kind)
        )
