"""Tables of pages as files: CSV for people and spreadsheets, JSON for programs; the same figures to the last digit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from starlette.responses import Response

from .request import PageRequest
from .table import Cell, Column, Row, Table, table_csv

__all__ = ["table_json", "table_response"]

_FILE_NAME_LIMIT = 150


def table_response(table: Table, asked: PageRequest) -> Response:
    """The table as the file that was asked for."""
    page = "-".join(part for part in asked.path.split("/") if part) or "overview"
    day = f"{datetime.fromtimestamp(asked.period.start, asked.wording.zone):%Y-%m-%d}"
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", f"{page}-{table.name}-{day}")[-_FILE_NAME_LIMIT:]
    if asked.form == "json":
        return Response(table_json(table, asked), media_type="application/json")
    headers = {"content-disposition": f'attachment; filename="{name}.csv"'}
    return Response(table_csv(table, asked.wording), media_type="text/csv; charset=utf-8", headers=headers)


def table_json(table: Table, asked: PageRequest) -> str:
    """The table as JSON: what its columns are, and rows of values in their order; ``null`` where there is none.

    Durations are seconds, ratios 0-1, times have their zone. An interval is two more columns.
    """
    kept = [number for number, column in enumerate(table.columns) if not column.picture]
    document: dict[str, Any] = {
        "table": table.name,
        "title": table.title,
        "language": asked.wording.language,
        "from": _iso(asked.period.start),
        "to": _iso(asked.period.end),
        "made_at": _iso(asked.now // 1),
        "columns": [each for number in kept for each in _columns(table.columns[number])],
        "rows": [_values(table, kept, row) for row in table.rows],
    }
    if table.foot is not None:
        document["total"] = _values(table, kept, table.foot)
    return json.dumps(document, ensure_ascii=False) + "\n"


def _columns(column: Column) -> Iterator[dict[str, str]]:
    parts = ("value", "low", "high") if column.interval else ("value",)
    for part in parts:
        yield {"heading": column.heading, "unit": column.unit, "part": part}


def _values(table: Table, kept: list[int], row: Row) -> list[Any]:
    return [value for number in kept for value in _of_cell(table.columns[number], row.cells[number])]


def _of_cell(column: Column, cell: Cell) -> Iterator[Any]:
    yield _finite(cell.value)
    if column.interval:
        yield _finite(cell.low)
        yield _finite(cell.high)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
