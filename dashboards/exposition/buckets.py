"""The bounds of the exported duration histogram of one step."""

from __future__ import annotations

from ...metrics.specification.flow import StepSpec

__all__ = ["duration_bounds"]

_FINE_FROM, _FINE_TO = -24, 8  # eighths of a doubling around the target: an eighth to twice the target
_COARSE = (-6.0, -5.0, -4.0, 1.5, 2.0, 3.0)  # doublings
_CLOSER = 1.02  # bounds of the grid that lie so near to a stated one give way to it


def duration_bounds(step: StepSpec) -> tuple[float, ...]:
    """Upper bounds in seconds, ascending, without ``+Inf``.

    From an eighth of the target to twice the target a bound follows every 2^(1/8) = 1.0905: durations 10 %
    apart always fall into different buckets, so 1.0, 1.1 and 1.2 s do, for any target from 0.6 to 8 s. Target,
    band and timeout are bounds themselves, exactly. The grid is that of Prometheus' native histograms
    of schema 3 (https://prometheus.io/docs/specs/native_histograms/#schema), shifted so that it meets the target.

    It does not say percentiles to better than about 4.5 %; the store's sketch does (1 %).
    """
    target = step.timeliness.target_seconds
    stated = {target, step.timeliness.good_seconds, step.timeliness.slow_seconds, step.timeliness.timeout_seconds}
    doublings = [eighth / 8 for eighth in range(_FINE_FROM, _FINE_TO + 1)] + list(_COARSE)
    grid = {float(f"{target * 2.0**doubling:.4g}") for doubling in doublings}
    apart = {bound for bound in grid if all(max(bound / other, other / bound) > _CLOSER for other in stated)}
    return tuple(sorted(apart | stated))
