from __future__ import annotations

import gzip
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxgauge.collectors.importer.job import ImportJob, ImportRefusedError, ImportRequest, ImportResult
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.sketch import merge_sketches, quantile
from cxgauge.metrics.store.store import Store

PATTERN = (
    r"^(?P<observed_at>\d{4}-\d\d-\d\d \S+) .*\"(?P<step>[A-Z]+ \S+) HTTP[^\"]*\" status: (?P<status>\d+) len: \d+ "
    r"time: (?P<duration_seconds>[\d.]+)"
)
SHARED_LOG = Path(__file__).parents[3] / "shared/data/openstack_2k.log"


@pytest.fixture
def store(migrated_embedded_dsn: str) -> Iterator[Store]:
    with Store.open(migrated_embedded_dsn) as store:
        store.migrate()
        yield store


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.parse("{}", "cxgauge.yml", tmp_path)


def _log(path: Path, count: int = 600, seed: int = 1) -> np.ndarray:
    """A log as Nova's API writes it, with other lines in between; returns the durations of the detail route."""
    random = np.random.default_rng(seed)
    durations = np.round(np.exp(random.normal(-1.3, 0.4, count)), 7)
    lines = []
    for number, duration in enumerate(durations):
        stamp = f"2017-05-16 00:{number // 60 % 60:02d}:{number % 60:02d}.{number % 1000:03d}"
        lines.append(
            f'{stamp} 25746 INFO wsgi [req-{number}] 10.11.10.1 "GET /v2/{random.bytes(16).hex()}/servers/detail '
            f'HTTP/1.1" status: 200 len: 1893 time: {duration:.7f}'
        )
        if number % 7 == 0:
            lines.append(f"{stamp} 2931 INFO nova.compute.manager VM Started (Lifecycle Event)")
    path.write_text("\n".join(lines) + "\n")
    return durations


def _run(request: ImportRequest, config: Config, store: Store) -> ImportResult:
    with ImportJob.prepare(request, config) as job:
        return job.run(store)


def _durations(store: Store) -> list[float]:
    with store.connection() as connection:
        rows = connection.execute("SELECT duration_seconds FROM observations ORDER BY observed_at").fetchall()
    return [row[0] for row in rows]


def _request(path: Path, tmp_path: Path, **more: Any) -> ImportRequest:
    return ImportRequest(file=str(path), **{"flow": "nova", "pattern": PATTERN, **more})


LOGS = [None, *([SHARED_LOG] if SHARED_LOG.exists() else [])]


@pytest.mark.parametrize("given", LOGS, ids=["written here", "real"][: len(LOGS)])
def test_percentiles_of_an_imported_log_are_exact_within_one_percent(
    given: Path | None, tmp_path: Path, config: Config, store: Store
) -> None:
    path = tmp_path / "nova-api.log"
    if given is None:
        _log(path)
    else:
        path.write_bytes(given.read_bytes())
    exact: dict[str, list[float]] = {}
    for line in path.read_text().splitlines():
        found = re.search(r'"([A-Z]+) (\S+) HTTP.* time: ([\d.]+)', line)
        if found and found[2].split("?")[0].endswith("servers/detail"):
            exact.setdefault("get_v2_id_servers_detail", []).append(float(found[3]))
    request = _request(path, tmp_path, pattern=PATTERN.removeprefix("^"), write_flow=tmp_path / "flows/nova.yml")

    result = _run(request, config, store)

    durations = exact["get_v2_id_servers_detail"]
    assert result.counts.steps["get_v2_id_servers_detail"] == len(durations)
    rollup, keys = store.read_rollups(0, 2e9, "nova", "get_v2_id_servers_detail")
    buckets, counts = merge_sketches(rollup.buckets, rollup.bucket_counts)
    assert len(keys) == 1
    for q in (0.5, 0.95, 0.99):
        assert quantile(buckets, counts, q) == pytest.approx(float(np.quantile(durations, q)), rel=0.01)


