"""Debian packages: on this machine, and in a small Debian 13 root of our own.

TimescaleDB for PostgreSQL 17 and Prometheus 2.53 are in Debian 13 and not in Debian 12. So that both
run the same, and so that nothing of the machine's own PostgreSQL is touched, they are installed in a
root directory made by debootstrap and run from there.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

__all__ = ["AS_ROOT", "LackingError", "ensure_host_package", "ensure_root", "remove_tree"]

AS_ROOT = "run `sudo .venv/bin/python -m deploy.services start`"
SUITE = "trixie"
ROOT_PACKAGES = ("postgresql-17", "postgresql-17-timescaledb", "prometheus", "promtool", "prometheus-alertmanager")
DEFAULT_MIRROR = "http://deb.debian.org/debian/"
_RECIPE = "2"  # raise when what ensure_root() lays down changes
_QUIET = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "UCF_FORCE_CONFFOLD": "1"}


class LackingError(Exception):
    """Something that this machine cannot offer; the text says what, and what would help."""


def ensure_host_package(*packages: str) -> None:
    """Install ``packages`` on this machine, without starting any service that they bring.

    Raises:
        LackingError: not root, no apt-get, or apt-get failed.
    """
    names = " ".join(packages)
    if shutil.which("apt-get") is None:
        raise LackingError(f"there is no apt-get to install {names} with; install the like with your system's own tool")
    if os.geteuid() != 0:
        raise LackingError(f"only root can install {names}: sudo apt-get install --no-install-recommends {names}")
    print(f"installing {names}", file=sys.stderr, flush=True)
    _run(["apt-get", "update", "-q"], _QUIET)
    # RUNLEVEL=1 makes invoke-rc.d hold back services, as in single-user mode.
    _run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages], {**_QUIET, "RUNLEVEL": "1"})


def ensure_root(directory: Path, log: Path) -> Path:
    """Make the Debian root unless it is there and complete; return its path.

    A root that was being made when something went wrong is thrown away and begun afresh.

    Raises:
        LackingError: not root, or debootstrap or apt-get failed; the text ends with their last lines.
    """
    root = directory / "root"
    stamp = root / ".complete"
    wanted = hashlib.sha256(" ".join([_RECIPE, SUITE, *ROOT_PACKAGES]).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return root
    if os.geteuid() != 0:
        raise LackingError(
            f"only root can make and enter the Debian {SUITE} root that TimescaleDB, Prometheus and Alertmanager run"
            f" from (debootstrap, chroot): {AS_ROOT}"
        )
    if shutil.which("debootstrap") is None:
        ensure_host_package("debootstrap")
    partial = directory / "root.partial"
    remove_tree(partial)
    remove_tree(root)
    mirror = _mirror()
    print(f"making a Debian {SUITE} root in {root} from {mirror} (one or two minutes; log: {log})", file=sys.stderr)
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**_QUIET, **_proxies()}
    with log.open("w") as output:
        command = ["debootstrap", "--variant=minbase", "--include=ca-certificates", SUITE, str(partial), mirror]
        _run(command, environment, output)
        _prepare_apt(partial)
        _run(["chroot", str(partial), "apt-get", "update", "-q"], environment, output)
        install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold"]
        _run(["chroot", str(partial), *install, *ROOT_PACKAGES], environment, output)
        _run(["chroot", str(partial), "apt-get", "clean"], environment, output)
    (partial / ".complete").write_text(wanted)
    partial.rename(root)
    return root


def remove_tree(directory: Path) -> None:
    """Remove ``directory``, after unmounting what an interrupted debootstrap left mounted below it."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    below = [mount for mount in mounts if mount.startswith(f"{directory}/")]
    for mount in sorted(below, reverse=True):
        _run(["umount", mount], {})
    if directory.exists():
        shutil.rmtree(directory)


def _prepare_apt(root: Path) -> None:
    """Let packages unpack fast and start nothing; take over how this machine reaches its archive."""
    (root / "etc/dpkg/dpkg.cfg.d/unsafe-io").write_text("force-unsafe-io\n")
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    cluster = root / "etc/postgresql-common/createcluster.conf"
    cluster.parent.mkdir(parents=True, exist_ok=True)
    cluster.write_text("create_main_cluster = false\n")
    options = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=True).stdout
    kept = [line for line in options.splitlines() if re.match(r"Acquire::(https?|ftp|Check-|Retries)", line, re.I)]
    (root / "etc/apt/apt.conf.d/90machine").write_text("\n".join([*kept, 'Acquire::Languages "none";', ""]))
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.exists():
        shutil.copy(certificates, root / "etc/ssl/certs/ca-certificates.crt")


def _mirror() -> str:
    """The Debian archive that this machine's apt is set up for; CXGAUGE_DEBIAN_MIRROR overrides it."""
    if chosen := os.environ.get("CXGAUGE_DEBIAN_MIRROR"):
        return chosen
    form = "$(ORIGIN) $(COMPONENT) $(CODENAME) $(REPO_URI)"
    query = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    for line in answer.splitlines():
        # Not the security, updates or backports archives, which hold no whole release.
        if match := re.fullmatch(r"Debian main [a-z]+ (https?://\S+)", line):
            return match[1]
    return DEFAULT_MIRROR


def _proxies() -> dict[str, str]:
    """Proxies that apt is set up for, as the variables that debootstrap's downloader reads."""
    query = ["apt-config", "shell", "http_proxy", "Acquire::http::Proxy", "https_proxy", "Acquire::https::Proxy"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    return dict(re.findall(r"^(\w+)='([^']+)'$", answer, re.M))


def _run(command: Sequence[str], environment: Mapping[str, str], output: TextIO | None = None) -> None:
    """Run ``command``; its output goes to the log ``output`` or is kept for the error."""
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if output is not None:
        output.write(done.stdout)
    if done.returncode != 0:
        last = "\n".join(done.stdout.splitlines()[-8:])
        raise LackingError(f"`{' '.join(command)}` failed with exit code {done.returncode}:\n{last}")
