"""The four services: how each is found or installed, started, and seen to be ready."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .debian import AS_ROOT, LackingError, ensure_host_package, ensure_root
from .processes import ProcessRecords, write_atomically

__all__ = ["SERVICES", "Place", "is_ready"]

_READY_LIMIT_SECONDS = 60.0
_AXE = "4.14.1"
_POSTGRES = "/usr/lib/postgresql/17/bin"
_TEMPLATES = Path("/usr/share/prometheus/alertmanager")
_POSTGRES_DATA = "/srv/timescaledb"  # as seen from inside the root
_POSTGRES_SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
shared_preload_libraries = 'timescaledb'
timescaledb.telemetry_level = off
shared_buffers = 256MB
max_connections = 200
max_wal_size = 4GB
timezone = 'UTC'
log_line_prefix = '%m [%p] %d '
"""

Facts = dict[str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """The directory that everything lives in, and the records of the processes."""

    directory: Path

    @property
    def services_file(self) -> Path:
        """What is offered: read by the tests."""
        return self.directory / "services.json"

    @property
    def records(self) -> ProcessRecords:
        """What runs: read to stop it."""
        return ProcessRecords(self.directory / "processes.json")

    def log(self, name: str) -> Path:
        """The log of one service or installation."""
        return self.directory / "log" / f"{name}.log"


def timescaledb(place: Place, before: Facts) -> Facts:
    """TimescaleDB on PostgreSQL 17 in the Debian root, with a cluster and a password of its own."""
    root = ensure_root(place.directory, place.log("root"))
    if os.geteuid() != 0:
        raise LackingError(f"only root can start TimescaleDB in its Debian root (chroot): {AS_ROOT}")
    data = root / _POSTGRES_DATA.lstrip("/")
    password_file = place.directory / "timescaledb.password"
    if not (data / ".complete").exists():
        shutil.rmtree(data, ignore_errors=True)
        write_atomically(password_file, secrets.token_urlsafe(24))
        _create_cluster(root, data, password_file)
    port = _port(before.get("port"))
    inside = ["chroot", "--userspec=postgres:postgres", str(root), f"{_POSTGRES}/postgres"]
    command = [*inside, "-D", _POSTGRES_DATA, "-p", str(port)]
    process = place.records.start("timescaledb", command, place.log("timescaledb"), signal.SIGINT)
    _await("timescaledb", process, place, lambda: _postgres_answers(root, port))
    password = password_file.read_text().strip()
    return {"dsn": f"postgresql://cxgauge:{password}@127.0.0.1:{port}/postgres", "port": str(port)}


def prometheus(place: Place, before: Facts) -> Facts:
    """Prometheus with an empty configuration; tests start private ones from the same program."""
    programs = _programs(place, {"binary": "prometheus", "promtool": "promtool"})
    home = place.directory / "prometheus"
    configuration = home / "prometheus.yml"
    write_atomically(configuration, "global: {scrape_interval: 15s}\nscrape_configs: []\n", 0o644)
    port = _port(before.get("port"))
    command = [
        programs["binary"],
        f"--config.file={configuration}",
        f"--storage.tsdb.path={home / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    process = place.records.start("prometheus", command, place.log("prometheus"), signal.SIGTERM)
    url = f"http://127.0.0.1:{port}"
    _await("prometheus", process, place, lambda: _answers(f"{url}/-/ready"))
    return {"url": url, "port": str(port), **programs}


def alertmanager(place: Place, before: Facts) -> Facts:
    """Alertmanager with one receiver that sends nothing; tests start private ones."""
    programs = _programs(place, {"binary": "prometheus-alertmanager", "amtool": "amtool"})
    if Path(programs["binary"]).is_relative_to(place.directory):
        programs["binary"] = _with_share_of_root(place, programs["binary"])
    home = place.directory / "alertmanager"
    configuration = home / "alertmanager.yml"
    write_atomically(configuration, "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n", 0o644)
    port = _port(before.get("port"))
    command = [
        programs["binary"],
        f"--config.file={configuration}",
        f"--storage.path={home / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    process = place.records.start("alertmanager", command, place.log("alertmanager"), signal.SIGTERM)
    url = f"http://127.0.0.1:{port}"
    _await("alertmanager", process, place, lambda: _answers(f"{url}/-/ready"))
    return {"url": url, "port": str(port), **programs}


def chromium(place: Place, before: Facts) -> Facts:
    """Chromium with a font that has Chinese; there is nothing to start."""
    del place, before
    packages = [] if shutil.which("chromium") else ["chromium"]
    if not _has_chinese_font():
        packages.append("fonts-noto-cjk")
    if packages:
        ensure_host_package(*packages)
    binary = shutil.which("chromium")
    if binary is None:
        raise LackingError("chromium was installed and is not on the PATH; add its directory to PATH")
    return {"binary": binary}


def axe(place: Place, before: Facts) -> Facts:
    """The accessibility checker axe-core, a script that tests run in Chromium's pages; there is nothing to start."""
    del before
    if shutil.which("npm") is None:
        ensure_host_package("npm")
    directory = place.directory / "axe"
    script = directory / "node_modules" / "axe-core" / "axe.min.js"
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / "package.json", '{"private": true}\n', 0o644)
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--save-exact", f"axe-core@{_AXE}"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not script.exists():
        raise LackingError(f"`{' '.join(command)}` failed with exit code {done.returncode}:\n{done.stderr[-500:]}")
    return {"binary": str(script)}


SERVICES: Mapping[str, Callable[[Place, Facts], Facts]] = {
    "timescaledb": timescaledb,
    "prometheus": prometheus,
    "alertmanager": alertmanager,
    "chromium": chromium,
    "axe": axe,
}


def is_ready(name: str, facts: Facts, place: Place) -> bool:
    """Whether a service offered earlier is still there: quick, changes nothing."""
    if not all(Path(facts[key]).exists() for key in ("binary", "promtool", "amtool") if key in facts):
        return False
    if name == "axe":
        return True
    if name == "chromium":
        return _has_chinese_font()
    return place.records.running(name) and _listens(int(facts["port"]))


def _create_cluster(root: Path, data: Path, password_file: Path) -> None:
    inside = ["chroot", "--userspec=postgres:postgres", str(root)]
    make_directory = ["install", "-d", "-m", "700", "-o", "postgres", "-g", "postgres", _POSTGRES_DATA]
    subprocess.run(["chroot", str(root), *make_directory], check=True)
    # initdb reads the password from a file that it can see from inside the root, as its own user.
    password_inside = root / "run/cxgauge-password"
    shutil.copyfile(password_file, password_inside)
    owner = data.stat()
    os.chown(password_inside, owner.st_uid, owner.st_gid)
    password_inside.chmod(0o600)
    initdb = [*inside, f"{_POSTGRES}/initdb", "-D", _POSTGRES_DATA, "-U", "cxgauge", "--auth=scram-sha-256"]
    initdb += [f"--pwfile=/{password_inside.relative_to(root)}", "--encoding=UTF8", "--locale=C.UTF-8"]
    done = subprocess.run(initdb, capture_output=True, text=True, check=False)
    password_inside.unlink()
    if done.returncode != 0:
        raise LackingError(f"initdb failed with exit code {done.returncode}:\n{done.stdout[-500:]}{done.stderr[-500:]}")
    with (data / "postgresql.conf").open("a") as settings:
        settings.write(_POSTGRES_SETTINGS)
    (data / ".complete").touch()


def _programs(place: Place, wanted: Mapping[str, str]) -> dict[str, str]:
    """The programs of the Debian root, or those of this machine where the root cannot be made."""
    try:
        directory = ensure_root(place.directory, place.log("root")) / "usr/bin"
        return {key: str(directory / program) for key, program in wanted.items()}
    except LackingError as lacking:
        found = {key: shutil.which(program) for key, program in wanted.items()}
        programs = {key: path for key, path in found.items() if path is not None}
        if len(programs) < len(wanted):
            raise LackingError(f"{lacking}; or install {', '.join(wanted.values())} on this machine") from None
        return programs


def _with_share_of_root(place: Place, binary: str) -> str:
    """A script that runs ``binary`` with the Debian root's ``/usr/share`` for its own.

    Debian's Alertmanager reads its templates from there, wherever it is started from; a mount
    namespace of its own shows them to it and changes nothing for anybody else. Where those are forbidden (a
    container without privileges), the templates are laid where the package itself would put them.
    """
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        templates = place.directory / "root" / _TEMPLATES.relative_to("/")
        if not _TEMPLATES.exists():
            print(f"laying Alertmanager's templates into {_TEMPLATES}", file=sys.stderr)
            shutil.copytree(templates, _TEMPLATES)
        return binary
    script = place.directory / "bin" / Path(binary).name
    share = place.directory / "root/usr/share"
    inside = f'mount --bind {shlex.quote(str(share))} /usr/share && exec {shlex.quote(binary)} "$@"'
    write_atomically(script, f'#!/bin/sh\nexec unshare --mount sh -c {shlex.quote(inside)} sh "$@"', 0o755)
    return str(script)


def _await(name: str, process: subprocess.Popen[bytes], place: Place, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _READY_LIMIT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if ready():
            return
        time.sleep(0.1)
    place.records.stop(name)
    last = "\n".join(place.log(name).read_text(errors="replace").splitlines()[-8:])
    raise LackingError(
        f"{name} did not get ready within {_READY_LIMIT_SECONDS:g} s; the last lines of its log:\n{last}"
    )


def _port(earlier: str | None) -> int:
    """The port used before if it is still free, else one that the kernel picks."""
    for wanted in (int(earlier or 0), 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            port: int = probe.getsockname()[1]
            return port
    raise LackingError("no TCP port is free on 127.0.0.1")


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            return True
    except OSError:
        return False


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _postgres_answers(root: Path, port: int) -> bool:
    query = ["chroot", str(root), f"{_POSTGRES}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    return subprocess.run(query, check=False).returncode == 0


def _has_chinese_font() -> bool:
    if shutil.which("fc-list") is None:
        return False
    fonts = subprocess.run(["fc-list", ":lang=zh-cn", "family"], capture_output=True, text=True, check=False).stdout
    return bool(fonts.strip())
