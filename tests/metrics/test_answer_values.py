from __future__ import annotations

import decimal
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxgauge.metrics.specification.answer_values import as_decimal, as_timestamp, difference, total
from cxgauge.metrics.specification.check import NumberFormat, TimeFormat

AMOUNTS = st.decimals(min_value=-(10**15), max_value=10**15, places=2)


@given(AMOUNTS)
def test_every_way_to_write_an_amount_is_the_same_number(amount: Decimal) -> None:
    assert as_decimal(amount) == amount
    assert as_decimal(f"{amount:f}") == amount
    assert as_decimal(f"{amount:,f}", "grouped") == amount
    assert as_decimal(f"{'-' if amount < 0 else ''}￥{abs(amount):,f}", "currency") == amount
    assert as_decimal(int(amount * 100), "hundredths") == amount
    assert as_decimal(str(int(amount * 100)), "hundredths") == amount


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_its_shortest_text(number: float) -> None:
    found = as_decimal(number)
    assert found is None or found == Decimal(repr(number))


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (True, "plain"),
        (None, "plain"),
        ([], "plain"),
        ("", "plain"),
        ("1,234.50", "plain"),
        ("￥12.00", "plain"),
        ("12.00 ", "plain"),
        ("1e3", "plain"),
        ("NaN", "plain"),
        ("٣", "plain"),
        (float("nan"), "plain"),
        (float("inf"), "plain"),
        (1e300, "plain"),
        (Decimal("NaN"), "plain"),
        (Decimal("sNaN"), "plain"),
        (Decimal("1E+999999"), "plain"),
        (Decimal("1E-999999"), "plain"),
        (10**31, "plain"),
        ("9" * 31, "plain"),
        ("12,34.50", "grouped"),
        ("1,2345", "grouped"),
        ("￥12.00", "grouped"),
        ("-￥-12.00", "currency"),
        ("12 apples", "currency"),
        ("12.5", "hundredths"),
        (12.5, "hundredths"),
    ],
)
def test_what_is_no_number_in_the_declared_form(value: object, form: NumberFormat) -> None:
    assert as_decimal(value, form) is None


@pytest.mark.parametrize(
    "text", ["¥1,234.50", "￥ 1,234.50", "CNY 1234.50", "人民币1234.50", "1,234.50元", "HK$1234.50", "+1234.50"]
)
def test_currencies(text: str) -> None:
    assert as_decimal(text, "currency") == Decimal("1234.50")


@given(st.lists(AMOUNTS, max_size=30))
def test_sums_are_exact_whatever_the_host_set(amounts: list[Decimal]) -> None:
    with decimal.localcontext() as context:
        context.prec = 2
        context.traps[decimal.Inexact] = True
        found = total(amounts)
        apart = difference(found, Decimal(0))
    assert found == sum((int(amount * 100) for amount in amounts), 0) / Decimal(100)
    assert apart == abs(found)


AT = datetime(2026, 1, 31, 1, 30, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("2026-01-31T01:30:00Z", "iso8601"),
        ("2026-01-31T09:30:00+08:00", "iso8601"),
        ("2026-01-31 09:30:00", "iso8601"),
        ("20260131093000", "compact"),
        (20260131093000, "compact"),
        (AT, "epoch_seconds"),
        (str(int(AT)), "epoch_seconds"),
        (AT * 1000, "epoch_milliseconds"),
        (datetime(2026, 1, 31, 9, 30), "iso8601"),  # noqa: DTZ001
        (datetime(2026, 1, 31, 2, 30, tzinfo=timezone(timedelta(hours=1))), "iso8601"),
    ],
)
def test_times(value: object, form: TimeFormat) -> None:
    assert as_timestamp(value, form, ZoneInfo("Asia/Shanghai")) == AT


@pytest.mark.parametrize("value", ["2026-01-31", "20260131", date(2026, 1, 31), 20260131])
def test_a_date_means_its_start(value: object) -> None:
    assert as_timestamp(value, "date", ZoneInfo("Asia/Shanghai")) == AT - 9.5 * 3600


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("2026-01-31 09:30:00", "iso8601"),
        (date(2026, 1, 31), "iso8601"),
        ("today", "iso8601"),
        ("2026-02-30", "date"),
        ("2026013109300", "compact"),
        (None, "iso8601"),
        (True, "compact"),
        (1769851800, "iso8601"),
        (10**16, "epoch_seconds"),
        ("nan", "epoch_seconds"),
        ("0001-01-01T00:00:00+14:00", "iso8601"),
        ("2" * 41, "iso8601"),
    ],
)
def test_what_is_no_time_or_has_no_zone(value: object, form: TimeFormat) -> None:
    assert as_timestamp(value, form) is None