def test_second_import_renamed_copy_and_grown_log(tmp_path: Path, config: Config, store: Store) -> None:
    path = tmp_path / "a.log"
    durations = _log(path)
    first = _run(_request(path, tmp_path, write_flow=tmp_path / "flows/nova.yml"), config, store)
    assert first.counts.accepted == len(durations)

    copy = tmp_path / "b.log"
    copy.write_bytes(path.read_bytes())
    again = _run(_request(copy, tmp_path), config, store)
    assert (again.source, again.counts.accepted) == (first.source, 0)

    with copy.open("a") as file:
        file.write('2017-05-16 01:00:00.000 "GET /v2/1/servers/detail HTTP/1.1" status: 200 len: 1 time: 0.5\n')
    grown = _run(_request(copy, tmp_path), config, store)
    assert (grown.source, grown.counts.accepted) == (first.source, 1)
    assert _durations(store) == [*durations, 0.5]

    once_more = _run(_request(copy, tmp_path, again="second"), config, store)
    assert once_more.counts.accepted == len(durations) + 1


def test_other_settings_for_the_same_content_are_refused(tmp_path: Path, config: Config, store: Store) -> None:
    path = tmp_path / "a.log"
    _log(path)
    _run(_request(path, tmp_path, write_flow=tmp_path / "flows/nova.yml"), config, store)

    message = (
        f"{path}: the same content was imported as a.log with other settings, and would count twice; repeat those "
        "settings, or give --again NAME to count it once more"
    )
    with pytest.raises(ImportRefusedError, match=f"^{re.escape(message)}$"):
        _run(_request(path, tmp_path, timezone="Asia/Shanghai"), config, store)


@pytest.mark.parametrize("dies_after", [1, 2])
def test_import_killed_at_a_commit_goes_on_and_doubles_nothing(
    dies_after: int, tmp_path: Path, config: Config, store: Store
) -> None:
    path = tmp_path / "a.csv"
    rows = [f"2026-03-14T00:00:{number % 60:02d}Z,{number}" for number in range(1, 50_001)]
    path.write_text("observed_at,duration_ms\n" + "\n".join(rows) + "\n")
    request = _request(path, tmp_path, pattern=None, step="total", write_flow=tmp_path / "flows/nova.yml")

    class Killed(BaseException):
        pass

    def kill(place: int, rows: int) -> None:
        if rows >= dies_after * 20_000:
            raise Killed

    with pytest.raises(Killed), ImportJob.prepare(request, config) as job:
        job.run(store, kill)
    before = len(_durations(store))
    assert before == dies_after * 20_000

    result = _run(_request(path, tmp_path, pattern=None, step="total"), config, store)

    assert result.counts.accepted == 50_000 - before
    rollup, _ = store.read_rollups(0, 2e9, "nova")
    assert int(rollup.observations.sum()) == 50_000
    assert sorted(_durations(store)) == [number / 1000 for number in range(1, 50_001)]


def test_mapping_file_gzip_and_standard_input(
    tmp_path: Path, config: Config, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/bill.yml").write_text(
        """\
name: bill
title: {en: Bill, zh: 账单}
owner: cards
dimensions: [{name: channel, values: [app, web]}]
steps:
  - name: total
    title: {en: Total, zh: 总额}
    timeliness: {target: 1s}
    checks: [{name: details_present, kind: present, value: $.details}]
"""
    )
    (tmp_path / "map.yml").write_text(
        """\
flow: {value: bill}
step: {column: url, rules: [{match: '^/bill', step: total}], otherwise: reject}
started_at: {column: begin, format: unix_ms}
duration: {column: took, unit: ms}
checks: {details_present: {column: details}}
dimensions: {channel: {column: ch, values: {"01": app}}}
customer: cust
"""
    )
    lines = (
        '{"url": "/bill/17", "begin": 1773446400000, "took": 1500, "details": true, "ch": "01", "cust": "6222"}\n'
        '{"url": "/bill/18", "begin": 1773446400000, "took": 50, "details": false, "ch": "02"}\n'
        '{"url": "/loan", "begin": 1773446400000, "took": 50}\n'
    )
    packed = gzip.compress(lines.encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(packed)))
    monkeypatch.chdir(tmp_path)

    request = ImportRequest(file="-", file_format="ndjson", mapping=tmp_path / "map.yml")
    result = _run(request, config, store)

    assert result.counts.accepted == 2
    assert result.counts.rejected == {"no rule for the step": 1}
    assert result.notes == ("no customer key is configured (recorder.customer_key), so customers are not kept",)
    assert (tmp_path / "stdin.rejected").read_text().startswith("3\tstep='/loan' matches no rule\t{")
    with store.connection() as connection:
        found = connection.execute(
            "SELECT extract(epoch FROM observed_at)::float8, verdict, checks, dimensions->>'channel', customer, source "
            "FROM observations JOIN series USING (series_id) ORDER BY 1 DESC"
        ).fetchall()
    assert found == [(1773446401.5, 1, 1, "app", None, 4), (1773446400.05, 3, 2, "other", None, 4)]
    assert list((tmp_path / "data/imports").glob("stdin-*")) == []


