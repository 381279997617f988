"""The verdict of one observation and the result of one check."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

__all__ = ["VERDICT_COUNT", "CheckResult", "Verdict", "worst"]


class Verdict(IntEnum):
    """What one customer got from one step; a larger number is worse, and the worst wins.

    The numbers are stored (spool, database, rollup arrays) and never change meaning. A fast wrong
    answer (``WRONG``) is worse than a slow right one (``SLOW``).
    """

    GOOD = 0
    SLOW = 1
    STALE = 2
    INCOMPLETE = 3
    WRONG = 4
    ABANDONED = 5
    TIMEOUT = 6
    ERROR = 7

    @property
    def label(self) -> str:
        """The lower-case name used in metric labels, SQL and files."""
        return self.name.lower()


VERDICT_COUNT = len(Verdict)


class CheckResult(IntEnum):
    """The result of one check, two bits in the stored bit field (see ``observation``)."""

    NOT_EVALUATED = 0
    PASS = 1
    FAIL = 2
    UNKNOWN = 3

    @property
    def label(self) -> str:
        """The lower-case name used in metric labels, SQL and files."""
        return self.name.lower()


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of ``verdicts``; ``GOOD`` when there are none."""
    return max(verdicts, default=Verdict.GOOD)
