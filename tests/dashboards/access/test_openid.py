"""Sign-in at an OpenID provider: the way there and back, and every way in which it must be refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2 as httpx
import pytest
from joserfc.jwk import OctKey, RSAKey

from cxgauge.dashboards.access.openid import OpenIdError
from cxgauge.dashboards.access.seal import Seal
from cxgauge.metrics.store.accounts import read_account, set_disabled

from .conftest import Site
from .openid_provider import CLIENT, SECRET, Provider

GRANTS = """
    - {value: cx-admins, role: admin}
    - {value: cards, role: analyst, flows: [bill_inquiry]}
    - {value: north, role: viewer, dimensions: {channel: [app]}}
"""
AGAIN = "This sign-in was not begun in this browser, or too long ago. Begin again."
TWICE = "This sign-in has been used already. Begin again."
INVALID = "What the provider says is not valid. Tell the administrators; the audit says why."
NO_ROLE = "The provider knows you, but none of your groups gives a role here. Ask the administrators."
AWAY = "The provider does not answer as it should. Try again, or tell the administrators."
DISABLED = "Your account is disabled here. Ask the administrators."


@pytest.fixture
def provider(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    """The site signs people in at this provider."""
    monkeypatch.setenv("CLIENT_SECRET", SECRET)
    found = Provider(lambda: site.now)
    found.person["groups"] = ["everybody", "cards"]
    configure(site, found)
    yield found
    found.server.stop()


def configure(site: Site, provider: Provider, **changed: str) -> None:
    keys = {"issuer": provider.issuer, "client_id": CLIENT, "client_secret": "env:CLIENT_SECRET"} | changed
    text = "".join(f"    {name}: '{value}'\n" for name, value in keys.items())
    site.configure(f"http: {{public_url: '{site.url.rstrip('/')}'}}\nsign_in:\n  openid:\n{text}    grants: {GRANTS}")


def _begin(client: httpx.Client, target: str = "/alerts") -> str:
    """Where the provider sends the browser back to."""
    there = client.get(f"/sign-in/openid?next={target}")
    assert there.status_code == 303, there.text
    with httpx.Client(trust_env=False) as elsewhere:  # the provider gets none of our cookies
        return str(elsewhere.get(there.headers["location"]).headers["location"])


def _fault(answer: httpx.Response) -> str:
    assert answer.status_code == 403, answer.headers
    assert not any("session" in cookie for cookie in answer.headers.get_list("set-cookie"))
    return re.findall(r'role="alert">([^<]+)<', answer.text)[0]


def _reason(site: Site) -> str:
    with site.store.connection() as connection:
        row = connection.execute(
            "SELECT action, details ->> 'reason' FROM audit ORDER BY audit_id DESC LIMIT 1"
        ).fetchone()
    assert row is not None
    assert row[0] == "sign-in failed"
    return str(row[1])


def test_there_and_back(site: Site, provider: Provider) -> None:
    client = site.visitor()
    assert "Sign in with the company&#39;s account" in client.get("/sign-in?next=/alerts").text
    answer = client.get(_begin(client))
    assert (answer.status_code, answer.headers["location"]) == (303, "/alerts")
    assert client.get("/alerts").status_code == 200
    account = client.get("/account").text
    assert "li.wei" in account
    assert "analyst" in account
    assert "bill_inquiry" in account
    assert "Current password" not in account
    assert client.get("/audit").status_code == 403
    assert [row[:3] for row in site.audited()] == [
        ("li.wei", "account added", "li.wei"), ("li.wei", "sign-in", "li.wei"),
    ]  # fmt: skip
    assert provider.used_secrets == ["basic"]


def test_the_first_grant_counts_and_a_changed_group_at_the_next_sign_in(site: Site, provider: Provider) -> None:
    client = site.visitor()
    client.get(_begin(client))
    provider.person["groups"] = ["north", "cx-admins"]
    assert client.get("/audit").status_code == 403
    client.get(_begin(client))
    assert client.get("/audit").status_code == 200
    provider.person["groups"] = "north"  # a claim of one value
    client.get(_begin(client))
    assert "channel=app" in client.get("/account").text
    assert [row[1] for row in site.audited()].count("access changed") == 2


def test_a_claim_may_be_nested_or_come_from_userinfo(site: Site, provider: Provider) -> None:
    configure(site, provider, claim="realm_access.roles")
    client = site.visitor()
    assert _fault(client.get(_begin(client))) == NO_ROLE
    provider.person["realm_access"] = {"roles": ["cards"]}
    assert client.get(_begin(client)).status_code == 303
    del provider.person["realm_access"]
    provider.userinfo = {"realm_access": {"roles": ["cards"]}}
    assert site.visitor().get("/").status_code == 303
    other = site.visitor()
    assert other.get(_begin(other)).status_code == 303
    provider.userinfo["sub"] = "somebody else"
    assert _fault(other.get(_begin(other))) == INVALID
    assert _reason(site) == "userinfo speaks of somebody else"


def test_two_people_of_one_name_stay_two(site: Site, provider: Provider) -> None:
    site.account("li.wei", "admin")  # signs in by password here
    client = site.visitor()
    client.get(_begin(client))
    page = client.get("/account").text
    name = re.findall(r"<dd>(li\.wei-[0-9a-f]{12})</dd>", page)[0]
    assert client.get("/audit").status_code == 403
    client.get(_begin(client))
    assert name in client.get("/account").text


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"key": RSAKey.generate_key(2048, {"kid": "one"})}, INVALID, "bad_signature"),
    ({"key": RSAKey.generate_key(2048, {"kid": "other"})}, INVALID, ""),
    ({"key": OctKey.import_key("0" * 32), "header": {"alg": "HS256"}}, INVALID, ""),
    ({"key": OctKey.import_key("0" * 32), "header": {"alg": "none"}}, INVALID, ""),
    ({"claims": {"aud": "another"}}, INVALID, "'aud'"),
    ({"claims": {"aud": [CLIENT, "another"]}}, INVALID, "'azp'"),
    ({"claims": {"aud": [CLIENT, "another"], "azp": "another"}}, INVALID, "'azp'"),
    ({"claims": {"iss": "https://evil.example"}}, INVALID, "'iss'"),
    ({"claims": {"exp": 1_773_000_000}}, INVALID, "expired"),
    ({"claims": {"exp": None}}, INVALID, "'exp'"),
    ({"claims": {"nonce": "of another attempt"}}, INVALID, "'nonce'"),
    ({"claims": {"nonce": None}}, INVALID, "'nonce'"),
    ({"claims": {"iat": 4_000_000_000}}, INVALID, "issued in the future"),
    ({"claims": {"sub": None}}, INVALID, "'sub'"),
    ({"claims": {"sub": ""}}, INVALID, "sub"),
    ({"claims": {"at_hash": "AAAA"}}, INVALID, "'at_hash'"),
    ({"claims": {"groups": ["everybody"]}}, NO_ROLE, "groups has no value that gives a role"),
    ({"claims": {"groups": None}}, NO_ROLE, "groups has no value that gives a role"),
    ({"answer": {"state": "of another browser"}}, AGAIN, "the state is not this browser's"),
    ({"answer": {"state": None}}, AGAIN, "the state is not this browser's"),
    ({"answer": {"error": "access_denied", "code": None}}, AWAY, "the provider refused: 'access_denied'"),
    ({"answer": {"code": "guessed"}}, AWAY, "the provider refused the code: invalid_grant:"),
    ({"answer": {"code": None}}, AWAY, "the provider sent no code"),
    ({"answer": {"iss": "https://evil.example"}}, INVALID, "(iss)"),
    ({"metadata": {"authorization_response_iss_parameter_supported": True}}, INVALID, "(iss)"),
]


def test_what_is_not_right_lets_nobody_in(site: Site, provider: Provider) -> None:
    usual = {name: getattr(provider, name) for change, _, _ in WRONG for name in change}
    for change, said, reason in WRONG:
        site.now += 3_601  # metadata and keys are read anew
        for name, value in (usual | change).items():
            setattr(provider, name, value)
        client = site.visitor()
        assert _fault(client.get(_begin(client))) == said, change
        assert reason in _reason(site), change
        assert client.get("/account").headers["location"].startswith("/sign-in")
    for name, value in usual.items():
        setattr(provider, name, value)
    site.now += 3_601
    assert client.get(_begin(client)).status_code == 303, "the provider was wrong for another reason"


def test_the_pages_say_it_in_chinese(site: Site, provider: Provider) -> None:
    provider.claims = {"groups": []}
    client = site.visitor()
    client.get("/sign-in?lang=zh")
    assert _fault(client.get(_begin(client))) == "身份提供方认识您，但您所在的组在此没有角色，请联系管理员。"


def test_an_answer_counts_once_in_its_browser_and_for_some_minutes(site: Site, provider: Provider) -> None:
    client, thief = site.visitor(), site.visitor()
    back = _begin(client)
    assert _fault(thief.get(back)) == AGAIN
    cookie = client.cookies["cxgauge_openid"]
    assert client.get(back).status_code == 303
    client.cookies.clear()
    client.cookies.set("cxgauge_openid", cookie)
    assert _fault(client.get(back)) == TWICE
    late = site.visitor()
    back = _begin(late)
    site.now += 601
    assert _fault(late.get(back)) == AGAIN


def test_a_cookie_that_was_not_sealed_here_is_worth_nothing(site: Site, provider: Provider) -> None:
    client = site.visitor()
    back = _begin(client)
    sealed = client.cookies["cxgauge_openid"]
    state = parse_qs(urlsplit(back).query)["state"][0]
    attempt = Seal().open(sealed)
    assert attempt is None
    for forged in ("", "x", sealed[:-1], f"{sealed}0", "e30.0", sealed.replace(".", "", 1)):
        forger = site.visitor()
        forger.cookies.set("cxgauge_openid", forged)
        assert _fault(forger.get(f"/sign-in/openid/callback?code=x&state={state}")) == AGAIN


def test_a_disabled_account_stays_out(site: Site, provider: Provider) -> None:
    client = site.visitor()
    client.get(_begin(client))
    with site.store.connection() as connection:
        account = read_account(connection, "li.wei")
        assert account is not None
        set_disabled(connection, account.id, site.now)
    assert client.get("/account").status_code == 303
    assert _fault(client.get(_begin(client))) == DISABLED
    assert _reason(site) == "the account is disabled here"


def test_new_keys_of_the_provider_are_fetched_but_not_without_end(site: Site, provider: Provider) -> None:
    client = site.visitor()
    assert client.get(_begin(client)).status_code == 303
    provider.published = RSAKey.generate_key(2048, {"kid": "two", "use": "sig"})
    assert _fault(client.get(_begin(client))) == INVALID  # keys were read a moment ago
    site.now += 31
    assert client.get(_begin(client)).status_code == 303


def test_a_provider_that_describes_itself_wrongly_is_not_used(site: Site, provider: Provider) -> None:
    unusable = "names no authorization_endpoint that can be used"
    for metadata, reason in (
        ({"issuer": "https://evil.example"}, "calls itself 'https://evil.example'; write that"),
        ({"authorization_endpoint": "javascript:alert(1)"}, unusable),
        ({"authorization_endpoint": None}, unusable),
    ):
        site.now += 3_601
        provider.metadata = dict(metadata)
        assert _fault(site.visitor().get("/sign-in/openid")) == AWAY
        assert reason in _reason(site)


def test_a_provider_that_is_away_is_said_to_be(site: Site, provider: Provider) -> None:
    provider.status = 500
    assert _fault(site.visitor().get("/sign-in/openid")) == AWAY
    provider.server.stop()
    assert _fault(site.visitor().get("/sign-in/openid")) == AWAY
    assert "the provider does not answer: ConnectError" in _reason(site)
    site.configure("sign_in: {accounts: true}")
    assert _fault(site.visitor().get("/sign-in/openid")) == AWAY


def test_the_secret_is_sent_as_the_provider_wants_it(
    site: Site, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    client = site.visitor()
    assert client.get(_begin(client)).status_code == 303
    assert provider.used_secrets == ["post"]
    monkeypatch.setenv("CLIENT_SECRET", "wrong")
    assert _fault(client.get(_begin(client))) == AWAY
    assert "invalid_client" in _reason(site)
    assert "wrong" not in _reason(site)


def test_where_to_go_afterwards_is_of_this_site(site: Site, provider: Provider) -> None:
    client = site.visitor()
    assert client.get(_begin(client, "//evil.example/")).headers["location"] == "/"


def test_an_error_keeps_its_kind() -> None:
    error = OpenIdError("role", "text")
    assert (error.refusal, str(error)) == ("role", "text")