def test_damaged_gzip_keeps_what_is_before_the_damage(tmp_path: Path, config: Config, store: Store) -> None:
    plain = tmp_path / "a.log"
    _log(plain, 5000)
    path = tmp_path / "a.log.gz"
    path.write_bytes(gzip.compress(plain.read_bytes())[:-5000])
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/nova.yml").write_text(
        "name: nova\ntitle: {en: Nova, zh: Nova}\nowner: me\n"
        "steps: [{name: get_v2_id_servers_detail, title: {en: Servers, zh: 服务器}, timeliness: {target: 1s}}]\n"
    )

    result = _run(_request(path, tmp_path), config, store)

    assert 0 < result.counts.accepted < 5000
    assert len(_durations(store)) == result.counts.accepted
    assert result.notes == (
        (
            f"the file is damaged after line {result.counts.last_number}: "
            "Compressed file ended before the end-of-stream marker was reached"
        ),
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"file": "{tmp}/none"}, "{tmp}/none is not a file; give a file, or - for standard input"),
        (
            {"pattern": None, "file": "{tmp}/data.bin"},
            "{tmp}/data.bin: the name does not tell the format; give --format",
        ),
        (
            {"pattern": "(?P<a"},
            "--pattern '(?P<a' is not a regular expression: missing >, unterminated name at position 4",
        ),
        ({"again": "Ä"}, "--again 'Ä' is not a name; use letters, digits, - and _, e.g. second"),
        (
            {"flow": "loan"},
            (
                "flow 'loan' is not declared in {tmp}/flows; declare it, or give --write-flow {tmp}/flows/loan.yml to "
                "start from this file"
            ),
        ),
        (
            {"pattern": PATTERN.replace("status>", "check_x>")},
            "check 'x' is not declared in flow nova; declare it, or leave the column out",
        ),
        (
            {"write_flow": "{tmp}/flows/nova.yml"},
            "--write-flow {tmp}/flows/nova.yml is there already; leave the option out to import with it",
        ),
        (
            {"write_flow": "{tmp}/flows/other.yml"},
            "flow nova is declared already; leave --write-flow out to import with it",
        ),
    ],
)
def test_what_cannot_be_done_says_what_to_change(
    more: dict[str, Any], message: str, tmp_path: Path, config: Config
) -> None:
    _log(tmp_path / "a.log", 3)
    (tmp_path / "data.bin").write_bytes(b"")
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/nova.yml").write_text(
        "name: nova\ntitle: {en: Nova, zh: Nova}\nowner: me\n"
        "steps: [{name: get, title: {en: Servers, zh: 服务器}, timeliness: {target: 1s}}]\n"
    )
    given: dict[str, Any] = {
        name: value.replace("{tmp}", str(tmp_path)) if isinstance(value, str) else value for name, value in more.items()
    }
    if "write_flow" in given:
        given["write_flow"] = Path(given["write_flow"])
    request = ImportRequest(**{"file": str(tmp_path / "a.log"), "flow": "nova", "pattern": PATTERN, **given})

    with pytest.raises(ImportRefusedError) as caught, ImportJob.prepare(request, config):
        pass
    assert str(caught.value) == message.replace("{tmp}", str(tmp_path))


def test_mapping_faults_name_their_line(tmp_path: Path, config: Config) -> None:
    _log(tmp_path / "a.log", 3)
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/nova.yml").write_text(
        "name: nova\ntitle: {en: Nova, zh: Nova}\nowner: me\n"
        "steps: [{name: get, title: {en: Servers, zh: 服务器}, timeliness: {target: 1s}}]\n"
    )
    (tmp_path / "map.yml").write_text(
        "flow: {value: nova}\nstep: route\nduration: {column: ms, unit: minutes}\nobserved_at: at\n"
    )
    request = _request(tmp_path / "a.log", tmp_path, mapping=tmp_path / "map.yml")
    place = re.escape(f"{tmp_path}/map.yml:3: duration.unit='minutes' ")
    with pytest.raises(ImportRefusedError, match=f"^{place}"), ImportJob.prepare(request, config):
        pass
