"""The audit: who did what, when and from where. The table only grows; the database refuses anything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from .connection import Connection
from .named_queries import named_query

__all__ = ["COMMAND_LINE", "AuditFilter", "AuditRow", "audit", "audit_actions", "read_audit"]

COMMAND_LINE = "command line"
"""The address of what was done by a command on the machine itself."""

_TEXT_LIMIT = 200


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One deed; ``at`` in seconds since 1970 UTC."""

    id: int
    at: float
    actor: str
    action: str
    subject: str
    details: dict[str, Any]
    address: str


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which deeds: within [start, end), by one person, of one kind, whose subject contains a text, before an id."""

    start: float
    end: float
    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    before: int | None = None


def audit(
    connection: Connection, actor: str, action: str, subject: str, details: Mapping[str, Any], address: str = ""
) -> None:
    """Note what a person did, in the caller's transaction; names that came from outside are cut and cleaned."""
    values = {
        "actor": _clean(actor),
        "action": action,
        "subject": _clean(subject),
        "details": Jsonb(dict(details)),
        "address": _clean(address),
    }
    connection.execute(named_query("accounts.audit"), values)


def read_audit(connection: Connection, wanted: AuditFilter, limit: int) -> list[AuditRow]:
    """The newest deeds that fit, newest first."""
    values = {
        "start": wanted.start,
        "end": wanted.end,
        "actor": wanted.actor,
        "action": wanted.action,
        "subject": wanted.subject,
        "before": wanted.before,
        "limit": limit,
    }
    return [AuditRow(*row) for row in connection.execute(named_query("accounts.audit_rows"), values).fetchall()]


def audit_actions(connection: Connection) -> list[str]:
    """The kinds of deeds there are."""
    return [row[0] for row in connection.execute(named_query("accounts.audit_actions")).fetchall()]


def _clean(text: str) -> str:
    """Text that fits on a line, and that the database takes."""
    return "".join(character if character.isprintable() else "�" for character in text[:_TEXT_LIMIT])
