"""Intervals of effects that were looked at because they were large."""

from __future__ import annotations

__all__ = ["corrected_interval"]

_SELECTION = 2.0
_WIDTH = 2.3


def corrected_interval(effect: float, error: float) -> tuple[float, float, float]:
    """The effect less what selection adds to it, and a 95 % interval that allows for selection.

    A change is reported when its evidence crosses a threshold, from the start that suits it best. Both push the
    estimate up, each by about ``error² / effect`` (the stopping part: Siegmund 1978,
    doi:10.1093/biomet/65.2.341); the interval is widened until it covered 95 % in simulation.

    Args:
        effect: Estimated log-ratio.
        error: Its standard error as if nothing had been selected.
    """
    if effect == 0:
        return 0.0, -_WIDTH * error, _WIDTH * error
    shrink = min(_SELECTION * (error / effect) ** 2, 0.5)
    centre = effect * (1 - shrink)
    return centre, centre - _WIDTH * error, centre + _WIDTH * error
