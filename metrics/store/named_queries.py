"""Named queries: SQL lives in ``metrics/store/sql/*.sql``, each query under a line ``-- name: the_name``."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import LiteralString

__all__ = ["named_query", "sql_file"]

_MARK = "-- name:"


def sql_file(path: str) -> str:
    """The text of a file in ``metrics/store/sql``, such as ``schema.sql``."""
    return files(__package__).joinpath("sql", path).read_text(encoding="utf-8")


def named_query(name: str) -> LiteralString:
    """The query ``file.name``, for example ``named_query("write.lock_resume_point")``.

    Queries come from files that ship with the package, so they are literal to psycopg: nothing a user gave is in them.

    Raises:
        KeyError: there is no such query.
    """
    file, _, query = name.partition(".")
    return _queries(file)[query]


@cache
def _queries(file: str) -> dict[str, str]:
    queries: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in sql_file(f"{file}.sql").splitlines():
        if line.startswith(_MARK):
            lines = queries.setdefault(line.removeprefix(_MARK).strip(), [])
        else:
            lines.append(line)
    return {name: "\n".join(body).strip() for name, body in queries.items()}
