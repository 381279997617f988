"""The receiver as a server: who may listen where, who is let in, how long anybody may take."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from cxgauge.collectors.receiver.sender_limits import SenderLimits
from cxgauge.collectors.receiver.server import ReceiverServer, UnprotectedError, sender_tokens
from cxgauge.collectors.spool import ResumePoint, SpoolReader
from cxgauge.metrics.configuration.config import Config

PROTOBUF = "application/x-protobuf"


@pytest.fixture
def config(tmp_path: Path) -> Any:
    def make(receiver: str = "") -> Config:
        text = f"receiver:\n  port: 0\n{receiver}spool:\n  minimum_free_bytes: 1\n"
        return Config.parse(text, directory=tmp_path)

    return make


def lowered(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def post(
    url: str, body: bytes, path: str = "/v1/traces", context: ssl.SSLContext | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    dashed = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url + path, body, {"content-type": PROTOBUF, **dashed})
    try:
        with urllib.request.urlopen(request, timeout=20, context=context) as reply:
            return reply.status, lowered(reply.headers), reply.read()
    except urllib.error.HTTPError as error:
        return error.code, lowered(error.headers), error.read()


def stored(server: ReceiverServer) -> int:
    chunk = SpoolReader(server.spool.directory).read(server.spool.source, ResumePoint())
    return sum(map(len, chunk.batches))


def test_what_was_confirmed_is_in_the_spool_after_a_stop(config: Any, bill_flows: Any, trace: Any, clock: Any) -> None:
    builder = trace()
    builder.span()
    with ReceiverServer(config(), bill_flows, clock) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert post(server.url, builder.to_bytes())[0] == 200
    assert stored(server) == 1
    with pytest.raises(urllib.error.URLError):
        post(server.url, b"")


def test_listening_beyond_this_machine_needs_a_token(config: Any, bill_flows: Any, clock: Any) -> None:
    wide = config("  host: 0.0.0.0\n")
    with pytest.raises(UnprotectedError) as caught:
        ReceiverServer(wide, bill_flows, clock)
    assert str(caught.value) == (
        "receiver.host='0.0.0.0' listens beyond this machine, and there is no sender token: anybody could send; "
        "run `cxgauge token add NAME`, or listen on 127.0.0.1"
    )
    token, _ = sender_tokens(wide).add("app")
    with ReceiverServer(wide, bill_flows, clock) as server:
        url = server.url.replace("0.0.0.0", "127.0.0.1")
        status, headers, body = post(url, b"{}", content_type="application/json")
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        assert json.loads(body) == {
            "code": 16,
            "message": "a token is needed; send Authorization: Bearer with one made by cxgauge token add",
        }
        assert post(url, b"", authorization="Bearer " + token)[0] == 200
        assert post(url, b"", authorization="Bearer " + token[:-1] + "~")[0] == 401


def test_a_wrong_token_is_refused_even_where_none_is_needed(config: Any, bill_flows: Any, clock: Any) -> None:
    with ReceiverServer(config(), bill_flows, clock) as server:
        assert post(server.url, b"")[0] == 200
        assert post(server.url, b"", authorization="Bearer cxg_x")[0] == 401


def test_a_token_counts_for_its_flows_only(config: Any, bill_flows: Any, trace: Any, clock: Any) -> None:
    settings = config("  tokens_required: true\n")
    good, _ = sender_tokens(settings).add("good", ("bill", "transfer"))
    other, kept = sender_tokens(settings).add("other one", ("transfer",))
    builder = trace()
    builder.span()
    with ReceiverServer(settings, bill_flows, clock) as server:
        status, _, body = post(server.url, builder.to_bytes(), authorization="Bearer " + other)
        assert status == 200
        assert f"1 × token {kept.id} (other one) may not send for flow bill".encode() in body
        assert stored(server) == 0
        assert post(server.url, builder.to_bytes(), authorization="Bearer " + good)[::2] == (200, b"")
        assert stored(server) == 1


def test_a_sender_beyond_its_allowance_is_told_to_wait(config: Any, bill_flows: Any, trace: Any, clock: Any) -> None:
    builder = trace()
    for _ in range(200):
        builder.span()
    with ReceiverServer(config("  sender_bytes_per_second: 1KiB\n"), bill_flows, clock) as server:
        assert post(server.url, builder.to_bytes())[0] == 200
        status, headers, body = post(server.url, b"")
    assert (status, headers["retry-after"]) == (429, "1")
    assert b"this sender has sent more than 1024 bytes a second; send less, or raise the limit" in body


def test_an_allowance_refills_and_the_number_of_senders_is_bounded(clock: Any) -> None:
    limits = SenderLimits(100, clock)
    limits.charge("a", 1500)
    assert (limits.exceeded("a"), limits.exceeded("b")) == (True, False)
    clock.advance(4.9)
    assert limits.exceeded("a")
    clock.advance(0.2)
    assert not limits.exceeded("a")
    for number in range(12_000):
        limits.charge(str(number), 1)
    assert len(limits._senders) == 10_000


def test_a_port_that_is_taken_is_said(config: Any, bill_flows: Any, clock: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = config().model_copy(update={"receiver": config().receiver.model_copy(update={"port": port})})
        with pytest.raises(OSError, match=r"^receiver") as caught:
            ReceiverServer(settings, bill_flows, clock).start()
    assert str(caught.value) == (
        f"receiver.port={port} cannot be listened on at 127.0.0.1; end what uses it, or set another port"
    )


def test_connections_that_never_finish_a_head_are_closed(config: Any, bill_flows: Any, clock: Any) -> None:
    with ReceiverServer(config("  header_timeout: 300ms\n"), bill_flows, clock) as server:
        host, port = server.url.removeprefix("http://").split(":")
        slow = [socket.create_connection((host, int(port)), timeout=20) for _ in range(20)]
        for connection in slow:
            connection.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert post(server.url, b"")[0] == 200
        for connection in slow:
            assert connection.recv(100) == b""
            connection.close()
        patient = http.client.HTTPConnection(host, int(port), timeout=20)
        for _ in range(2):
            patient.request("POST", "/v1/traces", b"")
            reply = patient.getresponse()
            assert (reply.status, reply.read()[:12]) == (415, b"Content-Type")
            time.sleep(0.5)  # longer than a head may take, shorter than a connection may rest
        patient.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-out", str(files[0]), "-keyout", str(files[1]), "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    return files


def test_tls(config: Any, bill_flows: Any, trace: Any, clock: Any, certificate: tuple[Path, Path]) -> None:
    settings = config("  tls: {certificate: cert.pem, private_key: key.pem}\n")
    builder = trace()
    builder.span()
    with ReceiverServer(settings, bill_flows, clock) as server:
        assert server.url.startswith("https://")
        trusted = ssl.create_default_context(cafile=str(certificate[0]))
        assert post(server.url, builder.to_bytes(), context=trusted)[0] == 200
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            post(server.url, b"", context=ssl.create_default_context())
    assert stored(server) == 1


def test_clients_certificates_can_be_demanded(
    config: Any, bill_flows: Any, clock: Any, certificate: tuple[Path, Path]
) -> None:
    settings = config("  tls: {certificate: cert.pem, private_key: key.pem, client_authority: cert.pem}\n")
    with ReceiverServer(settings, bill_flows, clock) as server:
        trusted = ssl.create_default_context(cafile=str(certificate[0]))
        with pytest.raises((urllib.error.URLError, ssl.SSLError, ConnectionError)):
            post(server.url, b"", context=trusted)
        trusted.load_cert_chain(*certificate)
        assert post(server.url, b"", context=trusted)[0] == 200


def test_a_certificate_that_cannot_be_used(config: Any, bill_flows: Any, clock: Any) -> None:
    settings = config("  tls: {certificate: none.pem, private_key: none.pem}\n")
    with pytest.raises(ValueError, match=r"^receiver\.tls cannot be used: .*; check certificate and private_key$"):
        ReceiverServer(settings, bill_flows, clock)
