"""Checks between steps of one flow instance, on keyed tokens.

Each side of a check sends tokens of what it showed, ``HMAC(key, flow instance, value)``: they are equal when the values
are, and say nothing else, not even across instances. Whichever answer arrives later is judged, in any order and after
any restart; what waits is kept in a file of its own. docs/reference/across.md states the token format for other
languages.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from pathlib import Path

from ..metrics.observation import CHECKS_PER_STEP_LIMIT
from ..metrics.specification.answer_values import as_decimal, total
from ..metrics.specification.check import ValueSpec
from ..metrics.specification.check_evaluation import ANSWER_TEXT_LIMIT
from ..metrics.specification.flow import AcrossCheck, FlowSpec, StepSpec
from ..metrics.verdict import CheckResult, Verdict
from .customer_token import CustomerKey, keyed_digest

__all__ = [
    "TOKENS_PER_SIDE_LIMIT",
    "AcrossJudge",
    "AcrossResult",
    "Side",
    "canonical",
    "checks_of",
    "tokens_of_answer",
    "value_token",
]

TOKENS_PER_SIDE_LIMIT = 10_000
_TOKEN_BYTES = 16
_MONEY_KINDS = ("equals", "sum_equals")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sides (
    flow TEXT NOT NULL, name TEXT NOT NULL, instance BLOB NOT NULL, side INTEGER NOT NULL,
    tokens BLOB NOT NULL, at REAL NOT NULL, expires_at REAL NOT NULL, judged INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (flow, name, instance, side)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sides_expire ON sides (expires_at);
"""


class Side(IntEnum):
    """The two operands of a check between steps."""

    VALUE = 0
    OF = 1


@dataclass(frozen=True, slots=True)
class AcrossResult:
    """The result of one check on one answer.

    Attributes:
        name: Name of the check.
        result: Pass or fail; unknown where the sides' tokens were made with different keys.
        verdict: What a failure means; ``INCOMPLETE`` where one side was shown and nothing of the other.
    """

    name: str
    result: CheckResult
    verdict: Verdict


def checks_of(flow: FlowSpec, step: StepSpec) -> tuple[tuple[str, ...], dict[str, Verdict]]:
    """Names of a step's checks, those between steps last, and what a failure of each means.

    The result of a check between steps is recorded with the answer that arrives later, whichever step that is of: both
    steps carry it.
    """
    failures = {check.name: check.failure_verdict for check in step.checks}
    across = sorted(flow.across_of(step.name), key=lambda check: check.counted_step != step.name)
    for check in across:
        if len(failures) < CHECKS_PER_STEP_LIMIT:
            failures.setdefault(check.name, check.failure_verdict)
    return tuple(failures), failures


def canonical(value: object, kind: str, spec: ValueSpec | None = None) -> str | None:
    """The one text that equal values share; None when the value is missing or not of the kind.

    Numbers of ``equals`` and ``sum_equals`` are written as plain decimals without trailing zeros or exponent (``1E+2``
    and ``100.00`` are ``d:100``, ``-0.0`` is ``d:0``). Everything else is text as it is, without surrounding blanks.
    """
    if kind in _MONEY_KINDS:
        number = as_decimal(value, "plain" if spec is None else spec.number)
        if number is not None:
            return "d:" + _plain(number)
        if kind == "sum_equals":
            return None
    if isinstance(value, bool) or value is None:
        return None
    text = str(value).strip()
    return "t:" + text if text else None


