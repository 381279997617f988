"""Sign-in in a real browser: roles, the way to a provider that is not ours and back, and no complaint of the policy."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cxgauge.metrics.store.scope import DataScope

from .conftest import PASSWORD, SIGN_IN, Site

ALERT = "alerts/0123456789ab"
PAGES = (
    "", "flows/bill_inquiry", "flows/bill_inquiry/way", "flows/bill_inquiry/steps/bill_total", "alerts", ALERT,
    "search?q=bill", "data", "reports", "audit", "accounts", "account", "nowhere", "improvements",
    "improvements/new?flow=bill_inquiry", "silences",
)  # fmt: skip


def _sign_in(page: Any, site: Site, name: str) -> None:
    page.goto(site.url)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Sign out").wait_for()


def _new_page(chromium: Any) -> tuple[Any, list[str]]:
    """A page of a browser of its own, and what its console and its policy complain of."""
    page = chromium.new_context().new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(f"{message.text} ({message.location['url']})"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.add_init_script(
        "document.addEventListener('securitypolicyviolation', "
        "event => console.log(`${event.violatedDirective} ${event.blockedURI}`))"
    )
    return page, complaints


def test_a_viewer_looks_and_an_engineer_acts(chromium: Any, site: Site) -> None:
    site.account("wang.fang", "viewer")
    site.account("li.wei", "engineer")
    viewer, complaints = _new_page(chromium)
    _sign_in(viewer, site, "wang.fang")
    viewer.goto(site.url + ALERT)
    assert viewer.get_by_role("button", name="Acknowledge").count() == 0
    token = viewer.locator('form[action="/sign-out"] input[name=token]').get_attribute("value")
    status = viewer.evaluate(
        """async ([path, token]) => (await fetch(path, {method: "POST", redirect: "manual",
            body: new URLSearchParams({token, action: "acknowledge", note: "x"})})).status""",
        [f"/{ALERT}/actions", token],
    )
    assert status == 403
    assert [text for text in complaints if "403" not in text] == []  # the browser notes the refusal itself

    engineer, complaints = _new_page(chromium)
    _sign_in(engineer, site, "li.wei")
    engineer.goto(site.url + ALERT)
    assert engineer.get_by_label("Your name").count() == 0
    engineer.get_by_label("Note").fill("looking")
    engineer.get_by_role("button", name="Acknowledge").click()
    engineer.get_by_text("acknowledged by li.wei").first.wait_for()
    engineer.get_by_role("button", name="Sign out").click()
    engineer.get_by_role("heading", name="Sign in").wait_for()
    engineer.go_back()
    engineer.reload()
    assert "/sign-in" in engineer.url
    assert complaints == []
    assert [row[:2] for row in site.audited()][-2:] == [("li.wei", "acknowledge"), ("li.wei", "sign-out")]


def test_the_policy_has_nothing_to_complain_of_on_any_page(chromium: Any, site: Site) -> None:
    site.account("boss", "admin")
    page, complaints = _new_page(chromium)
    _sign_in(page, site, "boss")
    for language in ("en", "zh"):
        for path in PAGES:
            page.goto(f"{site.url}{path}{'&' if '?' in path else '?'}lang={language}")
            page.wait_for_load_state("networkidle")
            assert [text for text in complaints if "404" not in text] == [], path
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title = 1\">')")
    page.wait_for_timeout(200)
    assert any("script-src" in text for text in complaints), "the test would not have noticed"


@pytest.mark.parametrize("width", [360, 1280])
def test_pages_of_sign_in_fit_their_window(chromium: Any, site: Site, width: int) -> None:
    site.account("boss", "admin", DataScope.of(["bill_inquiry"]))
    page = chromium.new_context(viewport={"width": width, "height": 800}).new_page()
    page.goto(site.url)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    _sign_in(page, site, "boss")
    for path in ("", "audit", "accounts", "account"):
        page.goto(site.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


@pytest.fixture
def foreign_provider(tmp_path: Path) -> Iterator[str]:
    """oidc-provider-mock, a provider made by others, in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    person = json.dumps({"sub": "li.wei", "preferred_username": "li.wei", "groups": ["cards"]})
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), "--user-claims", person]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://localhost:{port}/.well-known/openid-configuration", timeout=5):
                    break
            except OSError:
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()[-2000:]
                time.sleep(0.1)
        yield f"http://localhost:{port}"
    finally:
        process.terminate()
        process.wait(10)


def test_the_way_to_a_provider_and_back(
    chromium: Any, site: Site, foreign_provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIENT_SECRET", "any")
    site.now = time.time()  # the provider dates its tokens itself
    site.configure(
        SIGN_IN.replace("accounts: true", f"openid: {{issuer: '{foreign_provider}', client_id: cxgauge, "
        "client_secret: env:CLIENT_SECRET, title: {en: Bank account, zh: 行内账号}, "
        "grants: [{value: cards, role: analyst, flows: [bill_inquiry]}]}")
        + f"http: {{public_url: '{site.url.rstrip('/')}'}}"
    )  # fmt: skip
    page, complaints = _new_page(chromium)
    page.goto(f"{site.url}flows/bill_inquiry?lang=zh")
    page.get_by_role("link", name="行内账号").click()
    page.wait_for_url(re.compile(re.escape(foreign_provider)))
    page.get_by_role("button", name=re.compile("li.wei", re.I)).first.click()
    page.wait_for_url(f"{site.url}flows/bill_inquiry**")
    assert page.locator(".who a").last.inner_text() == "li.wei"
    assert [text for text in complaints if site.url in text] == []  # the provider's own page may have its own
    page.goto(f"{site.url}account?lang=en")
    assert "analyst" in page.inner_text("main")
    assert "bill_inquiry" in page.inner_text("main")
