"""Processes that outlive the command that started them, known by process id and start time.

A process id alone is not enough to end a process by: the number may have been given to somebody
else since. The kernel's start time beside it, with the boot it belongs to, tells the two apart.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["ProcessRecords", "RecordedProcess", "write_atomically"]

_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class RecordedProcess:
    """A process that was started here.

    Attributes:
        pid: Process id.
        start_ticks: Its start in clock ticks since boot, field 22 of ``/proc/PID/stat``.
        boot: The kernel's boot id: ticks of another boot mean nothing.
        stop_signal: The signal that asks this program to end in good order.
    """

    pid: int
    start_ticks: int
    boot: str
    stop_signal: int

    @classmethod
    def of(cls, pid: int, stop_signal: int) -> RecordedProcess:
        """Describe the running process ``pid``."""
        start_ticks = _start_ticks(pid)
        if start_ticks is None:
            raise ProcessLookupError(f"process {pid} is gone")
        return cls(pid, start_ticks, _boot_id(), stop_signal)

    def runs(self) -> bool:
        """Whether exactly this process still runs."""
        return _boot_id() == self.boot and _start_ticks(self.pid) == self.start_ticks

    def stop(self, patience_seconds: float = 20.0) -> bool:
        """Ask it to end, then kill it; False when it no longer ran."""
        if not self.runs():
            return False
        for number in (self.stop_signal, signal.SIGKILL):
            os.kill(self.pid, number)
            deadline = time.monotonic() + patience_seconds
            while time.monotonic() < deadline:
                if not self.runs():
                    return True
                time.sleep(_POLL_SECONDS)
        raise TimeoutError(f"process {self.pid} survived SIGKILL for {patience_seconds:g} s")


class ProcessRecords:
    """The processes started so far, by name, in a JSON file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> dict[str, RecordedProcess]:
        """All records, whether their processes still run or not."""
        try:
            rows = json.loads(self._file.read_text())
        except FileNotFoundError:
            return {}
        return {name: RecordedProcess(**row) for name, row in rows.items()}

    def running(self, name: str) -> bool:
        """Whether the process recorded under ``name`` runs."""
        record = self.read().get(name)
        return record is not None and record.runs()

    def start(self, name: str, command: Sequence[str], log: Path, stop_signal: int) -> subprocess.Popen[bytes]:
        """Start ``command`` in a session of its own and record it; its output goes to ``log``."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,
                # The lock of the command that starts it must not be inherited.
                close_fds=True,
            )
        self._write({**self.read(), name: RecordedProcess.of(process.pid, stop_signal)})
        return process

    def stop(self, name: str) -> bool:
        """End the process recorded under ``name`` and forget it; False when it did not run."""
        records = self.read()
        record = records.pop(name, None)
        if record is None:
            return False
        stopped = record.stop()
        self._write(records)
        return stopped

    def _write(self, records: dict[str, RecordedProcess]) -> None:
        write_atomically(self._file, json.dumps({name: asdict(record) for name, record in records.items()}, indent=2))


def write_atomically(file: Path, text: str, mode: int = 0o600) -> None:
    """Replace ``file`` as a whole: a reader sees the old text or the new, never half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    fresh.write_text(text + "\n")
    fresh.chmod(mode)
    fresh.replace(file)


def _start_ticks(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name in parentheses may hold spaces
    return None if fields[0] in "ZX" else int(fields[19])


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
