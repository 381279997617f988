"""Why a check came out as it did: a fixed list of reasons that never hold a value of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from ..verdict import CheckResult

if TYPE_CHECKING:
    from ..translation import Language

__all__ = ["REASON_TEXT", "CheckOutcome", "Reason", "reason_text"]


class Reason(StrEnum):
    """Why a check came out as it did: a short code, with its sentence in :data:`REASON_TEXT`."""

    HOLDS = "holds"
    ABSENT = "absent"
    TOO_FEW = "too_few"
    DIFFERS = "differs"
    SUM_DIFFERS = "sum_differs"
    COUNT_DIFFERS = "count_differs"
    TOO_OLD = "too_old"
    NO_MATCH = "no_match"
    OUT_OF_RANGE = "out_of_range"
    VALUE_MISSING = "value_missing"
    SEVERAL_VALUES = "several_values"
    NOT_A_NUMBER = "not_a_number"
    NOT_A_TIME = "not_a_time"
    NOT_TEXT = "not_text"
    NOT_COMPARABLE = "not_comparable"
    TEXT_TOO_LONG = "text_too_long"
    IN_THE_FUTURE = "in_the_future"
    TOO_MANY_VALUES = "too_many_values"
    ANSWER_TOO_LARGE = "answer_too_large"
    ANSWER_NOT_JSON = "answer_not_json"
    CHECK_FAILED = "check_failed"
    NO_ANSWER = "no_answer"
    CONDITION_NOT_MET = "condition_not_met"
    GIVEN = "given"
    NOT_GIVEN = "not_given"


REASON_TEXT: Mapping[Reason, str] = {
    Reason.HOLDS: "the check holds",
    Reason.ABSENT: "the value is not there, or empty",
    Reason.TOO_FEW: "fewer values are there than required",
    Reason.DIFFERS: "the values differ",
    Reason.SUM_DIFFERS: "the total is not the sum of its parts",
    Reason.COUNT_DIFFERS: "the number of entries is not the expected one",
    Reason.TOO_OLD: "the data is older than allowed",
    Reason.NO_MATCH: "the text does not have the required form",
    Reason.OUT_OF_RANGE: "the number is out of its range",
    Reason.VALUE_MISSING: "a value the check needs is not in the answer",
    Reason.SEVERAL_VALUES: "several values were found where the check needs one",
    Reason.NOT_A_NUMBER: "a value is not a number in the declared form",
    Reason.NOT_A_TIME: "a value is not a time in the declared form, or its zone is not known",
    Reason.NOT_TEXT: "a value is not text",
    Reason.NOT_COMPARABLE: "the values are of kinds that cannot be compared",
    Reason.TEXT_TOO_LONG: "a text is longer than patterns are tried on",
    Reason.IN_THE_FUTURE: "the time lies in the future",
    Reason.TOO_MANY_VALUES: "the answer has more values than are looked at",
    Reason.ANSWER_TOO_LARGE: "the answer is too large to look at",
    Reason.ANSWER_NOT_JSON: "the answer is text but not JSON",
    Reason.CHECK_FAILED: "the check could not be carried out",
    Reason.NO_ANSWER: "no answer was given to the check",
    Reason.CONDITION_NOT_MET: "the condition of the check does not hold",
    Reason.GIVEN: "the result was given by the sender",
    Reason.NOT_GIVEN: "the sender gave no result",
}
"""The sentence of each reason, in English."""


def reason_text(reason: Reason, language: Language) -> str:
    """The sentence of a reason in the reader's language."""
    from ..translation import translator  # the host of a recorder never needs it

    return translator(Path(__file__).parents[1] / "locale", language).text(REASON_TEXT[reason])


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """The result of one check on one answer; ``code`` and ``text`` tell why and hold no value of the answer."""

    name: str
    result: CheckResult
    code: Reason

    @property
    def text(self) -> str:
        """The reason as a sentence."""
        return REASON_TEXT[self.code]
