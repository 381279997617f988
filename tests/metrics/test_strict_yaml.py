from __future__ import annotations

import string
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cxgauge.metrics import strict_yaml
from cxgauge.metrics.fault import FAULTS_LIMIT, Fault, SpecificationError, place_text
from cxgauge.metrics.strict_yaml import (
    SIZE_LIMIT_BYTES,
    read_document,
    read_text,
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(string.printable + "账单总额：￥", max_size=20)
)
KEYS = st.text(string.ascii_letters + string.digits + " :-_账", min_size=1, max_size=8)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


def faults(text: str) -> list[str]:
    return [str(fault) for fault in read_text(text, "f.yml").faults]


@given(VALUES)
def test_what_is_read_without_fault_is_what_any_yaml_reader_reads(value: object) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    document = read_text(text, "f.yml")
    if not document.faults:
        assert document.value == yaml.safe_load(text)


@given(st.dictionaries(KEYS, st.text(string.printable + "账单", max_size=20), min_size=1, max_size=5))
def test_quoted_text_is_never_refused(value: dict[str, str]) -> None:
    text = yaml.safe_dump(value, allow_unicode=True, default_style='"')
    document = read_text(text, "f.yml")
    assert document.faults == []
    assert document.value == value


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_but_raises_nothing(text: str) -> None:
    document = read_text(text, "f.yml")
    assert document.readable or document.faults


PIECES = st.sampled_from(
    [
        *("a", "b", "1", "yes", "账", "~", ": ", ":", "- ", "\n", "\n  ", "\t", "\r", "\r\n"),
        *("'", '"', "\\", "{", "}", "[", "]", ",", " #", "|", ">", "!", "&x", "*x", "?", "%", "@", "---", "..."),
    ]
)


@pytest.mark.skipif(not hasattr(yaml, "CSafeLoader"), reason="PyYAML was built without libyaml")
@given(st.lists(PIECES, max_size=14).map("".join))
def test_both_parsers_take_and_tell_the_same(text: str) -> None:
    found = read_text(text, "f.yml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strict_yaml, "_FAST_LOADER", None)
        slow = read_text(text, "f.yml")
    assert (found.value, found.faults, found.marks) == (slow.value, slow.faults, slow.marks)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_but_raise_nothing(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yml"
    path.write_bytes(data)
    document = read_document(path)
    assert document.readable or document.faults


@pytest.mark.parametrize(
    "written",
    [
        *("yes", "No", "on", "OFF", "y", "N"),
        *("12:30", "1:02:03.5", "010", "0o10", "0x1F", "0b1", "1_000", "1_0.5", "007.5", "1e3", "1.5e3"),
        *(".inf", "-.inf", ".nan", "2026-01-31", "2026-1-31 10:00:00", "=", "<<"),
    ],
)
def test_what_two_readers_take_differently_is_refused(written: str) -> None:
    (fault,) = faults(f"entry: {written}")
    assert fault.startswith(f"f.yml:1: entry='{written}' ")
    assert "; " in fault


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True),
        ("False", False),
        ("0", 0),
        ("-12", -12),
        ("+3", 3),
        ("1.50", 1.5),
        (".5", 0.5),
        ("2.", 2.0),
        ("8.1.0", "8.1.0"),
        ("1.0s", "1.0s"),
        ("env:NAME", "env:NAME"),
        ("00:1a", "00:1a"),
        ("'yes'", "yes"),
        ('"010"', "010"),
        ("账单", "账单"),
    ],
)
def test_what_all_readers_take_alike_is_taken(written: str, value: object) -> None:
    document = read_text(f"key: {written}", "f.yml")
    assert document.faults == []
    assert document.value == {"key": value}
    assert type(document.value["key"]) is type(value)


def test_lines_and_sources_are_remembered() -> None:
    document = read_text("a: 1\nb:\n  - x\n  -\n    c: 1.50\n", "f.yml")
    assert document.line(("b", 1, "c")) == 5
    assert document.source(("b", 1, "c")) == "1.50"
    assert document.line(("b", 1, "missing")) == 5
    assert document.line(("missing",)) == 1
    assert document.source(("b",)) is None


def test_a_fault_inside_a_repeated_key_is_told_once() -> None:
    assert faults("a: 1\na: yes\n") == [
        "f.yml:2: a is given twice (first on line 1); keep one",
        "f.yml:2: a='yes' is a boolean in YAML 1.1 and text in 1.2; write true, or quote it: \"yes\"",
    ]


def test_secrets_are_not_repeated() -> None:
    assert faults("password: 0123\napi_key: yes\n") == [
        "f.yml:1: password='***' has a leading zero: an octal number in YAML 1.1; quote it, or drop the zero",
        "f.yml:2: api_key='***' is a boolean in YAML 1.1 and text in 1.2; write true, or quote it: \"yes\"",
    ]


def test_faults_of_one_file_are_bounded() -> None:
    found = faults("".join(f"k{number}: yes\n" for number in range(400)))
    assert len(found) == FAULTS_LIMIT + 1
    assert found[-1] == "f.yml:101: has more faults than these; correct them first"


def test_deep_nesting_is_refused() -> None:
    assert faults("[" * 40 + "]" * 40) == [
        "f.yml:1: is not YAML (nested deeper than 32); correct the syntax on this line or just before it"
    ]


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.yml"
    path.write_bytes(b"#" * (SIZE_LIMIT_BYTES + 1))
    (fault,) = read_document(path, "large.yml").faults
    assert str(fault) == "large.yml: is larger than 1048576 bytes; split it"


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    (fault,) = read_document(tmp_path / "none.yml", "none.yml").faults
    assert str(fault) == "none.yml: cannot be read (No such file or directory); check the path and its permissions"


def test_a_byte_order_mark_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "mark.yml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    document = read_document(path)
    assert (document.value, document.faults) == ({"a": 1}, [])


def test_long_values_are_shortened_in_messages() -> None:
    document = read_text("a: " + "x" * 100, "f.yml")
    document.fault(("a",), "is long; shorten it", source=document.source(("a",)))
    assert str(document.faults[0]) == f"f.yml:1: a='{'x' * 59}…' is long; shorten it"


def test_place_text() -> None:
    assert place_text(()) == ""
    assert place_text(("steps", 1, "timeliness", "target")) == "steps[1].timeliness.target"
    assert place_text(("attributes", "http.route", "")) == "attributes['http.route']['']"
    assert place_text(("a b", "c\r", "x" * 70)) == f"['a b']['c\\r']['{'x' * 59}…']"


def test_the_exception_holds_every_fault() -> None:
    one, two = Fault("a.yml", 3, "x", "x is bad; mend it"), Fault("b.yml", 0, "", "is missing; add it")
    error = SpecificationError((one, two))
    assert str(error) == "a.yml:3: x is bad; mend it\nb.yml: is missing; add it"
    assert error.faults == (one, two)
