r"""Regular expressions whose worst case is bounded before they are ever used.

Python's ``re`` backtracks: ``(a+)+$`` against thirty letters runs for minutes, on the caller's thread.
A pattern is therefore taken only when the number of ways it can be tried on a text of its ``length_limit``
stays below :data:`WAYS_LIMIT`, counted over its syntax tree: a literal has one way, a sequence the product,
an alternation the sum, and ``x{m,n}`` the sum of ``ways(x)**k`` for k from m to n. That is an upper bound of
the backtracking paths, so some harmless patterns are refused too; bounding a repeat (``{1,20}``) helps.
Longer texts are not tried at all.
"""

from __future__ import annotations

import re
from re import _constants, _parser  # the only tree there is; sre_parse is deprecated
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from .scalar_types import refuse

__all__ = ["LENGTH_LIMIT", "WAYS_LIMIT", "BoundedPattern", "PatternText"]

LENGTH_LIMIT = 256
WAYS_LIMIT = 100_000
PATTERN_LIMIT = 500
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")


class BoundedPattern:
    """A compiled pattern for whole texts of at most ``length_limit`` characters.

    Raises:
        ValueError: the pattern does not compile, or its worst case is too slow.
    """

    __slots__ = ("_match", "length_limit", "text")

    def __init__(self, text: str, length_limit: int = LENGTH_LIMIT) -> None:
        if len(text) > PATTERN_LIMIT:
            raise ValueError(f"is longer than {PATTERN_LIMIT} characters; shorten it")
        try:
            self._match = re.compile(text).fullmatch
            ways = _ways(_parser.parse(text), length_limit)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"is not a regular expression ({error}); correct it") from None
        if ways > WAYS_LIMIT:
            raise ValueError("can take very long on some texts; bound its repeats, e.g. {1,20}, and do not nest them")
        self.text = text
        self.length_limit = length_limit

    def matches(self, text: str) -> bool | None:
        """Whether the whole of ``text`` matches; None when it is longer than the limit and was not tried."""
        if len(text) > self.length_limit:
            return None
        return self._match(text) is not None

    def groups(self, text: str) -> dict[str, str] | None:
        """The named groups when the whole of ``text`` matches, else None."""
        found = self._match(text) if len(text) <= self.length_limit else None
        return (
            None if found is None else {name: value for name, value in found.groupdict().items() if value is not None}
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BoundedPattern) and (other.text, other.length_limit) == (self.text, self.length_limit)

    def __hash__(self) -> int:
        return hash((self.text, self.length_limit))

    def __repr__(self) -> str:
        return f"BoundedPattern({self.text!r})"

    def __reduce__(self) -> tuple[type[BoundedPattern], tuple[str, int]]:
        return (BoundedPattern, (self.text, self.length_limit))


def _ways(tree: Any, length: int) -> float:
    total = 1.0
    for operation, argument in tree:
        total *= _ways_of(str(operation), argument, length)
        if total > WAYS_LIMIT:
            break
    return total


def _ways_of(operation: str, argument: Any, length: int) -> float:
    if operation in _REPEATS:
        low, high, inner = argument
        high = length if high is _constants.MAXREPEAT else min(int(high), length)
        return _repeat_ways(_ways(inner, length), min(int(low), high), high)
    if operation == "BRANCH":
        return sum(_ways(branch, length) for branch in argument[1])
    if operation == "SUBPATTERN":
        return _ways(argument[3], length)
    if operation == "ATOMIC_GROUP":
        return _ways(argument, length)
    if operation in ("ASSERT", "ASSERT_NOT"):
        return _ways(argument[1], length)
    if operation in ("GROUPREF", "GROUPREF_EXISTS", "GROUPREF_IGNORE"):
        raise re.error("references to groups are not taken")
    return 1.0


def _repeat_ways(inner: float, low: int, high: int) -> float:
    if inner <= 1:
        return float(high - low + 1)
    total = 0.0
    for count in range(low, high + 1):
        total += inner**count if count < 64 else WAYS_LIMIT + 1
        if total > WAYS_LIMIT:
            break
    return total


def _pattern(value: object) -> BoundedPattern:
    if isinstance(value, BoundedPattern):
        return value
    if not isinstance(value, str):
        raise refuse("is not a regular expression; put it in single quotes")
    try:
        return BoundedPattern(value)
    except ValueError as error:
        raise refuse(str(error)) from None


PatternText = Annotated[
    BoundedPattern,
    BeforeValidator(_pattern),
    PlainSerializer(lambda pattern: pattern.text, return_type=str),
    WithJsonSchema({"type": "string", "maxLength": PATTERN_LIMIT}),
]
"""A regular expression in a file, checked and compiled when it is read."""
