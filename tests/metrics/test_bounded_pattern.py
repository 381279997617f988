from __future__ import annotations

import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxgauge.metrics.specification.bounded_pattern import LENGTH_LIMIT, BoundedPattern

SLOW = "can take very long on some texts; bound its repeats, e.g. {1,20}, and do not nest them"


@pytest.mark.parametrize(
    "text",
    [
        "(a+)+",
        "(a*)*b",
        "(a|a)*b",
        "([a-z]+)*x",
        ".*.*.*x",
        "(?:a?){40}a{40}",
        "(.*?,){11}P",
        "((ab?)+)+",
        "(?=(a+)+b)a",
    ],
)
def test_patterns_that_can_run_long_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(SLOW) + "$"):
        BoundedPattern(text)


@pytest.mark.parametrize(
    "text",
    [
        r"\d{1,12}\.\d{2}",
        "[A-Z]+-[0-9]+",
        "CNY|USD",
        r"(\d{3},){0,4}\d{3}",
        "R[1-5]",
        "GET /v1/.*",
        "(?i:get) .+",
        "a*+b",
    ],
)
def test_usual_patterns_are_taken(text: str) -> None:
    assert BoundedPattern(text).text == text


@given(
    st.sampled_from(["[A-Z]+-[0-9]+", r"(\d{1,3},){0,3}\d{1,3}", "a?b?c?", "(ab|a)(bc|c)?"]),
    st.text("ab,c-1A", max_size=12),
)
def test_the_whole_text_must_match(pattern: str, text: str) -> None:
    assert BoundedPattern(pattern).matches(text) == (re.fullmatch(pattern, text) is not None)


def test_long_texts_are_not_tried() -> None:
    pattern = BoundedPattern("a+")
    assert pattern.matches("a" * LENGTH_LIMIT) is True
    assert pattern.matches("a" * (LENGTH_LIMIT + 1)) is None
    assert pattern.groups("a" * (LENGTH_LIMIT + 1)) is None


def test_named_groups() -> None:
    pattern = BoundedPattern("(?P<verb>GET|POST) (?P<path>/.*)|-")
    assert pattern.groups("GET /a") == {"verb": "GET", "path": "/a"}
    assert pattern.groups("-") == {}
    assert pattern.groups("PUT /a") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[A-", "is not a regular expression (unterminated character set at position 0); correct it"),
        (r"(a)\1", "is not a regular expression (references to groups are not taken); correct it"),
        ("a" * 501, "is longer than 500 characters; shorten it"),
    ],
)
def test_what_is_no_pattern_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        BoundedPattern(text)


def test_patterns_compare_and_travel_by_their_text() -> None:
    pattern = BoundedPattern("a+")
    assert pickle.loads(pickle.dumps(pattern)) == pattern
    assert len({pattern, BoundedPattern("a+"), BoundedPattern("a+", 10)}) == 2
