"""Programs with tokens: what they may, until when, how they are slowed, and that no token is ever written down."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2 as httpx
import pytest
from typer.testing import CliRunner

from cxgauge.__main__ import application
from cxgauge.dashboards.access.permissions import ROLES, ROUTES, Permission, Role, Rule
from cxgauge.dashboards.access.service_tokens import make_token, revoke_token
from cxgauge.metrics.specification.template import template_text
from cxgauge.metrics.store.scope import EVERYTHING, DataScope
from cxgauge.metrics.store.store import Store

from .conftest import DAY, Site, token_of
from .test_permissions import _filled

NAMES = "use up to 64 lower-case letters, digits, . _ @ -, a letter or digit first"
PERIOD = "from=2026-03-14&to=2026-03-15&compare=none"


def _make(
    site: Site, name: str = "export", role: str = "viewer", scope: DataScope = EVERYTHING, days: float = 30
) -> str:
    with site.store.connection() as connection, connection.transaction():
        return make_token(connection, name, role, scope, days, by="boss", at=site.now, address="here")[0]


def _program(site: Site, token: str, **headers: str) -> httpx.Client:
    return site.visitor(authorization=f"Bearer {token}", accept="*/*", **headers)


def test_a_program_reads_pages_tables_and_reports_of_its_scope(site: Site) -> None:
    token = _make(site, scope=DataScope.of(["bill_inquiry"], {"channel": ["app"]}))
    client = _program(site, token)
    whole = _program(site, _make(site, "all"))
    csv = client.get(f"/?{PERIOD}&format=csv").text
    assert csv != whole.get(f"/?{PERIOD}&format=csv").text
    table = client.get(f"/flows/bill_inquiry?{PERIOD}&format=json&table=steps").json()
    counted = [row[1] for row in table["rows"]]
    assert table["columns"][1] == {"heading": "Observations", "unit": "count", "part": "value"}
    assert table["total"][1] == sum(counted)
    report = client.get(f"/flows/bill_inquiry/report.json?{PERIOD}").json()
    assert [step["observations"] for step in report["figures"]["steps"]] == counted
    assert sum(counted) < whole.get(f"/flows/bill_inquiry?{PERIOD}&format=json&table=steps").json()["total"][1]
    assert client.get("/alerts/0123456789ab").status_code == 404  # speaks of all channels


@pytest.mark.parametrize("role", ["viewer", "analyst", "engineer"])
def test_a_program_reaches_what_its_role_allows_and_no_account(site: Site, role: str) -> None:
    client = _program(site, _make(site, role=role))
    for (method, path), rule in ROUTES.items():
        if rule in (Rule.PUBLIC, Rule.MACHINE):
            continue
        data = {"action": "comment", "note": "x"} if method == "POST" else None
        answer = client.request(method, _filled(path), data=data)
        allowed = isinstance(rule, Permission) and rule in ROLES[Role(role)]
        assert (answer.status_code not in (401, 403)) == allowed, (method, path, answer.status_code)
        assert "set-cookie" not in answer.headers


def test_a_program_acts_without_the_token_of_a_form_and_under_its_own_name(site: Site) -> None:
    client = _program(site, _make(site, "robot", "engineer"))
    answer = client.post("/alerts/0123456789ab/actions", data={"action": "acknowledge", "by": "somebody"})
    assert answer.status_code == 303
    assert site.audited()[-1][:3] == ("service:robot", "acknowledge", "0123456789ab")
    assert client.post("/alerts/0123456789ab/actions", json={"action": "acknowledge"}).status_code == 415


def test_a_cookie_beside_a_token_counts_for_nothing(site: Site) -> None:
    boss = site.signed_in("boss", "admin")
    token = _make(site)
    assert boss.get("/audit").status_code == 200
    assert boss.get("/audit", headers={"authorization": f"Bearer {token}"}).status_code == 403
    assert boss.get("/", headers={"authorization": "Bearer cxs_00000000_" + "x" * 43}).status_code == 401


def test_a_token_ends_when_it_is_revoked_or_its_time_is_over(site: Site) -> None:
    client = _program(site, _make(site, days=1))
    other = _program(site, _make(site, "other"))
    assert client.get("/").status_code == other.get("/").status_code == 200
    with site.store.connection() as connection, connection.transaction():
        assert revoke_token(connection, "other", by="boss", at=site.now, address="here") == "other"
        assert revoke_token(connection, "other", by="boss", at=site.now, address="here") is None
    refused = other.get("/")
    assert (refused.status_code, refused.text) == (401, "token revoked\n")
    assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    site.now += DAY
    assert client.get("/").text == "token expired\n"
    _make(site, "other")  # the name is free again


def test_who_guesses_waits_and_what_was_sent_is_kept_nowhere(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    good = _make(site)
    number = good.split("_")[1]
    guess = f"cxs_{number}_{'g' * 43}"
    client = _program(site, guess)
    answers = [client.get("/") for _ in range(8)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 3
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert _program(site, good).get("/").status_code == 200  # the owner is not locked out
    refused = [row for row in site.audited() if row[1] == "service token refused"]
    assert refused == [("", "service token refused", number, "127.0.0.1")] * 5
    written = capfd.readouterr()
    with site.store.connection() as connection:
        kept = str(connection.execute("SELECT row_to_json(t)::text FROM service_tokens AS t").fetchall())
        kept += str(connection.execute("SELECT row_to_json(t)::text FROM audit AS t").fetchall())
    for secret in (good.split("_", 2)[2], guess.split("_", 2)[2]):
        assert secret not in written.out + written.err + kept


def test_a_program_that_asks_too_often_waits(site: Site) -> None:
    client = _program(site, _make(site))
    codes = [client.get("/account").status_code for _ in range(61)]
    assert codes == [403] * 60 + [429]
    site.now += 1
    assert [client.get("/account").status_code for _ in range(6)] == [403] * 5 + [429]


def test_its_use_is_noted_once_an_address(site: Site) -> None:
    client = _program(site, _make(site))
    for _ in range(3):
        client.get("/")
    assert [row for row in site.audited() if row[1] == "service token used"] == [
        ("service:export", "service token used", row[2], "127.0.0.1") for row in site.audited()[-1:]
    ]


@pytest.mark.parametrize(
    ("name", "role", "days", "said"),
    [
        ("Export", "viewer", 30, f"name='Export' cannot be one; {NAMES}"),
        ("export", "admin", 30, "role='admin' is none for a program; write one of viewer, analyst, engineer"),
        ("export", "viewer", 401, "days=401 is not between 0 and 400; tokens end and are made anew, write e.g. 90"),
        ("export", "viewer", 0, "days=0 is not between 0 and 400; tokens end and are made anew, write e.g. 90"),
    ],
)  # fmt: skip
def test_what_no_token_may_be(site: Site, name: str, role: str, days: float, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        _make(site, name, role, days=days)
    assert str(caught.value) == said


def test_a_name_is_in_use_once(site: Site) -> None:
    _make(site)
    with pytest.raises(ValueError) as caught:
        _make(site)
    assert str(caught.value) == "a token 'export' is in use; revoke it first, or choose another name"


def test_an_administrator_makes_one_on_the_page_and_sees_it_once(site: Site) -> None:
    boss = site.signed_in("boss", "admin")
    form = {"token": token_of(boss.get("/accounts").text), "service": "BI", "role": "analyst", "days": "30",
            "flow": "bill_inquiry", "of": "channel=app"}  # fmt: skip
    made = boss.post("/accounts/tokens", data=form)
    (token,) = set(re.findall(r"cxs_[0-9a-f]{8}_[A-Za-z0-9_-]{43}", made.text))
    assert made.headers["cache-control"] == "no-store"
    page = boss.get("/accounts").text
    assert token not in page
    assert "bill_inquiry; channel=app" in page
    assert _program(site, token).get("/").status_code == 200
    number = token.split("_")[1]
    revoke = boss.post(f"/accounts/tokens/{number}/revoke", data={"token": form["token"]})
    assert revoke.headers["location"] == "/accounts#tokens"
    assert _program(site, token).get("/").status_code == 401
    assert boss.post(f"/accounts/tokens/{number}/revoke", data={"token": form["token"]}).status_code == 404
    assert [row[1] for row in site.audited() if row[0] == "boss"][1:] == [
        "service token added", "service token revoked",
    ]  # fmt: skip
    for fields, status in (({"service": "b i"}, 400), ({"role": "admin"}, 400), ({"flow": "x"}, 404),
                           ({"of": "branch=a"}, 400), ({"days": "9999"}, 400), ({"days": "x"}, 400)):  # fmt: skip
        assert boss.post("/accounts/tokens", data=form | fields).status_code == status, fields


def test_tokens_count_where_nobody_has_to_sign_in(site: Site) -> None:
    site.configure("timezone: Asia/Shanghai\n")
    assert site.visitor().get("/audit").status_code == 200
    assert _program(site, _make(site)).get("/audit").status_code == 403
    assert _program(site, "nonsense").get("/").status_code == 401


def test_the_command_makes_lists_and_revokes_them(embedded_dsn: str, tmp_path: Path) -> None:
    with Store.open(embedded_dsn) as store:
        store.migrate()
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "bill_inquiry.yml").write_text(template_text("bill_inquiry"), encoding="utf-8")
    config = tmp_path / "cxgauge.yml"
    config.write_text(f"database: {{dsn: '{embedded_dsn}'}}\nflows: {{directory: flows}}\n", "utf-8")

    def run(*arguments: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(application(), ["service-token", *arguments, "--config", str(config)])
        return result.exit_code, result.stdout, result.stderr

    code, out, err = run("add", "export", "--days", "10")
    assert code == 0
    assert re.fullmatch(r"cxs_[0-9a-f]{8}_[A-Za-z0-9_-]{43}\n", out)
    assert f"Token {out[4:12]} for export." in err
    assert out.strip() not in err
    code, listed, _ = run("list")
    assert re.match(rf"{out[4:12]}  export +viewer +in use +everything +ends .+ used never\n", listed)
    code, _, err = run("add", "loan", "--flow", "loan")
    assert (code, "--flow loan is not a flow of" in err) == (1, True)
    assert run("revoke", "export")[0] == 0
    code, _, err = run("revoke", "export")
    assert code == 1
    assert "no token 'export' is in use; cxgauge service-token list shows them" in err
