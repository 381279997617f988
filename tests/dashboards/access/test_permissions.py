"""Every route, every role: nothing is reachable that the table does not allow, and no route is without an entry."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Mount, Route

from cxgauge.dashboards.access.permissions import ACTIONS, ROLES, ROUTES, Permission, Role, Rule
from cxgauge.dashboards.http import HttpParts, application
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.store.store import Store

from .conftest import Site, token_of

ROOT = Path(__file__).resolve().parents[3]
VALUES = {
    "flow": "bill_inquiry",
    "step": "bill_total",
    "alert": "0123456789ab",
    "format": "json",
    "run": "aaaaaaaaaaaa",
    "improvement": "aaaaaaaa",
    "service": "aaaaaaaa",
    "silence": "aaaaaaaaaaaa",
    "incident": "aaaaaaaaaaaa",
}


def _routes(store: Store) -> list[tuple[str, str]]:
    """All routes of the application, found by walking it."""
    config: Any = Config.parse("{}")
    found = []
    for route in application(HttpParts(store, lambda: config, dict)).routes:
        assert isinstance(route, (Route, Mount)), route
        methods = (route.methods or set()) - {"HEAD"} if isinstance(route, Route) else {"GET"}
        assert methods, f"{route.path} takes any method"
        found += [(method, route.path) for method in sorted(methods)]
    return found


def test_the_table_has_every_route_there_is_and_no_other(site: Site) -> None:
    assert sorted(_routes(site.store)) == sorted(ROUTES)


def _allowed(role: Role | None, rule: Permission | Rule) -> bool:
    if rule in (Rule.PUBLIC, Rule.MACHINE):  # the test asks from this machine
        return True
    return role is not None and (rule is Rule.SIGNED_IN or rule in ROLES[role])


@pytest.mark.parametrize("role", [None, *Role], ids=str)
def test_a_role_reaches_what_the_table_allows_and_nothing_else(site: Site, role: Role | None) -> None:
    client = site.visitor() if role is None else site.signed_in("someone", role)
    token = "" if role is None else token_of(client.get("/account").text)
    for method, path in sorted(ROUTES, key=lambda key: key[1] == "/sign-out"):  # which ends the session: last
        if path.startswith("/sign-in"):
            continue  # open to everybody, and refuses by its own rules
        data = {"token": token, "action": "comment", "note": "x"} if method == "POST" else None
        answer = client.request(method, _filled(path), data=data)
        sent_away = answer.headers.get("location", "").startswith("/sign-in") and path != "/sign-out"
        refused = answer.status_code in (401, 403) or sent_away
        assert refused != _allowed(role, ROUTES[method, path]), (method, path, answer.status_code)


def _filled(path: str) -> str:
    for name, value in VALUES.items():
        path = path.replace(f"{{{name}}}", value)
    assert "{" not in path, f"give the test a value for {path}"
    return "/static/pages.css" if path == "/static" else path


@pytest.mark.parametrize("role", Role)
def test_each_action_asks_for_its_own_permission(site: Site, role: Role) -> None:
    client = site.signed_in("someone", role)
    page = client.get("/alerts/0123456789ab").text
    token = token_of(client.get("/account").text)
    for action, permission in ACTIONS.items():
        allowed = permission in ROLES[role]
        assert (f'name="action" value="{action}"' in page) == allowed, action
        answer = client.post(
            "/alerts/0123456789ab/actions", data={"token": token, "action": action, "note": "n", "to": "cards"}
        )
        assert answer.status_code == (303 if allowed else 403), action
    done = [action for _, action, _, _ in site.audited() if action in ACTIONS]
    assert done == [action for action, permission in ACTIONS.items() if permission in ROLES[role]]


def test_who_has_signed_in_acts_under_that_name_whatever_the_form_says(site: Site) -> None:
    client = site.signed_in("li.wei", "engineer")
    token = token_of(client.get("/account").text)
    client.post("/alerts/0123456789ab/actions", data={"token": token, "action": "acknowledge", "by": "somebody else"})
    assert site.audited()[-1] == ("li.wei", "acknowledge", "0123456789ab", "127.0.0.1")


def test_a_route_without_an_entry_is_refused_to_administrators(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    client = site.signed_in("boss", "admin")
    assert client.get("/alerts").status_code == 200
    monkeypatch.delitem(ROUTES, ("GET", "/alerts"))
    assert client.get("/alerts").status_code == 403


def test_each_role_may_what_the_one_before_may() -> None:
    allowed = [ROLES[role] for role in Role]
    assert all(less < more for less, more in pairwise(allowed))
    assert allowed[-1] == set(Permission)


@pytest.mark.parametrize("guide", ["sign-in.md", "sign-in.zh.md"])
def test_the_guide_shows_the_table(guide: str) -> None:
    text = (ROOT / "docs" / "how-to" / guide).read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", text, re.M))
    for permission in Permission:
        marks = [cell.strip() for cell in rows[permission].split("|")[1:]]
        assert marks == ["✓" if permission in ROLES[role] else "" for role in Role], permission
