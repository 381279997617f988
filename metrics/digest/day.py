"""Days of windows in columns, and their bytes: what baselines are learnt from without reading every window again.

A row is a series and a UTC day. Windows keep what a window alone can tell (how many answers, where they lie),
stretches of :data:`BIN_SECONDS` keep counts of what is rare (slow tails, verdicts, checks), hours keep the shape of the
distribution. A location is told by deviations from the hour's level, pulled in at :data:`CLIP` of the row's scale as
the detector does it (Huber 1964, doi:10.1214/aos/1177703732), so that whatever is learnt later can start from there.

What a digest does not say: the histogram of a single window, minimum and maximum, sums of squares.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from ..sketch import LOG_GAMMA
from ..verdict import VERDICT_COUNT

__all__ = ["BINS_PER_DAY", "BIN_SECONDS", "CLIP", "DAY_SECONDS", "HOURS", "SHAPE_BINS", "SHAPE_REACH", "DayDigests"]

Floats = NDArray[Any]  # float32 or float64
Integers = NDArray[Any]

DAY_SECONDS = 86_400
HOURS = 24
BIN_SECONDS = 300
BINS_PER_DAY = DAY_SECONDS // BIN_SECONDS
CLIP = 1.8  # of the scale; that of the detector
SHAPE_BINS = 64
SHAPE_REACH = SHAPE_BINS // 2  # bins below the level, and above it
TAILS = 2

_VERSION = 1  # a new one comes with a migration that has all days digested anew
_SHAPE_WIDTH = 0.2  # of the scale, at least a bucket of the sketch
_PULLED_STEP = 1 / 2048  # of the scale: less than a hundredth of what any window knows
_HEAD = struct.Struct("<BBHH3f")  # version, bytes of a count, window_seconds, checks, ruler
_LEVEL = 3  # of compression: sixteen would save a twentieth and take ten times as long
_COUNTS = ("count", "tails", "verdicts", "checks", "shape")


@dataclass(frozen=True, slots=True)
class DayDigests:
    """``R`` days of series; ``W`` windows and ``B`` = 288 stretches of five minutes a day, ``K`` checks.

    Attributes:
        window_seconds: Length of a window; divides 60.
        ruler: Scale of ln duration, and where the two tails begin above an hour's level (ln), ``[R, 3]``; scale 0 where
            there is nothing yet.
        level: Level of each hour (ln seconds), NaN where it had no durations, ``[R, 24]``.
        shape: Observations of each hour by distance from its level, in bins of :meth:`shape_width`, ``[R, 24, 64]``.
        count: Observations with a duration, ``[R, W]``.
        pulled: Mean deviation from the hour's level, pulled in at :data:`CLIP` scales (ln), ``[R, W]`` float32.
        tails: Observations in buckets wholly beyond the edges of :meth:`edges`, ``[R, 2, B]``.
        verdicts: All observations by verdict, ``[R, 8, B]``.
        checks: Passed and failed by check position, ``[R, 2 K, B]``: all passed, then all failed.
    """

    window_seconds: int
    ruler: Floats
    level: Floats
    shape: Integers
    count: Integers
    pulled: Floats
    tails: Integers
    verdicts: Integers
    checks: Integers

    def __len__(self) -> int:
        return len(self.ruler)

    @classmethod
    def empty(cls, rows: int, window_seconds: int, checks: int = 0) -> DayDigests:
        """Days without anything."""
        windows = DAY_SECONDS // window_seconds
        return cls(
            window_seconds,
            np.zeros((rows, 3), dtype=np.float32),
            np.full((rows, HOURS), np.nan, dtype=np.float32),
            np.zeros((rows, HOURS, SHAPE_BINS), dtype=np.uint32),
            np.zeros((rows, windows), dtype=np.uint32),
            np.zeros((rows, windows), dtype=np.float32),
            np.zeros((rows, TAILS, BINS_PER_DAY), dtype=np.uint32),
            np.zeros((rows, VERDICT_COUNT, BINS_PER_DAY), dtype=np.uint32),
            np.zeros((rows, 2 * checks, BINS_PER_DAY), dtype=np.uint32),
        )

    @property
    def check_positions(self) -> int:
        """``K``."""
        return int(self.checks.shape[1]) // 2

    def edges(self) -> Floats:
        """From where on observations count as tails (ln seconds), ``[R, 24, 2]``: the end of a bucket of the sketch."""
        wanted = self.level[..., None] + self.ruler[:, None, 1:]
        return np.asarray(np.ceil(wanted / LOG_GAMMA) * LOG_GAMMA)

    def shape_width(self) -> Floats:
        """Width of a bin of the shape (ln), ``[R]``."""
        return np.maximum(_SHAPE_WIDTH * self.ruler[:, 0], np.float32(LOG_GAMMA))

    def take(self, rows: Any) -> DayDigests:
        """Some rows."""
        return self._mapped(lambda values: values[rows])

    def spread(self, places: Integers, rows: int) -> DayDigests:
        """So many rows: these at the given places, the others empty."""
        return DayDigests.empty(rows, self.window_seconds, self.check_positions).replaced(places, self)

    def replaced(self, places: Integers, other: DayDigests) -> DayDigests:
        """With other rows at the given places; windows of different lengths become the shortest both fill."""
        longest = int(np.lcm(self.window_seconds, other.window_seconds))
        checks = max(self.check_positions, other.check_positions)
        whole, part = (each.coarsened(longest).with_checks(checks) for each in (self, other))
        values: dict[str, Any] = {}
        for item in fields(DayDigests):
            if item.name != "window_seconds":
                old, new = getattr(whole, item.name), getattr(part, item.name)
                values[item.name] = np.array(old, dtype=np.result_type(old, new))
                values[item.name][places] = new
        return DayDigests(longest, **values)

    def with_checks(self, positions: int) -> DayDigests:
        """With room for so many checks or more."""
        more = positions - self.check_positions
        if more <= 0:
            return self
        parts = np.split(self.checks, 2, axis=1)
        return replace(self, checks=np.concatenate([np.pad(p, ((0, 0), (0, more), (0, 0))) for p in parts], axis=1))

    def coarsened(self, window_seconds: int) -> DayDigests:
        """The same by longer windows.

        Raises:
            ValueError: they are not a multiple of the present ones.
        """
        if window_seconds % self.window_seconds:
            raise ValueError(f"windows of {window_seconds} s are not a multiple of {self.window_seconds} s")
        if window_seconds == self.window_seconds:
            return self
        rows, together = len(self), window_seconds // self.window_seconds
        count = self.count.reshape(rows, -1, together)
        total = count.sum(axis=2)
        pulled = (self.pulled.reshape(rows, -1, together) * count).sum(axis=2) / np.maximum(total, 1)
        return replace(
            self, window_seconds=window_seconds, count=total.astype(np.uint32), pulled=pulled.astype(np.float32)
        )

    def to_bytes(self) -> Iterator[bytes]:
        """Each row as bytes, compressed."""
        compressor = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True)
        step = self.ruler[:, :1] * np.float32(_PULLED_STEP)
        scaled = np.divide(self.pulled, step, out=np.zeros_like(self.pulled), where=step > 0)
        steps = np.clip(np.rint(scaled), -32_768, 32_767).astype("<i2")
        for row in range(len(self)):
            counts = np.concatenate([getattr(self, name)[row].ravel() for name in _COUNTS])
            width = 2 if int(counts.max(initial=0)) < 1 << 16 else 4
            head = _HEAD.pack(_VERSION, width, self.window_seconds, self.check_positions, *self.ruler[row].tolist())
            planes = (
                _planes(counts.astype(f"<u{width}")) + _planes(steps[row]) + self.level[row].astype("<f4").tobytes()
            )
            yield head + compressor.compress(planes)

    @classmethod
    def from_bytes(cls, rows: Sequence[bytes]) -> DayDigests:
        """What :meth:`to_bytes` gave, several rows in one; windows of different lengths become the longest.

        Raises:
            ValueError: a row was written by another version of this format.
        """
        groups: dict[tuple[int, int, int], list[int]] = {}
        rulers = np.zeros((len(rows), 3), dtype=np.float32)
        for place, data in enumerate(rows):
            version, width, window_seconds, checks, *ruler = _HEAD.unpack_from(data)
            if version != _VERSION:
                raise ValueError(f"a digest of format {version} cannot be read, only {_VERSION}; digest its day anew")
            groups.setdefault((window_seconds, width, checks), []).append(place)
            rulers[place] = ruler
        if not groups:
            return cls.empty(0, 60)
        decompressor = zstandard.ZstdDecompressor()
        parts = []
        for (window_seconds, width, checks), places in groups.items():
            raw = b"".join([decompressor.decompress(memoryview(rows[place])[_HEAD.size :]) for place in places])
            octets = np.frombuffer(raw, dtype=np.uint8).reshape(len(places), -1)
            parts.append(_from_planes(octets, rulers[places], window_seconds, width, checks))
        order = np.argsort(np.concatenate(list(groups.values())), kind="stable")
        return joined(parts).take(order) if len(parts) > 1 else parts[0]

    def _mapped(self, change: Any) -> DayDigests:
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "window_seconds"}
        return DayDigests(self.window_seconds, **{name: change(value) for name, value in values.items()})


def joined(parts: Sequence[DayDigests]) -> DayDigests:
    """The rows of all, one after the other; of windows of different lengths the shortest that all of them fill."""
    longest = int(np.lcm.reduce([part.window_seconds for part in parts]))
    checks = max(part.check_positions for part in parts)
    alike = [part.coarsened(longest).with_checks(checks) for part in parts]
    names = [item.name for item in fields(DayDigests) if item.name != "window_seconds"]
    return DayDigests(longest, **{name: np.concatenate([getattr(part, name) for part in alike]) for name in names})


def _planes(values: Integers) -> bytes:
    """All first bytes, then all second ones …: what is small compresses far better so."""
    return np.ascontiguousarray(values.view(np.uint8).reshape(len(values), -1).T).tobytes()


def _from_planes(octets: Integers, ruler: Floats, window_seconds: int, width: int, checks: int) -> DayDigests:
    rows, windows = len(octets), DAY_SECONDS // window_seconds
    shapes = {
        "count": (windows,),
        "tails": (TAILS, BINS_PER_DAY),
        "verdicts": (VERDICT_COUNT, BINS_PER_DAY),
        "checks": (2 * checks, BINS_PER_DAY),
        "shape": (HOURS, SHAPE_BINS),
    }
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    total = sum(sizes)
    numbers = _whole(octets[:, : total * width], width)
    edges = np.concatenate(([0], np.cumsum(sizes)))
    counts: dict[str, Any] = {
        name: numbers[:, edges[place] : edges[place + 1]].reshape(rows, *shape)
        for place, (name, shape) in enumerate(shapes.items())
    }
    at = total * width
    steps = _whole(octets[:, at : at + 2 * windows], 2).view(np.int16)
    pulled = steps * (ruler[:, :1] * np.float32(_PULLED_STEP))
    level = np.ascontiguousarray(octets[:, at + 2 * windows :]).view("<f4").astype(np.float32)
    return DayDigests(window_seconds, ruler, level, pulled=pulled, **counts)


def _whole(octets: Integers, width: int) -> Integers:
    """Numbers from planes of bytes; planes that are all 0 cost nothing but a look."""
    size = octets.shape[1] // width
    kind: Any = np.uint16 if width == 2 else np.uint32
    numbers: Any = octets[:, :size].astype(kind)
    for plane in range(1, width):
        part = octets[:, plane * size : (plane + 1) * size]
        if part.any():
            numbers |= part.astype(kind) << kind(8 * plane)
    return np.asarray(numbers)
