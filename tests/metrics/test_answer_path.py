from __future__ import annotations

import copy
import pickle
import re
from collections import UserDict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import jsonpath
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from cxgauge.metrics.specification.answer_path import NODES_LIMIT, AnswerPath, TooManyNodesError, plain

NAMES = ("a", "b", "账单", "with space")
ANSWERS = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=15,
)
STEPS = st.sampled_from(["['a']", ".b", ".账单", '["with space"]', "[*]", ".*", "[0]", "[1]"])


@given(ANSWERS, st.lists(STEPS, max_size=5))
def test_the_direct_walk_finds_what_the_library_finds(answer: Any, steps: list[str]) -> None:
    text = "$" + "".join(steps)
    path = AnswerPath(text)
    assert path.direct
    assert path.find(answer) == jsonpath.compile(text).findall(answer) if isinstance(answer, (dict, list)) else True


@dataclass
class Item:
    amount: Decimal


@dataclass
class Bill:
    total: Decimal
    items: list[Item] = field(default_factory=list)

    @property
    def secret(self) -> str:
        raise AssertionError("only members are read")


class Pair(NamedTuple):
    total: int
    items: list[int]


class Model(BaseModel):
    bill: dict[str, Any]
    items: tuple[int, ...] = (1, 2)


def test_dataclasses_models_and_mappings_are_walked() -> None:
    bill = Bill(Decimal("1.10"), [Item(Decimal(1)), Item(Decimal("0.10"))])
    assert AnswerPath("$.total").find(bill) == [Decimal("1.10")]
    assert AnswerPath("$.items[*].amount").find(bill) == [Decimal(1), Decimal("0.10")]
    assert AnswerPath("$.items[?@.amount < 1].amount").find(bill) == [Decimal("0.10")]
    assert AnswerPath("$.total").find(Pair(5, [])) == [5]
    assert AnswerPath("$.items[:1]").find(Pair(5, [7, 8])) == [7]
    model = Model(bill={"total": 3})
    assert AnswerPath("$.bill.total").find(model) == [3]
    assert AnswerPath("$.items[1]").find(model) == [2]
    assert AnswerPath("$.items[:1]").find(model) == [1]
    assert AnswerPath("$.bill.total").find(UserDict(bill=UserDict(total=4))) == [4]


def test_only_members_are_read() -> None:
    assert AnswerPath("$.secret").find(Bill(Decimal(1))) == []
    assert AnswerPath("$.__class__").find(Bill(Decimal(1))) == []
    assert AnswerPath("$.real").find({"real": 1}) == [1]
    assert AnswerPath("$.a.real").find({"a": 1}) == []


def test_text_is_no_list() -> None:
    assert AnswerPath("$.a[0]").find({"a": "text"}) == []
    assert AnswerPath("$.a[*]").find({"a": "text"}) == []
    assert AnswerPath("$.a.*").find({"a": b"text"}) == []


def test_the_answer_is_not_changed() -> None:
    answer = {"items": [{"amount": "1.0"}, {"amount": "2.0"}], "total": "3.0"}
    before = copy.deepcopy(answer)
    for text in ("$.items[*].amount", "$..amount", "$.items[?@.amount == '1.0']"):
        AnswerPath(text).find(answer)
    assert answer == before


@pytest.mark.parametrize("text", ["$.items[*]", "$..*"])
def test_nodes_are_bounded(text: str) -> None:
    with pytest.raises(TooManyNodesError):
        AnswerPath(text).find({"items": [0] * (NODES_LIMIT + 1)})


def test_depth_is_bounded() -> None:
    deep: Any = 1
    for _ in range(100):
        deep = {"a": deep}
    with pytest.raises(TooManyNodesError, match="nested deeper than 64"):
        plain(deep)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.b", "it does not start with $"),
        ("$.a[", "unexpected end of query"),
        ("$." + "a" * 500, "it is too long"),
        ("$..a..b", "it has '..' twice or within a filter, name the members"),
        ("$.a[?@..b]", "it has '..' twice or within a filter, name the members"),
        ("$.a[?search(@.b, 'x')]", "it has a regular expression, use a check of kind matches"),
    ],
)
def test_what_is_no_path_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        AnswerPath(text)


def test_costly_words_in_quotes_are_names() -> None:
    assert AnswerPath("$['..']['match(']['..']").find({"..": {"match(": {"..": 1}}}) == [1]


def test_paths_compare_and_travel_by_their_text() -> None:
    path = AnswerPath("$.a[*]")
    assert pickle.loads(pickle.dumps(path)) == path
    assert len({path, AnswerPath("$.a[*]"), AnswerPath("$.a")}) == 2
    assert (path.singular, AnswerPath("$.a[0].b").singular, AnswerPath("$..a").singular) == (False, True, False)
