"""The two datasources that the dashboards ask: TimescaleDB as the reader role, and Prometheus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .panels import POSTGRES, PROMETHEUS

__all__ = ["TRACE_ID", "DatabaseAddress", "datasources"]

TRACE_ID = "TRACE_ID"
"""What stands for a trace's id in the address of a trace."""


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where Grafana finds the database; ``address`` is ``host:port``, ``sslmode`` as libpq has it.

    ``user`` is a login in role ``cxgauge_reader``; the password is never part of what is printed or compared.
    """

    address: str
    database: str = "cxgauge"
    user: str = "grafana"
    sslmode: str = "require"


def datasources(
    database: DatabaseAddress | None, prometheus_url: str | None, trace_url: str | None = None
) -> list[dict[str, Any]]:
    """The datasources whose address is known, as Grafana's API wants them.

    ``trace_url`` is where a trace is shown, with ``TRACE_ID`` in the place of its id: exemplars link there.
    """
    found: list[dict[str, Any]] = []
    if database is not None:
        found.append(
            {
                "name": POSTGRES,
                "uid": POSTGRES,
                "type": "postgres",
                "access": "proxy",
                "url": database.address,
                "user": database.user,
                "database": database.database,  # before Grafana 10; newer ones read jsonData
                "jsonData": {
                    "database": database.database,
                    "sslmode": database.sslmode,
                    "postgresVersion": 1500,
                    "timescaledb": True,
                },
            }
        )
    if prometheus_url is not None:
        found.append(
            {
                "name": PROMETHEUS,
                "uid": PROMETHEUS,
                "type": "prometheus",
                "access": "proxy",
                "url": prometheus_url,
                "jsonData": {"timeInterval": "15s", "httpMethod": "POST", **_trace_links(trace_url)},
            }
        )
    return found


def _trace_links(trace_url: str | None) -> dict[str, Any]:
    if trace_url is None:
        return {}
    link = {"name": "trace_id", "url": trace_url.replace(TRACE_ID, "${__value.raw}")}
    return {"exemplarTraceIdDestinations": [link]}
