"""What people do with the improvement ledger on its pages: plan, change, say that it is in effect, give up."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.responses import Response
from starlette.routing import Route

from ...metrics.store.scope import DataScope
from ..access.forms import FormError
from ..improvements import (
    Actor,
    add_improvement,
    change_improvement,
    close_improvement,
    finish_improvement,
    read_improvement,
)
from .deeds import Deed, Forms, form_answer

__all__ = ["ImprovementForms"]

_DIMENSIONS_MOST = 10
_MINUTE_SECONDS = 60.0  # browsers send whole minutes


class ImprovementForms(Forms):
    """Does what forms of the ledger ask for."""

    __slots__ = ()

    def routes(self) -> list[Route]:
        """The routes of the forms."""
        return [
            Route("/improvements", form_answer(self._plan, self.refuse), methods=["POST"]),
            Route("/improvements/{improvement}", form_answer(self._act, self.refuse), methods=["POST"]),
        ]

    def _plan(self, deed: Deed) -> Response:
        scope = deed.access.scope
        flow = self.flows().get(deed.field("flow"))
        if flow is None or not scope.shows_flow(flow.name):
            raise FormError(f"there is no flow {deed.field('flow')!r}", 404)
        dimensions = dict(parse_qsl(deed.field("of"), max_num_fields=_DIMENSIONS_MOST))
        _refuse_others(scope, dimensions)
        entry = add_improvement(
            self.store, flow, deed.needed("step"), deed.needed("measure"), deed.needed("action"),
            owner=deed.field("owner", 200) or flow.owner, due=deed.field("due", 10), finding=deed.field("finding", 200),
            note=deed.field("note"), dimensions=dimensions, now=self.clock(), by=Actor(deed.by, deed.access.address),
        )  # fmt: skip
        return deed.back_to(f"/improvements/{entry.id}")

    def _act(self, deed: Deed) -> Response:
        identity, action, scope = deed.place["improvement"], deed.field("action"), deed.access.scope
        found = read_improvement(self.store.restricted(scope), identity)
        if found is None:
            raise FormError(f"there is no improvement {identity!r}", 404)
        _refuse_others(scope, found[0].dimensions)
        by, now = Actor(deed.by, deed.access.address), self.clock()
        match action:
            case "change":
                shown = ("owner", "due") if scope.dimensions else ("owner", "due", "note")
                changed = {name: deed.field(name) for name in shown if name in deed.fields}
                change_improvement(self.store, identity, by=by, now=now, action=deed.needed("what"), **changed)
            case "done":
                at = deed.moment("at", self.config().timezone)
                at = now if at is None or now < at < now + _MINUTE_SECONDS else at
                finish_improvement(self.store, identity, at, by=by, now=now)
            case "drop" | "reopen":
                close_improvement(self.store, identity, by=by, now=now, reopen=action == "reopen")
            case _:
                raise FormError(f"action={action!r} is not known; write change, done, drop or reopen", 400)
        return deed.back_to(f"/improvements/{identity}")


def _refuse_others(scope: DataScope, dimensions: Mapping[str, str]) -> None:
    """Who sees some customers only writes of those only: an entry for everybody is judged by all of them."""
    for name, values in scope.dimensions:
        if dimensions.get(name) not in values:
            allowed = ", ".join(f"{name}={value}" for value in sorted(values))
            raise FormError(f"you see a part of the customers; an entry of yours is for one of {allowed}", 403)
