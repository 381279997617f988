"""What is in `deploy/`: pinned, closed to the outside, without secrets, and right in the eyes of those who read it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cxgauge.__main__ import application
from cxgauge.metrics.configuration.config import Config

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_restarted_and_published_on_loopback_only(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[\w/.-]+:v?\d+\.\d+\.\d+[\w.-]*", service["image"])
    assert service["restart"] == "unless-stopped"
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
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
