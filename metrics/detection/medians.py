"""Medians and quantiles over what is there: NaN is left out, and a column with nothing gives NaN without a warning."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["median", "quantiles"]

Floats = NDArray[Any]  # float64


def median(values: Floats) -> Floats:
    """Medians along the first axis."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmedian(values, axis=0))


def quantiles(values: Floats, shares: Floats) -> Floats:
    """Quantiles along the first axis, ``[len(shares), …]``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanquantile(values, shares, axis=0))
