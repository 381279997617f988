"""The two datasources that the dashboards ask: TimescaleDB as the reader role, and Prometheus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .panels import POSTGRES, PROMETHEUS

__all__ = ["DatabaseAddress", "datasources"]


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where Grafana finds the database; ``address`` is ``host:port``, ``sslmode`` as libpq has it.

    ``user`` is a login in role ``cxgauge_reader``; the password is never part of what is printed or compared.
    """

    address: str
    database: str = "cxgauge"
    user: str = "grafana"
    sslmode: str = "require"


def datasources(database: DatabaseAddress | None, prometheus_url: str | None) -> list[dict[str, Any]]:
    """The datasources whose address is known, as Grafana's API and its provisioning files want them."""
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
                "jsonData": {"timeInterval": "15s", "httpMethod": "POST"},
            }
        )
    return found