def _plain(number: Decimal) -> str:
    text = format(number, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def value_token(key: CustomerKey, instance: bytes, text: str) -> bytes:
    """The token of a canonical text within a flow instance: the key's number and 15 bytes of HMAC-SHA256.

    The message is ``across NUL``, the 16 bytes of the instance, and the text in UTF-8.
    """
    message = b"across\0" + instance + text.encode("utf-8", "surrogatepass")
    return bytes((key.number,)) + keyed_digest(key.secret, message)[: _TOKEN_BYTES - 1]


def tokens_of_answer(
    flow: FlowSpec, step: str, instance: bytes, answer: object, key: CustomerKey
) -> dict[tuple[str, Side], tuple[bytes, ...]]:
    """Tokens of what an answer of ``step`` shows for the checks that use it; the values go no further.

    A side whose value cannot be read as the check needs it is left out. An ``of`` side of which nothing was shown is
    there with no tokens: that nothing was shown is a finding.
    """
    found: dict[tuple[str, Side], tuple[bytes, ...]] = {}
    checks = flow.across_of(step)
    document = _structured(answer) if checks else None
    for check in checks if document is not None else ():
        for side in _sides(check, step):
            texts = _texts(flow, check, side, document)
            if texts is not None:
                found[check.name, side] = tuple(value_token(key, instance, text) for text in texts)
    return found


def _structured(answer: object) -> object:
    """JSON text as its value, numbers exactly; None when it is none; anything else as it is."""
    if not isinstance(answer, (str, bytes, bytearray)):
        return answer
    if len(answer) > ANSWER_TEXT_LIMIT:
        return None
    try:
        return json.loads(answer, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None


def _sides(check: AcrossCheck, step: str) -> list[Side]:
    return [side for side, of in ((Side.VALUE, check.value_step), (Side.OF, check.of_step)) if of == step]


def _texts(flow: FlowSpec, check: AcrossCheck, side: Side, document: object) -> list[str] | None:
    name, step = (check.value_name, check.value_step) if side is Side.VALUE else (check.of_name, check.of_step)
    spec = flow.step(step).values[name]
    try:
        values = spec.path.find(document)
    except ValueError:
        return None
    if len(values) == 1 and isinstance(values[0], (list, tuple)):
        values = list(values[0])
    if len(values) > TOKENS_PER_SIDE_LIMIT:
        return None
    if side is Side.OF and check.kind == "sum_equals":
        numbers = [as_decimal(value, spec.number) for value in values]
        exact = [number for number in numbers if number is not None]
        if len(exact) < len(numbers):
            return None
        return ["d:" + _plain(total(exact))] if exact else []
    texts = [canonical(value, check.kind, spec) for value in values if value is not None]
    known = [text for text in texts if text is not None]
    if len(known) < len(texts) or (side is Side.VALUE and len(known) != 1):
        return None
    return known


class AcrossJudge:
    """Keeps the side that came first and judges the one that comes later. Safe from any thread.

    Args:
        flows: The specifications by name.
        path: The file of what waits.
        waiting_limit: Most sides kept; the oldest are given up beyond it and counted as unknown.

    Attributes:
        unknown: Sides whose other side did not come in time, by ``(flow, check)``.
        waiting: Sides kept, judged ones among them, when :meth:`expire` last looked.
        judged: Results by ``(flow, check, result)``.
    """

    def __init__(self, flows: Mapping[str, FlowSpec], path: Path, *, waiting_limit: int = 1_000_000) -> None:
        self._lock = threading.Lock()
        self._waiting_limit = waiting_limit
        self.unknown: Counter[tuple[str, str]] = Counter()
        self.judged: Counter[tuple[str, str, CheckResult]] = Counter()
        self.waiting = 0
        path.parent.mkdir(mode=0o770, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o660))  # SQLite would let everybody read it
        self._database = sqlite3.connect(path, timeout=10.0, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.executescript(_SCHEMA)
        self._open = False
        self.use(flows)

    def use(self, flows: Mapping[str, FlowSpec]) -> None:
        """Judge by other specifications from now on."""
        self._checks = {(flow.name, check.name): check for flow in flows.values() for check in flow.across}
        for key in self._checks:
            self.unknown.setdefault(key, 0)

    def judge(
        self, flow: str, instance: bytes, sides: Mapping[tuple[str, Side], Sequence[bytes]], at: float
    ) -> list[AcrossResult]:
        """Keep the sides that an answer brought and judge those whose other side is there.

        Saying the same twice changes nothing, so that a retry is harmless. Durable after :meth:`commit`.

        Args:
            flow: Name of the flow.
            instance: The flow instance.
            sides: Tokens by check name and side.
            at: When the answer arrived, seconds since 1970.
        """
        results = []
        with self._lock:
            for (name, side), tokens in sides.items():
                check = self._checks.get((flow, name))
                if check is None or len(tokens) > TOKENS_PER_SIDE_LIMIT:
                    continue
                self._begin()
                kept = self._keep(check, flow, instance, side, tokens, at)
                other = self._other(check, flow, instance, side, at)
                if other is None:
                    continue
                result = _compare(check, kept, other) if side is Side.VALUE else _compare(check, other, kept)
                self._mark_judged(flow, name, instance)
                self.judged[flow, name, result.result] += 1
                results.append(result)
        return results

    def commit(self) -> None:
        """Make what was kept durable."""
        with self._lock:
            if self._open:
                self._database.execute("COMMIT")
                self._open = False

    def expire(self, now: float) -> None:
        """Give up what has waited too long; sides that were never judged count as unknown."""
        with self._lock:
            self._begin()
            rows = self._database.execute(
                "DELETE FROM sides WHERE expires_at <= ? RETURNING flow, name, judged", (now,)
            ).fetchall()
            self._count_unknown(rows)
            (waiting,) = self._database.execute("SELECT count(*) FROM sides").fetchone()
            if waiting > self._waiting_limit:
                rows = self._database.execute(
                    "DELETE FROM sides WHERE (flow, name, instance, side) IN "
                    "(SELECT flow, name, instance, side FROM sides ORDER BY expires_at LIMIT ?) "
                    "RETURNING flow, name, judged",
                    (waiting - self._waiting_limit,),
                ).fetchall()
                self._count_unknown(rows)
            self.waiting = min(waiting, self._waiting_limit)
            self._database.execute("COMMIT")
            self._open = False

    def close(self) -> None:
        """Make everything durable and close the file."""
        self.commit()
        self._database.close()

    def _begin(self) -> None:
        if not self._open:
            self._database.execute("BEGIN IMMEDIATE")
            self._open = True

    def _keep(
        self, check: AcrossCheck, flow: str, instance: bytes, side: Side, tokens: Sequence[bytes], at: float
    ) -> bytes:
        """Keep a side; ``contains`` gathers what several pages showed, else the latest answer counts."""
        joined = b"".join(tokens)
        if side is Side.OF and check.kind == "contains":
            row = self._database.execute(
                "SELECT tokens FROM sides WHERE flow = ? AND name = ? AND instance = ? AND side = ?",
                (flow, check.name, instance, side),
            ).fetchone()
            if row is not None:
                joined = b"".join(dict.fromkeys((*_split(row[0]), *tokens)))[: TOKENS_PER_SIDE_LIMIT * _TOKEN_BYTES]
        self._database.execute(
            "INSERT INTO sides (flow, name, instance, side, tokens, at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (flow, name, instance, side) DO UPDATE SET tokens = excluded.tokens, at = excluded.at, "
            "expires_at = excluded.expires_at",
            (flow, check.name, instance, side, joined, at, at + check.within),
        )
        return joined

    def _other(self, check: AcrossCheck, flow: str, instance: bytes, side: Side, at: float) -> bytes | None:
        row = self._database.execute(
            "SELECT tokens FROM sides WHERE flow = ? AND name = ? AND instance = ? AND side = ? AND at BETWEEN ? AND ?",
            (flow, check.name, instance, 1 - side, at - check.within, at + check.within),
        ).fetchone()
        return None if row is None else bytes(row[0])

    def _mark_judged(self, flow: str, name: str, instance: bytes) -> None:
        self._database.execute(
            "UPDATE sides SET judged = 1 WHERE flow = ? AND name = ? AND instance = ?", (flow, name, instance)
        )

    def _count_unknown(self, rows: Iterable[tuple[str, str, int]]) -> None:
        for flow, name, judged in rows:
            if not judged:
                self.unknown[flow, name] += 1


def _split(joined: bytes) -> list[bytes]:
    return [joined[start : start + _TOKEN_BYTES] for start in range(0, len(joined), _TOKEN_BYTES)]


def _compare(check: AcrossCheck, value: bytes, of: bytes) -> AcrossResult:
    one, others = _split(value), _split(of)
    if not one or not others:
        shown = bool(one) or bool(others)
        result = CheckResult.FAIL if shown else CheckResult.UNKNOWN
        return AcrossResult(check.name, result, Verdict.INCOMPLETE)
    if {token[0] for token in one} != {token[0] for token in others}:
        return AcrossResult(check.name, CheckResult.UNKNOWN, check.failure_verdict)
    equal = one[0] in others if check.kind == "contains" else len(others) == 1 and one[0] == others[0]
    return AcrossResult(check.name, CheckResult.PASS if equal else CheckResult.FAIL, check.failure_verdict)
