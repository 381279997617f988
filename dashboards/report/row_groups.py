"""Rows of a table that belong to one step, whose title stands once beside all of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

__all__ = ["grouped"]


def grouped(rows: Sequence[Any]) -> list[tuple[str, list[Any]]]:
    """Consecutive rows of one step (by its ``name``), with its title (``step``): two steps may have the same title."""
    groups = [list(found) for _, found in groupby(rows, attrgetter("name"))]
    return [(found[0].step, found) for found in groups]
