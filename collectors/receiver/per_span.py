"""The attributes that differ from span to span: flow instance, customer, and answers that are judged here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...metrics.judge import judge
from ...metrics.names import Attribute
from ...metrics.observation import check_bits, check_results
from ...metrics.specification.flow import FlowSpec
from ...metrics.verdict import CheckResult, Verdict, worst
from ..across import AcrossResult, Side, tokens_of_answer
from ..customer_token import flow_instance_id
from .span_shape import Shape, ShapeSettings

__all__ = ["FoundPerSpan", "PerSpan", "judge_across", "overlay"]

_BAM_INSTANCE = "bamtxid"
_TOKEN = Attribute.TOKEN_PREFIX
_NOTHING: Mapping[int, str] = {}


@dataclass(frozen=True, slots=True)
class FoundPerSpan:
    """What a span's own attributes say.

    Attributes:
        instance: Flow instance, 16 bytes; None: the trace id.
        customer: Customer token, 16 bytes.
        override: Check bits that replace those of the shape, and a verdict at least as bad as which it is.
    """

    instance: bytes | None = None
    customer: bytes | None = None
    override: tuple[int, Verdict] | None = None


class PerSpan:
    """Reads the attributes that differ from span to span.

    Args:
        settings: Which attributes say what.
    """

    def __init__(self, settings: ShapeSettings) -> None:
        self._settings = settings
        self._instance_keys = (Attribute.FLOW_INSTANCE, *settings.instance_attributes, _BAM_INSTANCE)
        self._customer_keys = (Attribute.CUSTOMER, *settings.customer_attributes)
        self._token = None if settings.tokens is None else settings.tokens.token
        self._instance = flow_instance_id if settings.tokens is None else settings.tokens.flow_instance
        self._identifying = frozenset((*self._instance_keys, *self._customer_keys, Attribute.CUSTOMER_TOKEN))
        self._keys = self._identifying | {Attribute.ANSWER}

    def identifies(self, key: str) -> bool:
        """Whether an attribute says who or which: flow instance or customer, and nothing that is to be judged."""
        return key in self._identifying

    def concerns(self, key: str) -> bool:
        """Whether an attribute is one of these."""
        return key in self._keys or key.startswith(Attribute.TOKEN_PREFIX)

    def instances(self, given: Mapping[str, Mapping[int, str]]) -> dict[int, bytes]:
        """Flow instances by row, 16 bytes each, of rows that have one.

        Args:
            given: Values by row, by attribute.
        """
        found: dict[int, bytes] = {}
        for key in self._instance_keys:
            for row, text in given.get(key, _NOTHING).items():
                if text and row not in found:
                    found[row] = self._instance(text)
        return found

    def customers(self, given: Mapping[str, Mapping[int, str]]) -> dict[int, bytes]:
        """Customer tokens by row, 16 bytes each, of rows that have one; see :meth:`instances`."""
        found: dict[int, bytes] = {}
        for row, text in given.get(Attribute.CUSTOMER_TOKEN, _NOTHING).items():
            token = _token_of(text)
            if token is not None:
                found[row] = token
        if self._token is not None:
            for key in self._customer_keys:
                for row, text in given.get(key, _NOTHING).items():
                    if text and row not in found:
                        found[row] = self._token(text)
        return found

    def read(
        self, pairs: Sequence[tuple[str, str]], shape: Shape, start: int, end: int, trace_id: bytes
    ) -> FoundPerSpan:
        """Read ``pairs``, the last of equal keys wins.

        Args:
            pairs: The attributes.
            shape: The span's shape.
            start: When the span started, nanoseconds since 1970.
            end: When it ended.
            trace_id: The flow instance where no attribute says it.
        """
        given = dict(pairs)
        column = {key: {0: value} for key, value in given.items()}
        instance, customer = self.instances(column).get(0), self.customers(column).get(0)
        if shape.flow is None or shape.step is None:
            return FoundPerSpan(instance, customer)
        answer = given.get(Attribute.ANSWER)
        results: dict[str, CheckResult] = {}
        failures: list[Verdict] = []
        if answer is not None:
            seconds = max(0, end - start) / 1e9
            results |= {one.name: one.result for one in judge(shape.step, seconds, answer, end / 1e9).outcomes}
        if self._settings.across is not None and shape.flow.across:
            stated = {key[len(_TOKEN) :]: value for key, value in given.items() if key.startswith(_TOKEN)}
            for one in judge_across(
                shape.flow, shape.step.name, instance or trace_id, answer, stated, self._settings, end / 1e9
            ):
                results[one.name] = one.result
                failures += [one.verdict] if one.result is CheckResult.FAIL else []
        return FoundPerSpan(instance, customer, overlay(shape, results, failures) if results else None)


def judge_across(
    flow: FlowSpec,
    step: str,
    instance: bytes,
    answer: object,
    stated: Mapping[str, str],
    settings: ShapeSettings,
    at: float,
) -> list[AcrossResult]:
    """Results of the checks between steps that this answer completes.

    Args:
        flow: The flow.
        step: Name of the step.
        instance: The flow instance.
        answer: The answer; its tokens are made here, and it is dropped.
        stated: Tokens that the sender made, hexadecimal, by check; several are separated by commas.
        settings: Keys and judge.
        at: When the answer arrived, seconds since 1970.
    """
    if settings.across is None or not any(instance):
        return []
    sides: dict[tuple[str, Side], tuple[bytes, ...]] = {}
    if answer is not None and settings.tokens is not None:
        sides |= tokens_of_answer(flow, step, instance, answer, settings.tokens.current)
    for check in flow.across_of(step):
        text = stated.get(check.name)
        tokens = None if text is None else _parse_tokens(text)
        if tokens is not None:
            sides[check.name, Side.VALUE if check.value_step == step else Side.OF] = tokens
    return settings.across.judge(flow.name, instance, sides, at) if sides else []


def _token_of(text: str) -> bytes | None:
    tokens = _parse_tokens(text)
    return tokens[0] if tokens is not None and len(tokens) == 1 and any(tokens[0]) else None


def _parse_tokens(text: str) -> tuple[bytes, ...] | None:
    try:
        tokens = tuple(bytes.fromhex(part) for part in text.split(",") if part.strip())
    except ValueError:
        return None
    return tokens if all(len(token) == 16 for token in tokens) else None


def overlay(shape: Shape, found: Mapping[str, CheckResult], failures: Sequence[Verdict]) -> tuple[int, Verdict]:
    """Check bits and verdict of a passage whose answer was judged here; what the sender stated wins.

    Args:
        shape: Its shape.
        found: Results by check name.
        failures: Verdicts of failed checks between steps, which may differ from what the specification says.
    """
    names = shape.known_series.checks
    stated = check_results(shape.checks, len(names))
    results = [said or found.get(name, CheckResult.NOT_EVALUATED) for name, said in zip(names, stated, strict=True)]
    meanings = {check.name: check.failure_verdict for check in shape.known_step.checks}
    failed = [
        meanings[name]
        for name, result in zip(names, results, strict=True)
        if result is CheckResult.FAIL and name in meanings
    ]
    return check_bits(results), worst((shape.verdict, *failed, *failures))
