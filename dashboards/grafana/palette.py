"""Colours that people with any colour vision tell apart.

The palette of Okabe and Ito, https://jfly.uni-koeln.de/color/. Meaning is never carried by colour alone: names stand
in every legend and figures in every cell.
"""

from __future__ import annotations

__all__ = ["BAD", "FAIR", "GOOD", "LINES", "NEUTRAL", "VERDICT_COLOURS"]

_ORANGE, _SKY, _GREEN, _YELLOW, _BLUE, _VERMILION, _PURPLE = (
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)

GOOD, FAIR, BAD, NEUTRAL = _GREEN, _ORANGE, _VERMILION, "#8A8A8A"
LINES = (_SKY, _ORANGE, _GREEN, _PURPLE, _VERMILION, _BLUE, _YELLOW, NEUTRAL)
VERDICT_COLOURS = {
    "good": _GREEN,
    "slow": _ORANGE,
    "stale": _YELLOW,
    "incomplete": _PURPLE,
    "wrong": _VERMILION,
    "abandoned": NEUTRAL,
    "timeout": _SKY,
    "error": _BLUE,
}
