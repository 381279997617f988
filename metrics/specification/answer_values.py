"""Values of an answer as exact numbers and as times, or not at all.

Money is compared as :class:`decimal.Decimal`. A ``float`` is taken by its shortest text, ``Decimal(repr(x))``,
which is what the program that made it would have printed: 0.1 + 0.2 from a host that added floats is
0.30000000000000004 and is *not* 0.3. A ``bool`` is no number. Text is a number only in the declared form.
Arithmetic uses a context of its own, so that the host's precision and traps change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, tzinfo
from decimal import ROUND_HALF_EVEN, Context, Decimal

from .check import NumberFormat, TimeFormat

__all__ = ["as_decimal", "as_timestamp", "difference", "total"]

_EXACT = Context(prec=120, rounding=ROUND_HALF_EVEN, Emin=-10_000, Emax=10_000, traps=[])
_DIGITS_LIMIT = 30  # and characters of a number as text
_INT_LIMIT = 10**_DIGITS_LIMIT

_PLAIN = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?", re.ASCII)
_GROUPED = re.compile(r"[-+]?([0-9]{1,3}(,[0-9]{3})+|[0-9]+)(\.[0-9]+)?", re.ASCII)
_CURRENCY = re.compile(
    r"(?P<sign>[-+]?) ?(?:(?:CNY|RMB|人民币|[A-Z]{2}\$|\$|￥|¥|€|£|[A-Z]{3}) ?)?"
    r"(?P<number>[-+]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?)(?: ?(?:元|圆|CNY|RMB|[A-Z]{3}))?",
    re.ASCII,
)
_COMPACT = re.compile(r"[0-9]{14}", re.ASCII)
_DATE = re.compile(r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})", re.ASCII)


def as_decimal(value: object, form: NumberFormat = "plain") -> Decimal | None:
    """``value`` as an exact number; None when it is not one in the declared form, or has over 30 digits."""
    number = _from_text(value, form) if isinstance(value, str) else _from_number(value)
    if number is not None and form == "hundredths":
        return number.scaleb(-2, _EXACT) if number == number.to_integral_value(context=_EXACT) else None
    return number


def _from_number(value: object) -> Decimal | None:
    if isinstance(value, Decimal):
        return value if _is_bounded(value) else None
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Decimal(value) if -_INT_LIMIT < value < _INT_LIMIT else None
    if isinstance(value, float) and -_INT_LIMIT < value < _INT_LIMIT:  # not a NaN either
        number = Decimal(repr(float(value)))
        return number if _is_bounded(number) else None
    return None


def _is_bounded(number: Decimal) -> bool:
    if not number.is_finite():
        return False
    _, digits, exponent = number.as_tuple()
    return len(digits) <= _DIGITS_LIMIT and isinstance(exponent, int) and -_DIGITS_LIMIT <= exponent <= _DIGITS_LIMIT


def _from_text(value: str, form: NumberFormat) -> Decimal | None:
    if len(value) > _DIGITS_LIMIT:
        return None
    if form == "currency":
        found = _CURRENCY.fullmatch(value)
        if found is None or (found["sign"] and found["number"][0] in "+-"):
            return None
        return Decimal((found["sign"] + found["number"]).replace(",", ""))
    pattern = _GROUPED if form == "grouped" else _PLAIN
    return Decimal(value.replace(",", "")) if pattern.fullmatch(value) else None


def total(numbers: Iterable[Decimal]) -> Decimal:
    """The exact sum."""
    result = Decimal(0)
    for number in numbers:
        result = _EXACT.add(result, number)
    return result


def difference(one: Decimal, other: Decimal) -> Decimal:
    """The exact distance of two numbers."""
    return _EXACT.abs(_EXACT.subtract(one, other))


def as_timestamp(value: object, form: TimeFormat = "iso8601", zone: tzinfo | None = None) -> float | None:
    """``value`` as seconds since 1970 UTC; None when it is no time in the declared form, or its zone is not known."""
    if isinstance(value, date):
        whole = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)  # noqa: DTZ001
        return _with_zone(whole, zone)
    if form in ("epoch_seconds", "epoch_milliseconds"):
        number = as_decimal(value)
        usable = number is not None and abs(number) <= 10**15
        return float(number or 0) / (1 if form == "epoch_seconds" else 1000) if usable else None
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) and form != "iso8601" else value
    if not isinstance(text, str) or len(text) > 40:
        return None
    try:
        return _with_zone(_parse(text, form), zone)
    except (ValueError, OverflowError):
        return None


def _parse(text: str, form: TimeFormat) -> datetime:
    if form == "compact":
        if not _COMPACT.fullmatch(text):
            raise ValueError("not 14 digits")
        return datetime.strptime(text, "%Y%m%d%H%M%S")  # noqa: DTZ007 - zone follows
    if form == "date":
        found = _DATE.fullmatch(text)
        if found is None:
            raise ValueError("not a date")
        return datetime(int(found[1]), int(found[2]), int(found[3]))  # noqa: DTZ001 - zone follows
    return datetime.fromisoformat(text)


def _with_zone(moment: datetime, zone: tzinfo | None) -> float | None:
    if moment.tzinfo is None:
        if zone is None:
            return None
        moment = moment.replace(tzinfo=zone)
    return moment.astimezone(UTC).timestamp()
