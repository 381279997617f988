"""Which dimension values carry a change."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Attribution", "Concentration", "Contribution"]


class Concentration(StrEnum):
    """Where a change is."""

    SOME = "some"  # some dimension values changed differently from the rest
    EVERYONE = "everyone"  # all values changed alike, as far as the data can tell
    UNKNOWN = "unknown"  # not enough data to say either


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one dimension value (or a pair) contributes to a change.

    ``effect`` is its own log-ratio, after against before; ``share`` is the part of the whole change
    it explains (it may exceed 1 when the rest improved). Bounds are at 95 %. ``is_new`` means there
    was no such value before: its effect is against comparable customers.
    """

    dimensions: tuple[tuple[str, str], ...]
    effect: float
    effect_low: float
    effect_high: float
    share: float
    share_low: float
    share_high: float
    observations: int
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Attribution:
    """Where a change is, ranked by explained share; ``within + mix = total``.

    ``within`` is what the groups changed themselves, ``mix`` what their changed proportions did.
    ``reason`` says why when the concentration is unknown.
    """

    concentration: Concentration
    total: float
    within: float
    mix: float
    contributions: tuple[Contribution, ...] = ()
    reason: str = ""
