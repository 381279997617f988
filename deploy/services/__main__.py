"""What the tests need for real, on loopback and on spare ports: start, stop, status, remove.

Run as ``python -m deploy.services start`` from the repository's root, or by ``make services``.
Everything is kept under ``.services`` (or CXGAUGE_SERVICES_DIR); tests find it in ``services.json``.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .debian import LackingError, remove_tree
from .processes import write_atomically
from .servers import SERVICES, Facts, Place, is_ready


def main() -> int:
    """Do what the command line says; 1 when a service is lacking."""
    parser = argparse.ArgumentParser(prog="services", description=__doc__)
    parser.add_argument("action", choices=["start", "stop", "status", "remove"])
    parser.add_argument("name", nargs="*", help="services to start; all unless said")
    arguments = parser.parse_args()
    if unknown := set(arguments.name) - set(SERVICES):
        parser.error(f"there is no service {', '.join(sorted(unknown))}; there are {', '.join(SERVICES)}")
    place = Place(Path(os.environ.get("CXGAUGE_SERVICES_DIR", ".services")).resolve())
    place.directory.mkdir(parents=True, exist_ok=True)
    with _alone(place), _handed_over(place):
        if arguments.action == "start":
            return _start(place, arguments.name or list(SERVICES))
        if arguments.action == "status":
            return _status(place)
        _stop(place)
        if arguments.action == "remove":
            remove_tree(place.directory)
    return 0


@contextmanager
def _alone(place: Place) -> Iterator[None]:
    """Two commands at once take turns."""
    with (place.directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _handed_over(place: Place) -> Iterator[None]:
    """Under sudo, let the user who asked read what is offered and ask for the status."""
    yield
    user, group = (int(os.environ.get(name, "-1")) for name in ("SUDO_UID", "SUDO_GID"))
    if os.geteuid() == 0 and user > 0:
        for file in (place.directory, *place.directory.glob("*.json"), place.directory / "lock"):
            if file.exists():
                os.chown(file, user, group)


def _start(place: Place, names: list[str]) -> int:
    known = _read(place.services_file)
    lacking = 0
    for name in names:
        if name in known and is_ready(name, known[name], place):
            continue
        place.records.stop(name)  # it runs and does not answer, or its program is gone
        before = known.pop(name, {})
        try:
            known[name] = SERVICES[name](place, before)
        except LackingError as error:
            lacking += 1
            print(f"services: {name} is lacking: {error}", file=sys.stderr)
        _write(place, known)
    _print(known)
    return 1 if lacking else 0


def _stop(place: Place) -> None:
    for name in place.records.read():
        try:
            outcome = "stopped" if place.records.stop(name) else "had ended already"
        except PermissionError:
            outcome = "not stopped: root started it, only root can stop it"
        print(f"{name:14} {outcome}")
    known = {name: facts for name, facts in _read(place.services_file).items() if name in ("chromium", "axe")}
    _write(place, known)


def _status(place: Place) -> int:
    known = _read(place.services_file)
    ready = {name: facts for name, facts in known.items() if is_ready(name, facts, place)}
    _print(ready)
    for name in SERVICES:
        if name not in ready:
            print(f"{name:14} not there; `make services` starts it")
    return 0 if len(ready) == len(SERVICES) else 1


def _print(known: dict[str, Facts]) -> None:
    for name, facts in known.items():
        where = facts.get("url") or (f"127.0.0.1:{facts['port']}" if "port" in facts else facts["binary"])
        print(f"{name:14} {where}")


def _read(file: Path) -> dict[str, Facts]:
    try:
        known: dict[str, Facts] = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    return known


def _write(place: Place, known: dict[str, Facts]) -> None:
    write_atomically(place.services_file, json.dumps(known, indent=2))


if __name__ == "__main__":
    sys.exit(main())
