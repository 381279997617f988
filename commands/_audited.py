"""What commands share that change who may do what: names checked, and every change in the audit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..metrics.configuration.config import Config
    from ..metrics.store.connection import Connection
    from ..metrics.store.scope import DataScope

__all__ = ["changing", "checked_scope"]


def checked_scope(settings: Config, flows: list[str] | None, dimensions: list[str] | None) -> DataScope:
    """Which data; names are checked against the flows, so that a typing error hides nothing by chance."""
    from ..metrics.configuration.config import SpecificationError
    from ..metrics.specification.flow import load_flows
    from ..metrics.store.scope import DataScope
    from ._installation import fail

    try:
        known = load_flows(settings.flows.directory) if flows or dimensions else {}
    except SpecificationError as error:
        raise fail(str(error)) from None
    for flow in flows or ():
        if flow not in known:
            raise fail(
                f"--flow {flow} is not a flow of {settings.flows.directory}; known are {', '.join(sorted(known))}"
            )
    limits: dict[str, set[str]] = {}
    names = sorted({one.name for flow in known.values() for one in flow.dimensions})
    for dimension in dimensions or ():
        name, _, value = dimension.partition("=")
        if name not in names or not value:
            raise fail(f"--dimension {dimension} is not NAME=VALUE with a dimension of the flows: {', '.join(names)}")
        limits.setdefault(name, set()).add(value)
    return DataScope.of(flows or None, limits)


@contextmanager
def changing(settings: Config) -> Iterator[Connection]:
    """A transaction."""
    from ._installation import open_store

    with open_store(settings) as store, store.connection() as connection, connection.transaction():
        yield connection
