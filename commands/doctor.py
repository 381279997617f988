"""``cxgauge doctor``: is everything as it should be, and if not, what to do."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..collectors.spool import ResumePoint
    from ..metrics.configuration.config import Config
    from ..metrics.store.connection import DatabaseSettings
    from ..metrics.store.health import Finding
    from ..metrics.store.store import Store

from ._installation import ConfigOption

__all__ = ["DoctorFormat", "doctor"]

_LAG_WARN_SECONDS = 60.0
_LAG_FAIL_SECONDS = 600.0


class DoctorFormat(StrEnum):
    """How findings are printed."""

    TEXT = "text"
    JSON = "json"


def doctor(
    config: ConfigOption = None,
    output: Annotated[DoctorFormat, typer.Option("--format", help="How to print findings.")] = DoctorFormat.TEXT,
) -> None:
    r"""Examine database, spool, clocks, disks and the running ruler; say what is wrong and what to do about it.

    Changes nothing, except that the embedded database is started while it looks if it does not run. Exits with 1 when
    something fails; warnings alone exit with 0.

    \b
    Example:  cxgauge doctor
              cxgauge doctor --format json
    """
    from ..metrics.store.health import Health
    from ._installation import load_config

    findings = list(_examine(load_config(config)))
    order = list(Health)
    worst = max((finding.health for finding in findings), key=order.index)
    if output is DoctorFormat.JSON:
        found = {"health": worst, "findings": [asdict(finding) for finding in findings]}
        typer.echo(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            typer.echo(f"{finding.health:<5} {finding.name:<{width}}  {finding.detail}")
            if finding.remedy:
                typer.echo(f"{'':<5} {'':<{width}}  → {finding.remedy}")
    if worst is Health.FAIL:
        raise typer.Exit(1)


def _examine(config: Config) -> Iterator[Finding]:
    from ..metrics.configuration.secret import SecretError
    from ..metrics.store.embedded import EmbeddedPostgresError
    from ..metrics.store.health import Finding, Health, examine_store
    from ._access import access, accounts
    from ._database import reach_database

    yield _flows(config)
    yield access(config)
    yield from _between_steps(config)
    points: dict[str, ResumePoint] = {}
    unjudged: Finding | None = None
    try:
        with reach_database(config) as database:
            yield from examine_store(database)
            points, unjudged = _stored(database)
            yield from accounts(config, database)
    except (EmbeddedPostgresError, SecretError) as error:
        remedy = "look into the embedded server's log, or set database.dsn to a server of your own"
        yield Finding("database", Health.FAIL, f"cannot be reached: {error}", remedy)
    if unjudged is not None:
        yield unjudged
    yield from _spool(config, points)
    yield _disk(config)
    yield _ruler(config)


def _flows(config: Config) -> Finding:
    from ..metrics.configuration.config import SpecificationError
    from ..metrics.specification.flow import load_flows
    from ..metrics.store.health import Finding, Health

    folder = config.flows.directory
    try:
        flows = load_flows(folder)
    except (SpecificationError, OSError) as error:
        return Finding("flows", Health.FAIL, str(error).splitlines()[0], f"run cxgauge check {folder}")
    if not flows:
        remedy = "write one, or run cxgauge init --template bill_inquiry"
        return Finding("flows", Health.WARN, f"{folder} holds no flow", remedy)
    return Finding("flows", Health.OK, f"{len(flows)} in {folder}: {', '.join(sorted(flows))}")


def _between_steps(config: Config) -> Iterator[Finding]:
    """Whether the checks between steps that flows declare are made."""
    from ..metrics.configuration.config import SpecificationError
    from ..metrics.specification.flow import load_flows
    from ..metrics.store.health import Finding, Health
    from ._unkeyed import REMEDY, unkeyed_checks

    try:
        flows = load_flows(config.flows.directory)
    except (SpecificationError, OSError):
        return  # said by the finding on flows
    missing = unkeyed_checks(config, flows)
    if missing is not None:
        yield Finding("between steps", Health.WARN, missing, REMEDY)


def _stored(database: DatabaseSettings) -> tuple[dict[str, ResumePoint], Finding | None]:
    """How far each spool source was written, and whether steps are judged; nothing if the store cannot say."""
    import psycopg

    from ..collectors.spool import ResumePoint
    from ..collectors.writer import SOURCE_PREFIX
    from ..metrics.store.store import Store, StoreSettings

    try:
        with Store(StoreSettings(database)) as store:
            points = {
                one.source.removeprefix(SOURCE_PREFIX): ResumePoint(one.position.segment, one.position.offset)
                for one in store.progress()
                if one.source.startswith(SOURCE_PREFIX)
            }
            return points, _judged(store)
    except psycopg.Error:
        return {}, None


def _judged(store: Store) -> Finding:
    """Whether slow-downs would be noticed: a young installation has too little history to say what is normal."""
    from ..alerts.coverage import judged_steps
    from ..metrics.store.health import Finding, Health

    steps = judged_steps(store)
    waiting = {f"{flow}.{step}": reason for (flow, step), reason in sorted(steps.items()) if reason}
    if not steps:
        remedy = "run cxgauge up and record something, or import past observations: cxgauge import --help"
        return Finding("judged", Health.WARN, "no step yet: there is no baseline", remedy)
    if not waiting:
        return Finding("judged", Health.OK, f"all {len(steps)} steps that have a baseline")
    name, reason = next(iter(waiting.items()))
    others = f", and {len(waiting) - 1} more" if len(waiting) > 1 else ""
    detail = f"not yet, {len(waiting)} of {len(steps)} steps: {name}{others}: {reason}"
    remedy = "wait, import past observations, or change detection.minimum_history_days"
    return Finding("judged", Health.WARN, detail, remedy)


def _spool(config: Config, points: dict[str, ResumePoint]) -> Iterator[Finding]:
    from ..collectors.spool import SpoolReader
    from ..metrics.store.health import Finding, Health, readable_bytes

    folder = config.spool.directory
    reader = SpoolReader(folder)
    backlog = reader.backlog(points)
    waiting = [one.oldest_at for one in backlog if one.unread_bytes and one.oldest_at is not None]
    lag = max(0.0, time.time() - min(waiting)) if waiting else 0.0
    unread = sum(one.unread_bytes for one in backlog)
    detail = f"{readable_bytes(unread)} wait in {folder}, the oldest for {lag:.0f} s, from {len(backlog)} sources"
    if lag <= _LAG_WARN_SECONDS:
        yield Finding("spool lag", Health.OK, detail)
    else:
        health = Health.FAIL if lag > _LAG_FAIL_SECONDS else Health.WARN
        yield Finding("spool lag", health, detail, "start cxgauge up; if it runs, its log says why it does not write")
    used = sum(path.stat().st_size for path in folder.rglob("*.segment") if path.is_file())
    share = used / config.spool.limit_bytes
    detail = f"{readable_bytes(used)} of {readable_bytes(config.spool.limit_bytes)} used"
    if share < 0.8:
        yield Finding("spool size", Health.OK, detail)
    else:
        health = Health.FAIL if share >= 1 else Health.WARN
        yield Finding(
            "spool size", health, detail, "at the limit new observations are refused; let the writer catch up"
        )
    aside = sorted((folder / "corrupt").iterdir()) if (folder / "corrupt").is_dir() else []
    if aside:
        detail = (
            f"{len(aside)} damaged or refused pieces are kept in {folder / 'corrupt'}, the first is {aside[0].name}"
        )
        remedy = "look for a failing disk and read the writer's log; then delete them"
        yield Finding("spool damage", Health.WARN, detail, remedy)


def _disk(config: Config) -> Finding:
    from ..metrics.store.health import Finding, Health, readable_bytes

    folder = config.spool.directory
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    detail = f"{readable_bytes(free)} free under {folder}"
    if not os.access(folder, os.W_OK):
        remedy = "let cxgauge run as an account that may write there"
        return Finding("disk", Health.FAIL, f"{folder} cannot be written by this account", remedy)
    if free < config.spool.minimum_free_bytes:
        remedy = f"make room: with less than {readable_bytes(config.spool.minimum_free_bytes)} observations are refused"
        return Finding("disk", Health.FAIL, detail, remedy)
    if free < 4 * config.spool.minimum_free_bytes:
        return Finding("disk", Health.WARN, detail, "make room before observations are refused")
    return Finding("disk", Health.OK, detail)


def _address(config: Config) -> str:
    """Where this machine reaches the ruler; its certificate speaks of another name."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(config.http.host, config.http.host)  # noqa: S104
    return f"{'http' if config.http.tls is None else 'https'}://{host}:{config.http.port}"


def _ruler(config: Config) -> Finding:
    """Ask the running ruler how many observations were dropped."""
    import httpx2
    from prometheus_client.parser import text_string_to_metric_families

    from ..metrics.names import Label, Metric
    from ..metrics.store.health import Finding, Health

    url = _address(config)
    try:
        text = httpx2.get(f"{url}/metrics", timeout=3.0, trust_env=False, verify=False).raise_for_status().text
    except httpx2.HTTPError as error:
        detail = f"does not answer at {url}: {error}"
        return Finding("ruler", Health.WARN, detail, "start it with cxgauge up (this host's figures are not collected)")
    dropped = {
        sample.labels.get(Label.REASON, ""): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == Metric.DROPPED_TOTAL and sample.value
    }
    if not dropped:
        return Finding("ruler", Health.OK, f"answers at {url}, nothing was dropped since it started")
    reasons = ", ".join(f"{value:,.0f} {reason}" for reason, value in sorted(dropped.items()))
    return Finding(
        "ruler", Health.WARN, f"answers at {url}; observations dropped: {reasons}", "see docs/reference/spool.md"
    )
