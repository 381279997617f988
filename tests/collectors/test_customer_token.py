"""Keyed tokens for customers."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxgauge.collectors.customer_token import (
    CustomerKey,
    CustomerKeyError,
    CustomerTokens,
    flow_instance_id,
    keyed_digest,
    new_key_line,
)

OLD, NEW = CustomerKey(1, b"o" * 32), CustomerKey(2, b"n" * 32)


def test_a_token_is_the_keys_number_and_a_truncated_hmac() -> None:
    expected = hmac.new(b"n" * 32, b"customer\x006222", hashlib.sha256).digest()[:15]
    assert CustomerTokens([NEW, OLD]).token("6222") == b"\x02" + expected


@given(st.text() | st.integers() | st.binary())
def test_tokens_are_equal_for_equal_ids_and_differ_by_key(customer: object) -> None:
    tokens = CustomerTokens([NEW, OLD])
    assert tokens.token(customer) == tokens.token(customer)
    assert tokens.tokens(customer) == (tokens.token(customer), CustomerTokens([OLD]).token(customer))
    assert len(tokens.token(customer)) == 16
    assert tokens.token(customer) != tokens.tokens(customer)[1]


def test_a_number_and_its_text_are_one_customer() -> None:
    assert CustomerTokens([NEW]).token(42) == CustomerTokens([NEW]).token("42")


def test_keys_are_read_from_text_with_comments() -> None:
    text = f"# rotated in May\n2:{'ab' * 32}, 1:not hexadecimal but long\n\n"
    tokens = CustomerTokens.parse(text, "keys")
    assert tokens.tokens("c") == (
        CustomerTokens([CustomerKey(2, b"\xab" * 32)]).token("c"),
        CustomerTokens([CustomerKey(1, b"not hexadecimal but long")]).token("c"),
    )


def test_a_single_key_may_leave_out_its_number() -> None:
    assert CustomerTokens.parse("ab" * 32, "keys").token("c") == CustomerTokens.parse("1:" + "ab" * 32, "k").token("c")


def test_a_new_key_line_can_be_read() -> None:
    line = new_key_line(7)
    assert line != new_key_line(7)
    assert CustomerTokens.parse(line, "keys").token("c")[0] == 7


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "keys: there is no customer key; write one as `1:` and 64 hexadecimal digits"),
        (
            "1:abcd",
            "keys:1: customer key 1 has 2 bytes; at least 16 are needed, e.g. the output of `openssl rand -hex 32`",
        ),
        ("\n300:" + "ab" * 32, "keys:2: customer key number 300 is not from 1 to 255"),
        (
            f"1:{'ab' * 32}\n1:{'cd' * 32}",
            "keys: customer key number 1 is given twice; number keys 1, 2, …",
        ),
        (
            "x:" + "ab" * 32,
            "keys:1: a customer key is written as its number, a colon and the key, e.g. 1:9f86d081…",
        ),
    ],
)
def test_faulty_keys_are_told_without_the_key(text: str, error: str) -> None:
    with pytest.raises(CustomerKeyError) as caught:
        CustomerTokens.parse(text, "keys")
    assert str(caught.value) == error
    assert "abab" not in error
    assert caught.value.__cause__ is None


def test_a_key_does_not_show_itself() -> None:
    assert repr(OLD) == "CustomerKey(number=1)"


def test_key_files(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("1:" + "ab" * 32)
    path.chmod(0o640)
    assert CustomerTokens.from_file(path).token("c")[0] == 1
    path.chmod(0o644)
    with pytest.raises(CustomerKeyError) as caught:
        CustomerTokens.from_file(path)
    assert str(caught.value) == f"{path}: everybody may read the customer keys; run `chmod 640 {path}`"
    with pytest.raises(CustomerKeyError, match=r"the customer key file cannot be read: .*No such file"):
        CustomerTokens.from_file(tmp_path / "missing")


def test_keys_of_the_environment() -> None:
    assert CustomerTokens.from_environment({}) is None
    tokens = CustomerTokens.from_environment({"CXGAUGE_CUSTOMER_KEYS": "4:" + "ab" * 32})
    assert tokens is not None
    assert tokens.token("c")[0] == 4


def test_flow_instances() -> None:
    assert flow_instance_id(bytes(range(16))) == bytes(range(16))
    assert flow_instance_id("0" * 31 + "a") == b"\0" * 15 + b"\n"
    assert flow_instance_id("0" * 31 + "A") == b"\0" * 15 + b"\n"
    assert flow_instance_id("00000000-0000-0000-0000-00000000000a") == b"\0" * 15 + b"\n"
    assert flow_instance_id("order-1") == flow_instance_id("order-1") != flow_instance_id("order-2")
    assert len(flow_instance_id("order-1")) == 16
    assert CustomerTokens([NEW]).flow_instance("order-1") != flow_instance_id("order-1")
    assert CustomerTokens([NEW]).flow_instance("0" * 31 + "a") == b"\0" * 15 + b"\n"


@given(secret=st.binary(min_size=1, max_size=130), data=st.binary(max_size=200))
def test_the_keyed_digest_is_hmac_sha256(secret: bytes, data: bytes) -> None:
    assert keyed_digest(secret, data) == hmac.digest(secret, data, "sha256")
