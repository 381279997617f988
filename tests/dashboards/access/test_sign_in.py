"""Signing in by name and password: what lets nobody in, what ends a session, what a guesser learns."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal

import httpx2 as httpx
import pytest
from argon2 import PasswordHasher

from cxgauge.dashboards.access.passwords import Passwords, password_fault
from cxgauge.dashboards.access.sign_in import SignIn
from cxgauge.dashboards.access.target import safe_target
from cxgauge.dashboards.access.words import fault_words
from cxgauge.dashboards.wording import Wording
from cxgauge.metrics.store.accounts import Account, end_sessions, read_account, set_access, set_disabled
from cxgauge.metrics.store.scope import EVERYTHING

from .conftest import PASSWORD, SIGN_IN, Site, sign_in, token_of

HOUR = 3_600.0


def _fault(page: str) -> str:
    return re.findall(r'role="alert">([^<]+)<', page)[0]


def _is_in(client: httpx.Client) -> bool:
    return client.get("/account").status_code == 200


def test_a_visitor_is_asked_to_sign_in_and_comes_back_to_the_page(site: Site) -> None:
    site.account("li.wei")
    client = site.visitor()
    answer = client.get("/flows/bill_inquiry?span=7d")
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        "/sign-in?next=%2Fflows%2Fbill_inquiry%3Fspan%3D7d",
    )
    assert 'name="next" value="/flows/bill_inquiry?span=7d"' in client.get(answer.headers["location"]).text
    answer = sign_in(client, "li.wei", next="/flows/bill_inquiry?span=7d")
    assert (answer.status_code, answer.headers["location"]) == (303, "/flows/bill_inquiry?span=7d")
    page = client.get("/flows/bill_inquiry?span=7d").text
    assert "li.wei</a>" in page
    assert "Open to whoever uses this machine" not in page
    assert site.audited()[-1] == ("li.wei", "sign-in", "li.wei", "127.0.0.1")


def test_programs_get_a_line_and_no_redirect(site: Site) -> None:
    answer = site.visitor(accept="*/*").get("/flows/bill_inquiry/report.csv")
    assert (answer.status_code, answer.text) == (401, "sign in first: /sign-in\n")


def test_a_wrong_try_says_the_same_whoever_it_is(site: Site) -> None:
    site.account("li.wei")
    site.account("disabled")
    with site.store.connection() as connection:
        account = read_account(connection, "disabled")
        assert account is not None
        set_disabled(connection, account.id, site.now)
    for name in ("li.wei", "nobody", "disabled", "x" * 300, "li.wei\0", "' OR 1=1 --", ""):
        client = site.visitor()
        answer = sign_in(client, name, PASSWORD if name == "disabled" else "wrong")
        assert (answer.status_code, _fault(answer.text)) == (403, "Name or password is wrong.")
        assert not _is_in(client)
        known = name.rstrip("\0") if name.startswith(("li.wei", "disabled")) else ""
        assert site.audited()[-1] == ("", "sign-in failed", known, "127.0.0.1")


def test_what_was_typed_for_a_name_is_not_kept(site: Site) -> None:
    sign_in(site.visitor(), "my-secret-password", "x")
    with site.store.connection() as connection:
        rows = connection.execute("SELECT actor || subject || details::text FROM audit").fetchall()
    assert rows
    assert "my-secret" not in str(rows)


class _Counting(PasswordHasher):
    """Counts what takes time."""

    verified = 0

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 - the library's name
        type(self).verified += 1
        return super().verify(hash, password)


def test_an_unknown_name_takes_as_much_work_as_a_wrong_password() -> None:
    passwords = Passwords(_Counting(time_cost=1, memory_cost=64, parallelism=1))
    assert not passwords.verify(passwords.hash(PASSWORD), "wrong")
    assert _Counting.verified == 1
    assert not passwords.verify(None, "wrong")
    assert not passwords.verify(None, "the password of an account that does not exist")
    assert _Counting.verified == 3


def test_guessing_waits_ever_longer_and_the_owner_elsewhere_does_not(site: Site) -> None:
    site.configure(SIGN_IN + "http: {trusted_proxies: [127.0.0.1]}")
    site.account("li.wei")
    guesser = site.visitor(**{"x-forwarded-for": "203.0.113.7"})
    assert [sign_in(guesser, "li.wei", f"guess {number}").status_code for number in range(6)] == [403] * 5 + [429]
    answer = sign_in(guesser, "li.wei")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert _fault(answer.text) == "Too many failed tries. Try again in 1 s."
    owner = site.visitor(**{"x-forwarded-for": "198.51.100.2"})
    assert sign_in(owner, "li.wei").status_code == 303
    waits = []
    for _ in range(12):
        site.now += float(sign_in(guesser, "li.wei", "x").headers.get("retry-after", 0)) + 0.5
        sign_in(guesser, "li.wei", "guess")
        waits.append(float(sign_in(guesser, "li.wei", "x").headers["retry-after"]))
    assert waits == sorted(waits)
    assert waits[-1] == 900
    site.now += 901
    assert sign_in(guesser, "li.wei").status_code == 303
    guesser = site.visitor(**{"x-forwarded-for": "203.0.113.7"})
    assert sign_in(guesser, "li.wei", "mistyped").status_code == 403


def test_the_session_is_a_new_one_after_sign_in(site: Site) -> None:
    site.account("li.wei")
    client = site.visitor()
    planted = "A" * 43
    client.cookies.set("cxgauge_session", planted)
    sign_in(client, "li.wei")
    sessions = [cookie.value for cookie in client.cookies.jar if cookie.name == "cxgauge_session"]
    assert any(value != planted for value in sessions)
    fresh = site.visitor()
    fresh.cookies.set("cxgauge_session", planted)
    assert not _is_in(fresh)


def test_signing_in_again_ends_the_session_before(site: Site) -> None:
    client = site.signed_in("li.wei")
    before = client.cookies["cxgauge_session"]
    token = token_of(client.get("/account").text)
    client.post("/sign-in", data={"token": token, "name": "li.wei", "password": PASSWORD})
    stolen = site.visitor()
    stolen.cookies.set("cxgauge_session", before)
    assert _is_in(client)
    assert not _is_in(stolen)


def test_only_a_hash_of_the_session_is_kept(site: Site) -> None:
    client = site.signed_in("li.wei")
    with site.store.connection() as connection:
        rows = connection.execute("SELECT encode(session_hash, 'escape') || s::text FROM sessions AS s").fetchall()
    assert len(rows) == 1
    assert client.cookies["cxgauge_session"] not in str(rows)


def test_signing_out_ends_the_session_for_good(site: Site) -> None:
    client = site.signed_in("li.wei")
    copy = site.visitor()
    copy.cookies.set("cxgauge_session", client.cookies["cxgauge_session"])
    assert _is_in(copy)
    answer = client.post("/sign-out", data={"token": token_of(client.get("/account").text)})
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert not _is_in(client)
    assert not _is_in(copy)
    assert site.audited()[-1][1] == "sign-out"


def test_a_session_ends_when_idle_and_after_its_limit(site: Site) -> None:
    site.configure("sign_in: {accounts: true, idle_limit: 1h, session_limit: 3h}")
    client = site.signed_in("li.wei")
    for _ in range(3):
        site.now += 0.9 * HOUR
        assert _is_in(client)
    site.now += 0.9 * HOUR  # never idle for an hour, and past three hours
    assert not _is_in(client)
    sign_in(client, "li.wei")
    site.now += HOUR
    assert not _is_in(client)


def test_what_a_page_asks_by_itself_does_not_keep_a_session_alive(site: Site) -> None:
    client = site.signed_in("li.wei")
    for _ in range(2):
        site.now += 0.6 * HOUR
        client.get("/", headers={"sec-fetch-mode": "cors"})
    assert not _is_in(client)


def test_disabling_an_account_and_changing_its_role_count_at_the_next_request(site: Site) -> None:
    client = site.signed_in("li.wei", "admin")
    assert client.get("/audit").status_code == 200
    with site.store.connection() as connection:
        account = read_account(connection, "li.wei")
        assert account is not None
        set_access(connection, account.id, "viewer", EVERYTHING)
        assert client.get("/audit").status_code == 403
        set_disabled(connection, account.id, site.now)
    assert not _is_in(client)


def test_changing_the_password_ends_the_other_sessions(site: Site) -> None:
    client = site.signed_in("li.wei")
    other = site.visitor()
    sign_in(other, "li.wei")
    form = {"token": token_of(client.get("/account").text), "current_password": PASSWORD}

    def change(new: str, repeated: str | None = None, **changed: str) -> httpx.Response:
        data = {**form, "new_password": new, "repeated_password": new if repeated is None else repeated, **changed}
        return client.post("/account/password", data=data)

    assert _fault(change("another horse", "another house").text) == "The new passwords differ."
    assert _fault(change("another horse", current_password="x").text) == "The current password is wrong."
    assert _fault(change("short").text) == "The password has 5 characters; choose one of at least 12."
    assert _is_in(other)
    done = change("another horse here")
    assert (done.status_code, "The password is changed." in done.text) == (200, True)
    assert _is_in(client)
    assert not _is_in(other)
    assert sign_in(other, "li.wei").status_code == 403
    assert sign_in(other, "li.wei", "another horse here").status_code == 303
    assert [action for _, action, _, _ in site.audited()][-4:] == [
        "password change failed", "password changed", "sign-in failed", "sign-in",
    ]  # fmt: skip


def test_too_many_sessions_of_an_account_end_the_oldest(site: Site) -> None:
    clients = [site.signed_in("li.wei")]
    for _ in range(20):
        site.now += 1
        clients.append(site.visitor())
        sign_in(clients[-1], "li.wei")
    assert [_is_in(client) for client in clients] == [False] + [True] * 20
    with site.store.connection() as connection:
        account = read_account(connection, "li.wei")
        assert account is not None
        assert end_sessions(connection, account.id) == 20


def test_without_accounts_the_form_says_how_to_make_one(site: Site) -> None:
    assert "cxgauge user add NAME --role admin" in site.visitor().get("/sign-in").text
    assert "尚无账号" in site.visitor().get("/sign-in?lang=zh").text
    site.account("li.wei")
    assert "cxgauge user add NAME" not in site.visitor().get("/sign-in").text


def test_cookies_are_for_this_site_only(site: Site) -> None:
    site.account("li.wei")
    plain = sign_in(site.visitor(), "li.wei").headers.get_list("set-cookie")
    session = next(cookie for cookie in plain if cookie.startswith("cxgauge_session="))
    assert re.fullmatch(r"cxgauge_session=[\w-]{43}; HttpOnly; Path=/; SameSite=lax", session)

    site.configure(SIGN_IN + "http: {public_url: 'https://cxgauge.bank.example'}")
    client = site.visitor(origin="https://cxgauge.bank.example")
    page = client.get("/sign-in")
    form = next(cookie for cookie in page.headers.get_list("set-cookie"))
    assert re.fullmatch(r"__Host-cxgauge_form=[\w-]{43}; HttpOnly; Path=/; SameSite=lax; Secure", form)
    assert page.headers["strict-transport-security"] == "max-age=31536000"
    given = re.findall("__Host-cxgauge_form=([^;]+)", form)[0]
    answer = client.post(
        "/sign-in",
        data={"token": token_of(page.text), "name": "li.wei", "password": PASSWORD},
        headers={"cookie": f"__Host-cxgauge_form={given}"},
    )
    secure = next(cookie for cookie in answer.headers.get_list("set-cookie") if "session" in cookie)
    assert re.fullmatch(r"__Host-cxgauge_session=[\w-]{43}; HttpOnly; Path=/; SameSite=lax; Secure", secure)


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)",
        "/\t/evil.example", "/\n/evil.example", "/ok\r\nset-cookie: a=b", "", "evil.example", "/" + "a" * 2_000,
        "///evil.example", "/sign-out", "/sign-in/openid", "/流程", "http:/evil.example", "/%0d%0a/../\\x",
    ],
)  # fmt: skip
def test_after_signing_in_nobody_is_sent_elsewhere(wanted: str) -> None:
    assert safe_target(wanted) == "/"


@pytest.mark.parametrize("wanted", ["/", "/flows/bill_inquiry?span=7d&compare=week", "/alerts/0123456789ab#history"])
def test_after_signing_in_people_come_to_where_they_wanted(wanted: str) -> None:
    assert safe_target(wanted) == wanted


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("x" * 11, "The password has 11 characters; choose one of at least 12."),
        ("x" * 257, "The password has more than 256 characters; choose a shorter one."),
        ("abcabcabcabcabc", "The password has 3 different characters; choose one of at least 5."),
        ("my Li.Wei password", "The password contains the name; choose another."),
    ],
)
def test_what_cannot_be_a_password(password: str, words: str, english: Wording, chinese: Wording) -> None:
    fault = password_fault(password, "li.wei", 12)
    assert fault is not None
    assert fault_words(fault, english) == words
    assert fault_words(fault, chinese) != words
    assert fault_words(replace(fault, count=fault.count), english) == words


def test_passwords_are_kept_as_argon2id_and_grow_with_the_parameters(site: Site) -> None:
    strong = Passwords()
    with site.store.connection() as connection:
        site.account("li.wei")
        sign_in_ = SignIn(site.store, lambda: site.config, lambda: site.now, strong)
        assert isinstance(sign_in_.by_password("li.wei", PASSWORD, "127.0.0.1"), Account)
        account = read_account(connection, "li.wei")
        assert account is not None
        assert (account.password or "").startswith("$argon2id$v=19$m=65536,t=3,p=4$")
        assert strong.verify(account.password, PASSWORD)
        assert not strong.is_outdated(account.password or "")
