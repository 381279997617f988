from __future__ import annotations

from pathlib import Path
from typing import get_args
from zoneinfo import ZoneInfo

import psycopg.conninfo
import pytest

from cxgauge.metrics.configuration.config import Config, Secret, SecretError, SpecificationError
from cxgauge.metrics.configuration.notifiers import AnyNotifier, LogNotifier, WebhookNotifier


def faults(text: str) -> str:
    with pytest.raises(SpecificationError) as caught:
        Config.parse(text)
    return str(caught.value)


def test_everything_has_a_default() -> None:
    config = Config.parse("language: en\n")
    assert (config.language, config.timezone, config.window_seconds) == ("en", ZoneInfo("UTC"), 60)
    assert (config.http.host, config.http.port) == ("127.0.0.1", 9464)
    assert config.database.conninfo() is None
    assert config.notifiers == (LogNotifier(name="log", type="log"),)
    assert (config.alerts.pending_for_seconds, config.alerts.resend_seconds, config.alerts.no_data_after_seconds) == (
        0.0,
        14400.0,
        300.0,
    )
    assert config.detection.false_alarms_per_month == 1.0
    assert (config.detection.spike_windows, config.detection.spike_effect) == (3, 1.3)
    assert config.receiver.host == "127.0.0.1"


def test_paths_count_from_the_folder_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cxgauge.yml"
    path.write_text("spool: {directory: here}\nrecorder: {customer_key_file: keys/customer}\n", encoding="utf-8")
    config = Config.load(path)
    assert config.spool.directory == tmp_path / "here"
    assert config.flows.directory == tmp_path / "flows"
    assert config.recorder.customer_key == Secret(file=tmp_path / "keys/customer")
    assert Config.parse("spool: {directory: /elsewhere}", directory=tmp_path).spool.directory == Path("/elsewhere")


def test_units() -> None:
    config = Config.parse(
        "spool: {limit_bytes: 2GiB, segment_bytes: 4096, age_limit: 36h}\nalerts: {pending_for: 90s}\n"
    )
    assert (config.spool.limit_bytes, config.spool.segment_bytes, config.spool.age_limit_seconds) == (
        2 << 30,
        4096,
        129600.0,
    )
    assert config.alerts.pending_for_seconds == 90.0


def test_the_password_joins_the_address_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config.parse("database: {dsn: 'postgresql://gauge@db:6000/cx', password: env:CX_TEST_PASSWORD}\n")
    monkeypatch.setenv("CX_TEST_PASSWORD", "hunt er'2")
    found = psycopg.conninfo.conninfo_to_dict(config.database.conninfo() or "")
    assert found == {"user": "gauge", "host": "db", "port": "6000", "dbname": "cx", "password": "hunt er'2"}
    for text in (repr(config), str(config), config.model_dump_json()):
        assert "hunt" not in text
        assert "env:CX_TEST_PASSWORD" in text or "variable='CX_TEST_PASSWORD'" in text


def test_an_address_by_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config.parse("database: {dsn: env:CX_TEST_DSN}\n")
    monkeypatch.setenv("CX_TEST_DSN", "postgresql://a:b@c/d")
    assert config.database.conninfo() == "postgresql://a:b@c/d"
    assert "a:b" not in repr(config)


def test_notifiers_are_told_apart_by_type(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("https://chat.example.com/send?key=hunter2\n", encoding="utf-8")
    config = Config.parse(
        """
notifiers:
  - {name: log, type: log, language: zh}
  - {name: chat, type: webhook, url_file: url, headers: {Authorization: env:CX_TEST_TOKEN}, timeout: 3s}
  - {name: local, type: webhook, url: 'http://127.0.0.1:9000/hook'}
""",
        directory=tmp_path,
    )
    log, chat, local = config.notifiers
    assert isinstance(log, LogNotifier)
    assert isinstance(chat, WebhookNotifier)
    assert isinstance(local, WebhookNotifier)
    assert (log.language, chat.timeout_seconds, chat.url.reveal()) == (
        "zh",
        3.0,
        "https://chat.example.com/send?key=hunter2",
    )
    assert chat.headers["Authorization"] == Secret(variable="CX_TEST_TOKEN")
    assert local.url.reveal() == "http://127.0.0.1:9000/hook"
    assert "hunter2" not in repr(config)


def test_every_fault_is_told_in_the_order_of_lines() -> None:
    text = (
        "timezone: Mars\nwindow_seconds: 7\nspool: {fsync: never}\nhttp: {prt: 1}\nretention: {hour_rollups_days: 2}\n"
    )
    assert faults(text) == (
        "cxgauge.yml:1: timezone='Mars' is not an IANA time zone; write e.g. Asia/Shanghai\n"
        "cxgauge.yml:2: window_seconds='7' does not divide a minute; write one of 60, 30, 20, 15, 12, 10, 6, 5, 4, 3, "
        "2, 1\n"
        "cxgauge.yml:3: spool.fsync='never' is not one of always, interval; choose one\n"
        "cxgauge.yml:4: http.prt is an unknown key; did you mean 'port'?\n"
        "cxgauge.yml:5: retention.hour_rollups_days='2' makes hours (2) be kept shorter than windows (90); swap them"
    )


def test_a_misspelt_notifier_type_lists_all_types() -> None:
    known = [get_args(model.model_fields["type"].annotation)[0] for model in get_args(get_args(AnyNotifier)[0])]
    assert {"log", "webhook"} <= set(known)
    assert faults("notifiers:\n  - {name: ops, type: webhok}\n") == (
        f"cxgauge.yml:2: notifiers[0].type='webhok' is not one of {', '.join(known)}; did you mean 'webhook'?"
    )


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SpecificationError) as caught:
        Config.load(tmp_path / "cxgauge.yml")
    assert str(caught.value) == (
        f"{tmp_path}/cxgauge.yml: cannot be read (No such file or directory); check the path and its permissions"
    )


def test_secrets_are_read_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    secret = Secret(file=path)
    path.write_text("one\n", encoding="utf-8")
    assert (secret.reveal(), secret.reveal_bytes()) == ("one", b"one")
    path.write_text("two\n", encoding="utf-8")
    assert secret.reveal() == "two"
    monkeypatch.setenv("CX_TEST_SECRET", " three ")
    assert Secret(variable="CX_TEST_SECRET").reveal() == "three"
    assert (str(secret), str(Secret(variable="A"))) == (f"file:{path}", "env:A")


def test_secrets_that_cannot_be_read_name_the_place_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CX_TEST_SECRET", raising=False)
    empty, binary = tmp_path / "empty", tmp_path / "binary"
    empty.write_text("\n", encoding="utf-8")
    binary.write_bytes(b"\xff\xfe")
    expected = {
        Secret(variable="CX_TEST_SECRET"): "environment variable CX_TEST_SECRET is not set; set it to the secret",
        Secret(file=empty): f"secret file {empty} is empty; write the secret into it",
        Secret(file=binary): f"secret file {binary} cannot be read (it is not UTF-8); check path and permissions",
        Secret(file=tmp_path / "no"): (
            f"secret file {tmp_path / 'no'} cannot be read (No such file or directory); check path and permissions"
        ),
    }
    for secret, message in expected.items():
        with pytest.raises(SecretError) as caught:
            secret.reveal()
        assert str(caught.value) == message
