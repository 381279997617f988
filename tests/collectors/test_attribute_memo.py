"""Attributes recognised by their bytes mean what decoding them would say, however they are written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from cxgauge.collectors.receiver.attribute_memo import AttributeMemo, decode_attribute, decode_resource

_KEYS = st.sampled_from(["route", "channel", "user", "noise", "x" * 200, "名"]) | st.text(max_size=5)
_VALUES = st.one_of(
    st.text(max_size=8).map(lambda text: AnyValue(string_value=text)),
    st.integers(-5, 5).map(lambda number: AnyValue(int_value=number)),
    st.booleans().map(lambda truth: AnyValue(bool_value=truth)),
    st.just(AnyValue()),
)


def memo() -> AttributeMemo:
    return AttributeMemo(lambda key: key in ("route", "channel", "x" * 200), lambda key: key == "user")


@settings(deadline=None)
@given(st.lists(st.tuples(_KEYS, _VALUES), max_size=40))
def test_effects_and_pending_are_those_of_decoding(pairs: list[tuple[str, Any]]) -> None:
    kept = memo()
    for key, value in pairs:
        raw = KeyValue(key=key, value=value).SerializeToString()
        decoded = decode_attribute(raw)
        kept.pending.clear()
        effect = kept[raw]
        assert decoded[0] == key
        matters = key in ("route", "channel", "x" * 200) and decoded[1] is not None
        assert (kept.effects[effect] if effect else None) == (decoded if matters else None)
        assert kept.pending == ([decoded] if key == "user" and decoded[1] is not None else [])


def test_many_values_of_a_key_that_does_not_matter_are_not_kept() -> None:
    kept = memo()
    for number in range(5000):
        assert kept[KeyValue(key="noise", value=AnyValue(int_value=number)).SerializeToString()] == 0
    assert len(kept) == 512
    assert kept[KeyValue(key="route", value=AnyValue(string_value="/")).SerializeToString()] == 1


def test_numbers_and_truth_values_are_text() -> None:
    values = [AnyValue(int_value=-2), AnyValue(bool_value=True), AnyValue(double_value=0.5), AnyValue(bytes_value=b"x")]
    decoded = [decode_attribute(KeyValue(key="k", value=value).SerializeToString())[1] for value in values]
    assert decoded == ["-2", "true", "0.5", None]


@pytest.mark.parametrize("decode", [decode_attribute, decode_resource])
def test_what_is_not_a_message_is_told(decode: Any) -> None:
    with pytest.raises(ValueError, match=r"is not a (KeyValue|Resource)$"):
        decode(b"\x0a\xff")


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_have_an_effect_or_none(raw: bytes) -> None:
    assert memo()[raw] in (0, 1)
