"""A small line chart as a PNG, drawn with numpy: for mails, where neither scripts nor SVG can be relied on.

No text is drawn; what the lines are stands beside the picture.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Trend", "trend_png"]

Image = NDArray[np.float64]  # [height, width, 3], 0-1

_WIDTH, _HEIGHT, _MARGIN = 1264, 320, 24  # twice the size it is shown at, for sharp screens
_WHITE = (1.0, 1.0, 1.0)
_GRID, _SINCE, _USUAL, _LINE = (0.9, 0.91, 0.93), (1.0, 0.95, 0.9), (0.45, 0.5, 0.58), (0.05, 0.34, 0.64)


@dataclass(frozen=True, slots=True)
class Trend:
    """Levels over time, window by window.

    Attributes:
        start: Start of the first window, seconds since 1970 UTC.
        window_seconds: Length of a window.
        values: Level of each window; ``None`` where there are no data.
        began_at: When the change began.
        usual: The usual level.
    """

    start: float
    window_seconds: float
    values: tuple[float | None, ...]
    began_at: float
    usual: float


def trend_png(trend: Trend) -> bytes | None:
    """The chart: levels as a line, the usual level dashed, the time since the change shaded; ``None`` without data."""
    values = np.array([np.nan if value is None else value for value in trend.values], dtype=np.float64)
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return None
    low, high = min(float(known.min()), trend.usual), max(float(known.max()), trend.usual)
    pad = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
    low, high = low - pad, high + pad
    image = np.ones((_HEIGHT, _WIDTH, 3)) * np.array(_WHITE)
    x = _MARGIN + (np.arange(len(values)) + 0.5) * (_WIDTH - 2 * _MARGIN) / len(values)
    y = _HEIGHT - _MARGIN - (values - low) / (high - low) * (_HEIGHT - 2 * _MARGIN)
    began = (trend.began_at - trend.start) / (trend.window_seconds * len(values))
    edge = int(np.clip(_MARGIN + began * (_WIDTH - 2 * _MARGIN), _MARGIN, _WIDTH - _MARGIN))
    image[_MARGIN : _HEIGHT - _MARGIN, edge : _WIDTH - _MARGIN] = _SINCE
    for row in np.linspace(_MARGIN, _HEIGHT - _MARGIN, 5).astype(int):
        image[row, _MARGIN : _WIDTH - _MARGIN] = _GRID
    usual = round(_HEIGHT - _MARGIN - (trend.usual - low) / (high - low) * (_HEIGHT - 2 * _MARGIN))
    dashes = (np.arange(_MARGIN, _WIDTH - _MARGIN) // 12) % 2 == 0
    image[usual - 1 : usual + 1, _MARGIN : _WIDTH - _MARGIN][:, dashes] = _USUAL
    for first in range(len(values) - 1):
        if np.isfinite(y[first]) and np.isfinite(y[first + 1]):
            _segment(image, (float(x[first]), float(y[first])), (float(x[first + 1]), float(y[first + 1])))
    return _png((np.clip(image, 0, 1) * 255).astype(np.uint8))


def _segment(image: Image, start: tuple[float, float], end: tuple[float, float], thickness: float = 4.0) -> None:
    """Draw a line with soft edges: coverage falls off over one pixel at half the thickness."""
    left, right = int(min(start[0], end[0]) - thickness), int(max(start[0], end[0]) + thickness) + 1
    top, bottom = int(min(start[1], end[1]) - thickness), int(max(start[1], end[1]) + thickness) + 1
    left, top = max(left, 0), max(top, 0)
    part = image[top:bottom, left:right]
    rows, columns = np.mgrid[top : top + part.shape[0], left : left + part.shape[1]]
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = dx * dx + dy * dy or 1.0
    along = np.clip(((columns - start[0]) * dx + (rows - start[1]) * dy) / length, 0, 1)
    distance = np.hypot(columns - start[0] - along * dx, rows - start[1] - along * dy)
    cover = np.clip(thickness / 2 + 0.5 - distance, 0, 1)[:, :, None]
    part[:] = part * (1 - cover) + np.array(_LINE) * cover


def _png(pixels: NDArray[Any]) -> bytes:
    """An 8-bit RGB image (PNG, ISO/IEC 15948)."""
    height, width, _ = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), dtype=np.uint8), pixels.reshape(height, width * 3)], axis=1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
        + chunk(b"IEND", b"")
    )
