"""What a plain YAML scalar means, when every reader agrees; else the rule it breaks.

Source of the rules: https://yaml.org/type/ (1.1), https://yaml.org/spec/1.2.2/#103-core-schema (1.2).
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

__all__ = ["resolve"]

_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_REAL = re.compile(r"[-+]?(0|[1-9][0-9]*)?\.[0-9]+|[-+]?(0|[1-9][0-9]*)\.")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_OLD_BOOLEANS = {"y": True, "yes": True, "on": True, "n": False, "no": False, "off": False}

_SURPRISES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"),
        "is a base-60 number in YAML 1.1; quote it, or write seconds, e.g. 90s",
    ),
    (
        re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?"),
        'is a date in YAML 1.1 and text in 1.2; quote it, e.g. "2026-01-31"',
    ),
    (
        re.compile(r"[-+]?0[0-9_]+"),
        "has a leading zero: an octal number in YAML 1.1; quote it, or drop the zero",
    ),
    (
        re.compile(r"[-+]?0(x[0-9a-fA-F_]+|o[0-7]+|b[01_]+)"),
        "is not a decimal number; write it in decimal, or quote it",
    ),
    (
        re.compile(r"[-+]?[0-9]+[0-9_]*_[0-9_]*(\.[0-9_]*)?|[-+]?[0-9]+\.[0-9]*_[0-9_]*"),
        "has an underscore: a number in YAML 1.1 and text in 1.2; drop the underscore, or quote it",
    ),
    (
        re.compile(r"[-+]?0[0-9]+\.[0-9]*"),
        "has a leading zero; drop the zero, or quote it",
    ),
    (
        re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+"),
        "is a number in YAML 1.2 and text in 1.1; write it without an exponent, or quote it",
    ),
    (
        re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
        "is not a finite number; write a number",
    ),
    (re.compile(r"=|<<"), "has a special meaning in YAML 1.1; quote it"),
)


def resolve(text: str) -> tuple[Any, str | None]:
    """The value of a plain scalar, and the rule it breaks, if any."""
    if text in _WORDS:
        return _WORDS[text], None
    meant = _OLD_BOOLEANS.get(text.lower())
    if meant is not None:
        remedy = f'write {str(meant).lower()}, or quote it: "{text}"'
        return meant, f"is a boolean in YAML 1.1 and text in 1.2; {remedy}"
    rule = next((rule for pattern, rule in _SURPRISES if pattern.fullmatch(text)), None)
    return (text, rule) if rule is not None else _resolve_number(text)


def _resolve_number(text: str) -> tuple[Any, str | None]:
    if _NUMBER.fullmatch(text):
        return (int(text), None) if len(text) <= 18 else (text, "has more digits than programs agree on; quote it")
    if _REAL.fullmatch(text):
        value = float(text)
        exact = Decimal(repr(value)) == Decimal(text)
        return (value, None) if exact else (text, "has more digits than a number keeps; quote it")
    return text, None
