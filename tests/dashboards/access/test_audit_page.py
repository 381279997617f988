"""The pages of administrators: the audit with its filters, in pages and as CSV, and the list of accounts."""

from __future__ import annotations

import csv
import io
import re
import time
from html import unescape

import httpx2 as httpx

from cxgauge.metrics.store.audit import audit
from cxgauge.metrics.store.scope import DataScope

from .conftest import Site, token_of


def _text(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return unescape(" ".join(re.sub(r"<[^>]+>", " ", answer.text).split()))


def _crowd(site: Site, count: int) -> None:
    """Deeds one after the other within the site's last hours."""
    with site.store.connection() as connection:
        for number in range(count):
            audit(
                connection, f"person{number % 3}", "comment", f"alert{number}", {"note": f"note {number}"}, "10.1.2.3"
            )
        connection.execute("ALTER TABLE audit DISABLE TRIGGER audit_only_grows")
        connection.execute("UPDATE audit SET at = to_timestamp(%s) + audit_id * interval '1 s'", (site.now - 3_600,))
        connection.execute("ALTER TABLE audit ENABLE TRIGGER audit_only_grows")


def test_the_audit_says_who_did_what_when_and_from_where(site: Site) -> None:
    client = site.signed_in("boss", "admin")
    _crowd(site, 3)
    assert "person2 alert commented alert2 note: note 2 10.1.2.3" in _text(client.get("/audit"))
    assert "person2 评论告警 alert2 note: note 2 10.1.2.3" in _text(client.get("/audit?lang=zh"))
    assert client.get("/audit?lang=zh").text.count("<tr") == 5
    assert "此处" not in _text(client.get("/audit?lang=en"))


def test_filters_narrow_and_pages_reach_the_oldest(site: Site) -> None:
    client = site.signed_in("boss", "admin")
    _crowd(site, 230)
    link, seen = "/audit", list[str]()
    while link:
        page = client.get(link).text
        seen += re.findall(r"alert(\d+)<", page)
        older = re.findall(r'href="([^"]+)">Older<', page)
        link = unescape(older[0]) if older else ""
    assert [int(number) for number in seen] == list(range(229, -1, -1))

    def subjects(query: str) -> list[str]:
        return re.findall(r"(alert\d+)<", client.get(f"/audit?{query}").text)

    assert subjects("actor=person1&subject=alert10") == ["alert109", "alert106", "alert103", "alert100", "alert10"]
    assert subjects("action=sign-in") == []
    assert subjects("actor=person1%00%27") == []
    assert subjects("from=2026-01-01&to=2026-01-02") == []
    assert client.get("/audit?before=x").status_code == 400


def test_the_csv_has_every_entry_and_no_formula(site: Site) -> None:
    client = site.signed_in("boss", "admin")
    _crowd(site, 120)
    with site.store.connection() as connection:
        audit(connection, "=cmd()", "comment", "+1", {}, "10.1.2.3")
        connection.execute("ALTER TABLE audit DISABLE TRIGGER audit_only_grows")
        connection.execute("UPDATE audit SET at = to_timestamp(%s) WHERE actor = '=cmd()'", (site.now - 60,))
        connection.execute("ALTER TABLE audit ENABLE TRIGGER audit_only_grows")
    answer = client.get("/audit?format=csv&lang=en")
    assert answer.headers["content-disposition"].startswith('attachment; filename="audit-')
    rows = list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert rows[0] == ["Time", "Who", "What", "Of what", "Details", "From where"]
    assert len(rows) == 1 + 120 + 1 + 1
    assert rows[1][1:4] == ["'=cmd()", "alert commented", "'+1"]


def test_accounts_are_listed_without_their_hashes(site: Site) -> None:
    site.account("wang.fang", "viewer", DataScope.of(["bill_inquiry"], {"channel": ["app"]}))
    client = site.signed_in("boss", "admin")
    page = client.get("/accounts")
    assert "wang.fang viewer bill_inquiry; channel=app with a password – in use" in _text(page)
    assert "argon2" not in page.text


def test_a_chosen_language_is_kept_on_pages_of_administrators(site: Site) -> None:
    boss = site.signed_in("boss", "admin")
    for path in ("/audit", "/accounts"):
        assert 'lang="zh-CN">' in boss.get(f"{path}?lang=zh").text
        assert '<html lang="zh-CN">' in boss.get(path).text
        boss.get(f"{path}?lang=en")
        assert '<html lang="en">' in boss.get(path).text


def test_what_people_do_about_findings_stands_in_the_audit_with_a_way_to_it(site: Site) -> None:
    engineer = site.signed_in("li.wei", "engineer")
    token = token_of(engineer.get("/account").text)
    plan = {"token": token, "flow": "bill_inquiry", "step": "log_in", "measure": "p50", "action": "cache it"}
    entry = engineer.post("/improvements", data=plan).headers["location"]
    engineer.post("/silences", data={"token": token, "kind": "silence", "why": "upgrade"})
    site.now = time.time()  # the database notes its own time
    page = site.signed_in("boss", "admin").get("/audit").text
    assert f'href="{entry}"' in page
    assert 'href="/silences"' in page
    assert all(words in page for words in ("improvement planned", "alerts silenced", "li.wei", "comment: upgrade"))
