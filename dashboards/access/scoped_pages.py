"""One set of pages a scope: each sees a store, flows and health that show what the scope shows, and nothing else."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ...metrics.specification.flow import FlowSpec
from ...metrics.store.scope import EVERYTHING, DataScope
from .identity import access_of

__all__ = ["ScopedPages", "visible_flows"]

_KEPT = 64


def visible_flows(flows: Mapping[str, FlowSpec], scope: DataScope) -> Mapping[str, FlowSpec]:
    """The flows that the scope shows, their dimensions without the values that it hides."""
    if scope.is_everything:
        return flows
    limits = dict(scope.dimensions)
    return {
        name: flow if not limits else _without_hidden_values(flow, limits)
        for name, flow in flows.items()
        if scope.shows_flow(name)
    }


def _without_hidden_values(flow: FlowSpec, limits: Mapping[str, frozenset[str]]) -> FlowSpec:
    dimensions = tuple(
        one
        if one.name not in limits or one.values is None
        else one.model_copy(update={"values": tuple(value for value in one.values if value in limits[one.name])})
        for one in flow.dimensions
    )
    return flow.model_copy(update={"dimensions": dimensions})


class ScopedPages:
    """Routes that answer each visitor from the pages of its scope.

    Args:
        make: Makes the routes of a scope, always the same ones in the same order.
    """

    def __init__(self, make: Callable[[DataScope], list[Route]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._routes: OrderedDict[DataScope, list[Route]] = OrderedDict()

    def routes(self) -> list[Route]:
        """The routes, for all visitors."""
        return [
            Route(route.path, _Scoped(self, number), methods=sorted(route.methods or ()))
            for number, route in enumerate(self.of(EVERYTHING))
        ]

    def of(self, scope: DataScope) -> list[Route]:
        """The routes of one scope; those last used are kept."""
        with self._lock:
            routes = self._routes.pop(scope, None) or self._make(scope)
            self._routes[scope] = routes
            while len(self._routes) > _KEPT:
                self._routes.popitem(last=False)
            return routes


class _Scoped:
    """Answers one route from the pages of whoever asks."""

    def __init__(self, pages: ScopedPages, number: int) -> None:
        self._pages, self._number = pages, number

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app: ASGIApp = self._pages.of(access_of(Request(scope)).scope)[self._number].app
        await app(scope, receive, send)
