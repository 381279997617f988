"""What was shown against the system of record, by keyed tokens: neither side's values are kept or printed.

Shown values come from the tokens that checks between steps keep for a while. The reference is rows of flow instance and
value that the bank's own system gives, by a read-only SQL query, an HTTP endpoint or a file; each becomes a token with
the key that the shown token carries, and is dropped.
"""

from __future__ import annotations

import csv
import json
import random
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import sqrt
from pathlib import Path
from typing import Any

from ..metrics.configuration.secret import Secret
from ..metrics.specification.flow import AcrossCheck, FlowSpec
from .across import Side, canonical, value_token
from .customer_token import CustomerTokens

__all__ = [
    "Reconciliation",
    "Shown",
    "UnreadableReferenceError",
    "reconcile",
    "reference_from_file",
    "reference_from_http",
    "reference_from_sql",
    "shown_tokens",
    "wilson_interval",
]

_ROWS_LIMIT = 10_000_000
_HTTP_BYTES_LIMIT = 1 << 30
_HTTP_SECONDS = 60.0
_NORMAL_95 = 1.959963984540054


class UnreadableReferenceError(ValueError):
    """The reference cannot be read; the text holds no value of it."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A value that was shown: its flow instance and its token."""

    instance: bytes
    token: bytes


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What a comparison found.

    Attributes:
        shown: Shown values there were.
        sampled: How many of them were drawn.
        matched: Drawn ones that equal the reference.
        differing: Drawn ones that do not.
        missing: Drawn ones whose flow instance the reference does not have.
        unreadable: Rows of the reference that could not be read as instance and value.
        other_key: Drawn ones whose token was made with a key that is not known any more.
    """

    shown: int
    sampled: int
    matched: int
    differing: int
    missing: int
    unreadable: int
    other_key: int

    @property
    def error_rate(self) -> float | None:
        """Share of compared values that differ; None when nothing was compared."""
        compared = self.matched + self.differing
        return self.differing / compared if compared else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the error rate among all shown values, see :func:`wilson_interval`."""
        compared = self.matched + self.differing
        return wilson_interval(self.differing, compared) if compared else None


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953)."""
    z2 = _NORMAL_95**2
    share = successes / trials
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _NORMAL_95 * sqrt(share * (1 - share) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


def shown_tokens(path: Path, flow: FlowSpec, value: str) -> tuple[AcrossCheck, list[Shown]]:
    """The tokens kept of a value, and the check that they were made for.

    Args:
        path: The file of :class:`~cxgauge.collectors.across.AcrossJudge`.
        flow: The flow.
        value: The value as ``step.value``; a check between steps must use it.

    Raises:
        ValueError: no check between steps uses the value, or what one keeps of it is a list.
        OSError: there is no such file.
    """
    uses = [(check, side) for check in flow.across for side, name in _operands(check) if name == value]
    if not uses:
        known = sorted({name for check in flow.across for _, name in _operands(check)})
        raise ValueError(
            f"{value} is used by no check between steps of {flow.name}; tokens are kept of {', '.join(known) or 'none'}"
        )
    single = [(check, side) for check, side in uses if side is Side.VALUE or check.kind != "contains"]
    if not single:
        raise ValueError(f"{value} is a list in {uses[0][0].name}; reconcile the single value that it is compared with")
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: nothing with tokens has been received yet")
    check, side = single[0]
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10.0)
    try:
        rows = database.execute(
            "SELECT instance, tokens FROM sides WHERE flow = ? AND name = ? AND side = ? AND length(tokens) = 16",
            (flow.name, check.name, side),
        ).fetchall()
    finally:
        database.close()
    return check, [Shown(bytes(instance), bytes(token)) for instance, token in rows]


def _operands(check: AcrossCheck) -> tuple[tuple[Side, str], tuple[Side, str]]:
    return (Side.VALUE, check.value), (Side.OF, check.of)


def reconcile(
    shown: list[Shown],
    reference: Iterable[tuple[object, object]],
    check: AcrossCheck,
    tokens: CustomerTokens,
    *,
    sample: int | None = None,
    seed: int | None = None,
) -> Reconciliation:
    """Compare shown values with the reference.

    Args:
        shown: What was shown.
        reference: Rows of flow instance and value; several of one instance: any may match.
        check: The check that the shown tokens were made for; it says how values are written.
        tokens: The keys.
        sample: How many shown values to draw at random; None: all.
        seed: Makes the draw repeatable.
    """
    drawn = shown if sample is None or sample >= len(shown) else random.Random(seed).sample(shown, sample)  # noqa: S311
    wanted: dict[bytes, list[bytes]] = {}
    for one in drawn:
        wanted.setdefault(one.instance, []).append(one.token)
    keys = tokens.by_number()
    other_key = sum(one.token[0] not in keys for one in drawn)
    equal: set[tuple[bytes, bytes]] = set()
    met: set[bytes] = set()
    unreadable = 0
    for instance, value in reference:
        text = None if instance is None else canonical(value, check.kind)
        if text is None:
            unreadable += 1
            continue
        number = tokens.flow_instance(str(instance))
        for token in wanted.get(number, ()):
            met.add(number)
            key = keys.get(token[0])
            if key is not None and value_token(key, number, text) == token:
                equal.add((number, token))
    compared = [one for one in drawn if one.token[0] in keys]
    matched = sum((one.instance, one.token) in equal for one in compared)
    missing = sum(one.instance not in met for one in compared)
    return Reconciliation(
        len(shown), len(drawn), matched, len(compared) - matched - missing, missing, unreadable, other_key
    )


def reference_from_sql(dsn: Secret, query: str) -> Iterator[tuple[object, object]]:
    """Rows of a query on a PostgreSQL database, in a transaction that cannot write.

    Raises:
        UnreadableReferenceError: the database cannot be reached or refuses the query, or it does not give two columns.
    """
    import psycopg

    try:
        with psycopg.connect(dsn.reveal(), application_name="cxgauge reconcile") as connection:
            connection.read_only = True
            with connection.cursor(name="cxgauge_reconcile") as cursor:
                cursor.itersize = 10_000
                cursor.execute(query.encode())
                if cursor.description is None or len(cursor.description) != 2:
                    raise UnreadableReferenceError(
                        "the query does not give two columns; select flow instance and value"
                    )
                yield from _limited(cursor)
    except psycopg.Error as error:
        raise UnreadableReferenceError(f"the reference cannot be read: {str(error).splitlines()[0]}") from None


def reference_from_http(url: Secret, header: Mapping[str, Secret] | None = None) -> Iterator[tuple[object, object]]:
    """Rows of an endpoint that answers GET with JSON lines, ``{"instance": …, "value": …}`` each.

    Raises:
        UnreadableReferenceError: it cannot be reached or answers something else.
    """
    import httpx2

    headers = {name: secret.reveal() for name, secret in (header or {}).items()}
    try:
        with httpx2.stream("GET", url.reveal(), headers=headers, timeout=_HTTP_SECONDS) as reply:
            if reply.status_code != 200:
                raise UnreadableReferenceError(f"the reference answers with status {reply.status_code}")
            yield from _limited(_rows_of_json(reply.iter_lines()))
    except httpx2.HTTPError as error:
        raise UnreadableReferenceError(f"the reference cannot be reached: {type(error).__name__}") from None


def reference_from_file(path: Path) -> Iterator[tuple[object, object]]:
    """Rows of a file: CSV with columns ``instance`` and ``value``, or JSON lines with those members.

    Raises:
        UnreadableReferenceError: it cannot be read, or has other columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".csv":
                reader = csv.DictReader(file)
                if not {"instance", "value"} <= set(reader.fieldnames or ()):
                    raise UnreadableReferenceError(
                        f"{path} has no columns instance and value; name them in its first line"
                    )
                yield from _limited((row["instance"], row["value"]) for row in reader)
            else:
                yield from _limited(_rows_of_json(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableReferenceError(f"{path} cannot be read: {error}") from None


def _rows_of_json(lines: Iterable[str]) -> Iterator[tuple[object, object]]:
    size = 0
    for number, line in enumerate(lines, 1):
        size += len(line)
        if size > _HTTP_BYTES_LIMIT:
            raise UnreadableReferenceError(f"the reference is larger than {_HTTP_BYTES_LIMIT} bytes; narrow it down")
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_float=Decimal)
            yield row["instance"], row["value"]
        except (ValueError, TypeError, KeyError, RecursionError):
            message = f'line {number} of the reference is not {{"instance": …, "value": …}}'
            raise UnreadableReferenceError(message) from None


def _limited(rows: Iterable[Any]) -> Iterator[tuple[object, object]]:
    for number, row in enumerate(rows):
        if number >= _ROWS_LIMIT:
            raise UnreadableReferenceError(f"the reference has more than {_ROWS_LIMIT} rows; narrow it down")
        yield row[0], row[1]
