"""Processes of the demonstration: started, waited for, and ended again, whatever happens."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx2

__all__ = ["DemonstrationError", "await_answer", "free_port", "module_process", "require_free", "require_running"]

_START_LIMIT_SECONDS: Final = 60.0
_END_LIMIT_SECONDS: Final = 15.0
_LOG_TAIL_CHARACTERS: Final = 2_000


class DemonstrationError(RuntimeError):
    """A part of the demonstration could not be started; the message ends with what that part said last."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_free(port: int) -> None:
    """Do nothing if nobody listens on a TCP port of 127.0.0.1; 0 is always free.

    Raises:
        DemonstrationError: somebody does, and would be taken for a part of the demonstration.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise DemonstrationError(
                f"port={port} of 127.0.0.1 is taken; choose another, or 0 for one that is free"
            ) from None


@contextmanager
def module_process(
    log: Path, module: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``python -m module`` until the block is left; what it prints goes to the file ``log``."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own modules with our own arguments
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            env={**os.environ, **(environment or {})},
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_END_LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def await_answer(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when ``url`` answers 200.

    Raises:
        DemonstrationError: the process ended, or did not answer in time.
    """
    deadline = time.monotonic() + _START_LIMIT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx2.get(url, timeout=2.0, trust_env=False).status_code == httpx2.codes.OK:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.1)
    ended = "is still starting" if process.poll() is None else f"ended with {process.returncode}"
    raise DemonstrationError(f"{log.stem} did not answer at {url}, it {ended}; it said last:\n{_tail(log)}")


def require_running(process: subprocess.Popen[bytes], log: Path) -> None:
    """Do nothing while ``process`` runs.

    Raises:
        DemonstrationError: it has ended, so that what was seen since says nothing.
    """
    if process.poll() is not None:
        raise DemonstrationError(f"{log.stem} ended with {process.returncode}; it said last:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL_CHARACTERS:]
