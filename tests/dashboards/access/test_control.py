"""The access control against those who do not fill in its forms: other sites, proxies, strange hosts, huge bodies."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest

from cxgauge.dashboards.access.listening import UnprotectedPagesError, refuse_unprotected
from cxgauge.metrics.configuration.config import Config

from .conftest import PASSWORD, SIGN_IN, Site, sign_in, token_of

OPEN = "timezone: Asia/Shanghai"
ALERT = "/alerts/0123456789ab/actions"


FOREIGN = "the form is not from this site\n"
NO_FORM = "what changes something must be a form: application/x-www-form-urlencoded\n"


def test_other_sites_change_nothing_in_a_visitor_s_name(site: Site) -> None:
    client = site.signed_in("li.wei", "engineer")
    body = f"token={token_of(client.get('/account').text)}&action=acknowledge&note=x"
    for path in ("/sign-out", "/account/password", ALERT, "/sign-in"):
        for headers, status, message in (
            ({"origin": "https://evil.example"}, 403, FOREIGN),
            ({"origin": "null"}, 403, FOREIGN),
            ({"sec-fetch-site": "cross-site"}, 403, FOREIGN),
            ({"sec-fetch-site": "same-site"}, 403, FOREIGN),
            ({"content-type": "text/plain"}, 415, NO_FORM),
            ({"content-type": "multipart/form-data; boundary=x"}, 415, NO_FORM),
        ):
            sent = {"content-type": "application/x-www-form-urlencoded"} | headers
            answer = client.post(path, content=body, headers=sent)
            assert (answer.status_code, answer.text) == (status, message), (path, headers)
    assert site.audited()[-1][1] == "sign-in"


def test_the_token_of_somebody_else_is_worth_nothing(site: Site) -> None:
    mallory, victim = site.signed_in("mallory", "engineer"), site.signed_in("victim", "engineer")
    for token in (token_of(mallory.get("/account").text), "", victim.cookies["cxgauge_session"]):
        answer = victim.post(ALERT, data={"token": token, "action": "acknowledge"})
        assert (answer.status_code, answer.text) == (403, "the form is out of date: load the page again\n")
    assert victim.post(ALERT, data={"action": "acknowledge"}).status_code == 403


def test_nobody_can_be_signed_in_as_somebody_else_by_another_site(site: Site) -> None:
    site.account("mallory")
    fields = {"name": "mallory", "password": PASSWORD}
    assert site.visitor().post("/sign-in", data=fields).status_code == 403
    stranger = site.visitor()
    foreign = token_of(stranger.get("/sign-in").text)
    assert site.visitor().post("/sign-in", data={"token": foreign, **fields}).status_code == 403


def test_malformed_and_oversized_forms_are_refused(site: Site) -> None:
    client = site.signed_in("li.wei", "engineer")
    for body, status, message in (
        (b"token=x&note=" + b"x" * 40_000, 413, "the form is larger than 32768 bytes\n"),
        (b"&".join(b"a=1" for _ in range(60)), 400, "the form cannot be read\n"),
        (b"\xff\xfe", 400, "the form cannot be read\n"),
        (b"", 403, "the form is out of date: load the page again\n"),
    ):
        answer = client.post(ALERT, content=body, headers={"content-type": "application/x-www-form-urlencoded"})
        assert (answer.status_code, answer.text) == (status, message)


def test_notes_cannot_break_lines_of_the_log_or_the_database(site: Site) -> None:
    client = site.signed_in("li.wei", "engineer")
    token = token_of(client.get("/account").text)
    answer = client.post(ALERT, data={"token": token, "action": "comment", "note": "a\0b\r\nc\x1b[31m"})
    assert answer.status_code == 303
    with site.store.connection() as connection:
        row = connection.execute("SELECT details ->> 'note' FROM audit ORDER BY audit_id DESC LIMIT 1").fetchone()
    assert row == ("a b  c [31m",)


def test_a_header_cannot_be_split_by_what_is_asked_for(site: Site) -> None:
    parts = urlsplit(site.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), 10) as raw:
        raw.sendall(
            b"GET /alerts?q=%0d%0aset-cookie:%20a=b HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            b"accept: text/html\r\nconnection: close\r\n\r\n"
        )
        answer = b"".join(iter(lambda: raw.recv(65_536), b""))
    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert b"location: /sign-in?next=" in head
    assert b"a=b" not in head


def test_methods_that_no_route_takes_are_refused(site: Site) -> None:
    client = site.signed_in("boss", "admin")
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "POST"):
        assert client.request(method, "/alerts").status_code in (405, 415), method


# -- who is who ---------------------------------------------------------------------------------------------------


def test_the_audit_believes_declared_proxies_only(site: Site) -> None:
    site.account("li.wei")
    declared = "http: {trusted_proxies: [127.0.0.1]}"
    for proxies, forwarded, address in (
        ("", "203.0.113.7", "127.0.0.1"),
        (declared, "203.0.113.7", "203.0.113.7"),
        (declared, "10.9.9.9, 203.0.113.7", "203.0.113.7"),
        ("http: {trusted_proxies: [127.0.0.1, 10.0.0.0/8]}", "198.51.100.1, 203.0.113.7, 10.1.1.1", "203.0.113.7"),
        (declared, "203.0.113.7, nonsense", "127.0.0.1"),
        (declared, "", "127.0.0.1"),
    ):
        site.configure(SIGN_IN + proxies)
        sign_in(site.visitor(**{"x-forwarded-for": forwarded}), "li.wei")
        assert site.audited()[-1] == ("li.wei", "sign-in", "li.wei", address), (proxies, forwarded)


def test_metrics_are_for_this_machine_declared_networks_and_the_token(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRAPE_TOKEN", "t0ken")
    proxy = "http: {trusted_proxies: [127.0.0.1], metrics_networks: [10.2.0.0/16], metrics_token: env:SCRAPE_TOKEN}"
    site.configure(SIGN_IN + proxy)
    assert site.visitor().get("/metrics").text == "cxgauge_up 1\n"
    assert site.visitor(**{"x-forwarded-for": "10.2.3.4"}).get("/metrics").status_code == 200
    outside = site.visitor(**{"x-forwarded-for": "203.0.113.7"})
    refused = outside.get("/metrics")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert refused.text == "send the token of http.metrics_token, or add your network to http.metrics_networks\n"
    assert outside.get("/metrics", headers={"authorization": "Bearer t0ken"}).status_code == 200
    assert outside.get("/metrics", headers={"authorization": "Bearer t0ken2"}).status_code == 401
    assert outside.get("/metrics", headers={"authorization": "Basic t0ken"}).status_code == 401
    assert outside.get("/-/ready").status_code == 401
    assert outside.get("/-/healthy").text == "healthy\n"
    monkeypatch.delenv("SCRAPE_TOKEN")
    assert outside.get("/metrics", headers={"authorization": "Bearer"}).status_code == 401


def test_an_undeclared_proxy_on_this_machine_makes_nobody_local(site: Site) -> None:
    for proxies in ("", "http: {trusted_proxies: [10.9.9.9]}"):
        site.configure(SIGN_IN + proxies)
        for header in ("x-forwarded-for", "forwarded", "x-real-ip"):
            assert site.visitor(**{header: "203.0.113.7"}).get("/metrics").status_code == 401
            assert site.visitor(**{header: "127.0.0.1"}).get("/metrics").status_code == 401


# -- nobody has to sign in ----------------------------------------------------------------------------------------


def test_where_nobody_has_to_sign_in_pages_say_so(site: Site) -> None:
    site.configure(OPEN)
    client = site.visitor()
    assert "Open to whoever uses this machine: nobody has to sign in." in client.get("/").text
    assert "对使用本机的任何人开放：无需登录。" in client.get("/?lang=zh").text
    assert client.get("/audit").status_code == 200
    assert client.get("/sign-in").headers["location"] == "/"


def test_where_nobody_has_to_sign_in_only_this_machine_is_answered(site: Site) -> None:
    site.configure(OPEN)
    proxied = "nobody has to sign in here, so nothing is shown through a proxy; set sign_in in the configuration\n"
    for path in ("/", "/alerts", "/metrics", "/-/ready", "/flows/bill_inquiry/report.csv"):
        assert site.visitor().get(path).status_code == 200
        rebound = site.visitor(host="evil.example").get(path)
        assert (rebound.status_code, rebound.text) == (403, "open this page by 127.0.0.1 or localhost\n")
        for header in ("x-forwarded-for", "forwarded", "x-real-ip", "x-forwarded-host"):
            answer = site.visitor(**{header: "203.0.113.7"}).get(path)
            assert (answer.status_code, answer.text) == (403, proxied)


def test_a_session_of_before_gives_nothing_once_sign_in_is_off_and_back_on(site: Site) -> None:
    client = site.signed_in("li.wei")
    site.configure(OPEN)
    assert "li.wei" not in client.get("/account").text
    site.configure(SIGN_IN)
    assert "li.wei" in client.get("/account").text
    site.configure(
        "http: {public_url: 'https://x.example'}\n"
        "sign_in: {openid: {issuer: 'https://a.example', client_id: x, grants: [{value: a, role: admin}]}}"
    )
    secure = site.visitor(cookie=f"__Host-cxgauge_session={client.cookies['cxgauge_session']}")
    assert secure.get("/account").headers["location"].startswith("/sign-in"), "passwords do not count any more"


NETWORK = "can be reached from the network, but"
SIGN_IN_REMEDY = (
    f"{NETWORK} nobody has to sign in; set sign_in.accounts: true and run cxgauge user add NAME --role admin, "
    "or set sign_in.openid, or listen on 127.0.0.1"
)
TLS_REMEDY = (
    f"{NETWORK} passwords would be readable on the way; set http.tls, or behind a proxy that ends TLS "
    "http.public_url: https://… and http.trusted_proxies, or in a closed test network http.unencrypted: true"
)
ACCOUNTS = "sign_in: {accounts: true}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http: {host: 127.0.0.1}", None),
        ("http: {host: '::1'}", None),
        ("http: {host: localhost}", None),
        ("http: {host: 0.0.0.0}", f"http.host=0.0.0.0 {SIGN_IN_REMEDY}"),
        ("http: {host: '::', unencrypted: true, public_url: 'https://x.example'}", f"http.host=:: {SIGN_IN_REMEDY}"),
        (ACCOUNTS + "http: {host: 10.1.2.3}", f"http.host=10.1.2.3 {TLS_REMEDY}"),
        (ACCOUNTS + "http: {host: 0.0.0.0, public_url: 'http://x.example'}", f"http.host=0.0.0.0 {TLS_REMEDY}"),
        (ACCOUNTS + "http: {host: 0.0.0.0, unencrypted: true}", None),
        (ACCOUNTS + "http: {host: 0.0.0.0, public_url: 'https://x.example'}", None),
        (ACCOUNTS + "http: {host: 0.0.0.0, tls: {certificate: a, private_key: b}}", None),
    ],
)
def test_pages_listen_beyond_this_machine_with_sign_in_and_encryption_only(text: str, message: str | None) -> None:
    config = Config.parse(text)
    if message is None:
        refuse_unprotected(config)
        return
    with pytest.raises(UnprotectedPagesError) as caught:
        refuse_unprotected(config)
    assert str(caught.value) == message


# -- headers ------------------------------------------------------------------------------------------------------


def test_every_answer_carries_the_headers_and_figures_are_in_no_cache(site: Site) -> None:
    client, stranger = site.signed_in("li.wei"), site.visitor()
    answers = [
        client.get("/"), client.get("/flows/bill_inquiry/report.json"), client.get("/nowhere"), client.get("/audit"),
        stranger.get("/"), stranger.get("/sign-in"), stranger.post("/sign-out"), client.get("/-/healthy"),
    ]  # fmt: skip
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store", answer.url
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "strict-transport-security" not in answer.headers
    assert "cache-control" not in client.get("/static/pages.css").headers


def test_a_fault_of_ours_has_the_headers_too(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxgauge.dashboards.access import audit_page

    client = site.signed_in("boss", "admin")
    monkeypatch.setattr(audit_page, "read_audit", lambda *_: 1 / 0)
    answer = client.get("/audit")
    assert (answer.status_code, answer.headers["x-frame-options"]) == (500, "DENY")
    assert "ZeroDivisionError" not in answer.text


def test_a_database_that_is_away_lets_nobody_in(site: Site) -> None:
    client = site.signed_in("boss", "admin")
    with site.store.connection() as connection:
        connection.execute("ALTER TABLE sessions RENAME TO away")
        try:
            assert client.get("/").status_code == 503
        finally:
            connection.execute("ALTER TABLE away RENAME TO sessions")
    assert client.get("/").status_code == 200


def test_pages_are_served_by_https(tmp_path: Path) -> None:
    import ssl

    from starlette.applications import Starlette

    from cxgauge.dashboards.server import HttpServer
    from cxgauge.metrics.configuration.receiver import TlsConfig

    pem = Path(__file__).resolve().parents[2] / "alerts" / "notifiers" / "localhost.pem"
    server = HttpServer(Starlette(), "127.0.0.1", 0, TlsConfig(certificate=pem, private_key=pem))
    server.start()
    try:
        assert server.url.startswith("https://")
        context = ssl._create_unverified_context()
        with httpx.Client(verify=context, trust_env=False) as client:
            assert client.get(server.url).status_code == 404
    finally:
        server.stop()
    missing = tmp_path / "missing.pem"
    with pytest.raises(ValueError) as caught:
        HttpServer(Starlette(), "127.0.0.1", 0, TlsConfig(certificate=missing, private_key=missing))
    assert str(caught.value) == (
        "http.tls cannot be used: [Errno 2] No such file or directory; check certificate and private_key"
    )
