"""Who uses an embedded server, and which processes are its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

__all__ = ["User", "alive", "process_ids", "read_users", "start_time", "works_in"]


class User(NamedTuple):
    """An object that has started the server, or found it running, and has not called ``stop()`` yet."""

    pid: int
    since: str
    token: str


def process_ids() -> list[int]:
    """All there are."""
    import psutil

    return psutil.pids()


def works_in(pid: int, folder: Path) -> bool:
    """Whether process ``pid`` runs in ``folder``: a postmaster and its children do, a stranger with its number not."""
    import psutil

    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).resolve() == folder.resolve()
    except (psutil.Error, OSError):
        return False


def start_time(pid: int) -> str:
    """When a process began, as text to be compared; empty when it is not there."""
    import psutil

    try:
        return repr(psutil.Process(pid).create_time())
    except psutil.Error:
        return ""


def alive(user: User | None) -> bool:
    """Whether the process that this was still runs."""
    return user is not None and user.since != "" and start_time(user.pid) == user.since


def read_users(path: Path) -> list[User]:
    """The users in a file, which has one or a list of them; none where it is missing or damaged."""
    try:
        found = json.loads(path.read_text())
        return [User(**user) for user in (found if isinstance(found, list) else [found])]
    except (OSError, ValueError, TypeError):
        return []
