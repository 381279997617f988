"""Tokens of senders: made once, kept as hashes, ended at once."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from cxgauge.collectors.receiver.sender_tokens import Sender, SenderTokens, TokensFileError


@pytest.fixture
def tokens(tmp_path: Path, clock: Any) -> SenderTokens:
    return SenderTokens(tmp_path / "sub" / "tokens.json", clock, clock)


def test_a_token_opens_and_its_secret_is_nowhere(tokens: SenderTokens, clock: Any) -> None:
    token, kept = tokens.add("bill service", ("bill",))
    clock.advance(1)
    assert tokens.sender(token) == Sender(kept.id, "bill service", frozenset({"bill"}))
    text = tokens.path.read_text()
    assert kept.id in text
    assert token.rsplit("_", 1)[1] not in text
    assert tokens.path.stat().st_mode & 0o777 == 0o600


def test_what_is_not_the_token_opens_nothing(tokens: SenderTokens, clock: Any) -> None:
    token, kept = tokens.add("a")
    clock.advance(1)
    other = f"cxg_{kept.id}_{'A' * 43}"
    for wrong in ("", "x", token[:-1], token + "x", token.upper(), other, "cxg_00000000_" + token[13:], token + "\n"):
        assert tokens.sender(wrong) is None


def test_a_revoked_token_ends_without_a_restart(tokens: SenderTokens, clock: Any) -> None:
    token, kept = tokens.add("a")
    clock.advance(1)
    assert tokens.sender(token) is not None
    assert bool(tokens.any_good) is True
    SenderTokens(tokens.path, clock).revoke(kept.id)
    clock.advance(0.6)
    assert tokens.sender(token) is None
    assert bool(tokens.any_good) is False
    assert [(one.name, one.revoked_at) for one in tokens.all()] == [("a", clock.now - 0.6)]
    assert tokens.revoke(kept.id).revoked_at == clock.now - 0.6
    with pytest.raises(KeyError):
        tokens.revoke("00000000")


def test_without_a_file_there_are_no_tokens(tokens: SenderTokens) -> None:
    assert tokens.sender("cxg_00000000_" + "A" * 43) is None
    assert not tokens.any_good


def test_a_file_that_everybody_may_read_is_refused(tokens: SenderTokens) -> None:
    token, _ = tokens.add("a")
    tokens.path.chmod(0o644)
    message = f"everybody may read or write {tokens.path}; run `chmod 600 {tokens.path}`"
    with pytest.raises(TokensFileError, match=f"^{message}$"):
        tokens.sender(token)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"tokens": [{"id": 1}]}', '{"tokens": [7]}', "\x00"])
def test_a_damaged_file_lets_nobody_in(tokens: SenderTokens, text: str) -> None:
    tokens.add("a")
    tokens.path.write_text(text)
    message = f"{tokens.path} is not a tokens file; restore it, or delete it and add tokens anew"
    for use in (lambda: tokens.sender("x"), tokens.all, lambda: tokens.add("b")):
        with pytest.raises(TokensFileError, match=f"^{message}$"):
            use()
    assert tokens.path.read_text() == text


@pytest.mark.parametrize("name", ["", " a", "a\nb", "x" * 64, "名"])
def test_names_that_cannot_be_one(tokens: SenderTokens, name: str) -> None:
    with pytest.raises(ValueError) as caught:
        tokens.add(name)
    assert str(caught.value) == f"name={name!r} cannot name a token; use up to 63 letters, digits, blanks, . _ -"


def _add_many(path: Path, count: int) -> None:
    for number in range(count):
        SenderTokens(path).add(f"p{number}")


def test_processes_that_add_at_the_same_time_lose_none(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_add_many, args=(path, 15)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(json.loads(path.read_text())["tokens"]) == 60
