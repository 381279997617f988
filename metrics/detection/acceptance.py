"""How far levels and rates have moved, when a person declares the present ones normal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..baseline.baseline import Profile
from ..baseline.location import undo_clip
from .channels import ChannelMap
from .input import Measurements
from .window_reader import WindowReader

__all__ = ["moved_levels", "moved_rates"]

Floats = NDArray[Any]  # float64
Integers = NDArray[Any]  # int64


def moved_levels(
    reader: WindowReader, profile: Profile, cells: Integers, since: Iterable[tuple[float, Measurements]]
) -> Floats:
    """By how much cells have moved over the windows since, as far as that is beyond chance; log-ratios."""
    size = len(profile.fleet.cells)
    total, count = np.zeros(size), np.zeros(size)
    for at, window in since:
        deviation, seen = reader.deviations(at, window)
        total += deviation * seen
        count += seen
    mean = np.divide(total, count, out=np.zeros(size), where=count > 0)
    moved = np.array([float(undo_clip(mean[cell], profile.scale[cell])) for cell in cells])
    sure = np.abs(mean[cells]) > 2 * np.sqrt(profile.spread[cells] / np.maximum(count[cells], 1e-9))
    return np.where(sure, moved, 0.0)


def moved_rates(
    reader: WindowReader,
    profile: Profile,
    channels: ChannelMap,
    channel: int,
    since: Iterable[tuple[float, Measurements]],
) -> tuple[Integers, Floats]:
    """The pairs of a channel, and by how much the rate of each has moved, leaning on the channel's; log-ratios."""
    pairs = channels.member_pair[channels.member_channel == channel]
    failed, expected = np.zeros(len(pairs)), np.zeros(len(pairs))
    usual = profile.pair_rate[pairs] * np.exp(reader.accepted_rate[pairs])
    for _, window in since:
        columns = window.failed.shape[1]
        for place, (cell, column) in enumerate(channels.pairs[pairs]):
            rows = window.cell == cell
            if column < columns:
                failed[place] += window.failed[rows, column].sum()
                expected[place] += window.tried[rows, column].sum() * usual[place]
    whole = (failed.sum() + 0.5) / (expected.sum() + 0.5)
    return np.asarray(pairs), np.log((failed + whole) / (expected + 1.0))
