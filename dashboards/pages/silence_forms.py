"""What people do about messages and learning: silence, maintenance, incidents, and their early end."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from pydantic import ValidationError
from starlette.responses import Response
from starlette.routing import Route

from ...alerts.actions import Actions, UnknownSilenceError
from ...alerts.evaluation_settings import EvaluationSettings
from ...alerts.installation import make_announcer
from ...alerts.records import find_silence
from ...metrics.change_event import ChangeEvent
from ...metrics.store.audit import audit
from ...metrics.store.events import end_event, find_event, put_events
from ..access.forms import FormError
from .deeds import Deed, Forms, form_answer
from .silences import INCIDENT_KINDS, may_end_event, may_end_silence

__all__ = ["SilenceForms"]

_HOUR_SECONDS = 3_600.0
_TITLE_LIMIT = 256


@dataclass(frozen=True, slots=True)
class _Place:
    """Where: ``None`` stands for all."""

    flow: str | None
    step: str | None
    dimensions: tuple[tuple[str, str], ...]


class SilenceForms(Forms):
    """Does what the forms ask for."""

    __slots__ = ()

    def routes(self) -> list[Route]:
        """The routes of the forms."""
        return [
            Route("/silences", form_answer(self._add, self.refuse), methods=["POST"]),
            Route("/silences/{silence}/end", form_answer(self._end, self.refuse), methods=["POST"]),
            Route("/incidents/{incident}/end", form_answer(self._end_incident, self.refuse), methods=["POST"]),
        ]

    def _add(self, deed: Deed) -> Response:
        kind, place, by = deed.field("kind"), self._place(deed), deed.by
        why = deed.needed("why")
        now, zone = self.clock(), self.config().timezone
        start = deed.moment("from", zone)
        start = now if start is None else start
        end = deed.moment("to", zone)
        if end is not None and end <= max(start, now - _HOUR_SECONDS):
            raise FormError("to is not after from, or is over; write a later time", 400)
        match kind:
            case "silence" | "maintenance":
                if kind == "maintenance" and deed.access.scope.dimensions:
                    raise FormError("you see a part of the customers; maintenance is for all of them", 403)
                end = start + _HOUR_SECONDS if end is None else end
                self._actions(deed).silence(
                    end - start, by, why, flow=place.flow or "*", step=place.step or "*", dimensions=place.dimensions,
                    starts_at=start, maintenance=kind == "maintenance",
                )  # fmt: skip
            case "incident":
                self._add_incident(deed, place, start, end, why, by)
            case _:
                raise FormError(f"kind={kind!r} is not known; write silence, maintenance or incident", 400)
        return deed.back_to("/silences")

    def _add_incident(self, deed: Deed, place: _Place, start: float, end: float | None, title: str, by: str) -> None:
        if place.dimensions:
            raise FormError("an incident is of all customers; leave the customers out", 403)
        try:
            event = ChangeEvent(
                kind="incident", title=title[:_TITLE_LIMIT], at=datetime.fromtimestamp(start, UTC), flow=place.flow,
                ended_at=None if end is None else datetime.fromtimestamp(end, UTC), step=place.step,
                details={"by": by}, id=uuid.uuid4().hex[:12],
            )  # fmt: skip
        except ValidationError as error:
            raise FormError(f"incident: {error.errors()[0]['msg']}", 400) from None
        with self.store.connection() as connection, connection.transaction():
            put_events(connection, [event])
            details = {"title": event.title, "flow": place.flow, "step": place.step, "from": event.at.isoformat()}  # type: ignore[union-attr]
            details |= {"to": event.ended_at.isoformat()} if event.ended_at else {}
            audit(connection, by, "incident", event.id or "", details, deed.access.address)

    def _end(self, deed: Deed) -> Response:
        identity = deed.place["silence"]
        with self.store.connection() as connection:
            silence = find_silence(connection, identity)
        if silence is None or silence.id != identity or not may_end_silence(silence, deed.access.scope):
            raise FormError(f"there is no silence {identity!r} that you may end", 404)
        try:
            self._actions(deed).end_silence(identity, deed.by)
        except UnknownSilenceError as error:
            raise FormError(str(error), 404) from None
        return deed.back_to("/silences")

    def _end_incident(self, deed: Deed) -> Response:
        identity, by = deed.place["incident"], deed.by
        with self.store.connection() as connection, connection.transaction():
            event = find_event(connection, identity, INCIDENT_KINDS)
            if event is None or not may_end_event(event, deed.access.scope):
                raise FormError(f"there is no incident {identity!r} that you may end", 404)
            if not end_event(connection, identity, INCIDENT_KINDS, self.clock()):
                raise FormError(f"incident {identity!r} is over already", 404)
            audit(connection, by, "incident ended", identity, {"title": event.title}, deed.access.address)
        return deed.back_to("/silences")

    def _place(self, deed: Deed) -> _Place:
        """Where it is, if the visitor may see all of it."""
        scope, flows = deed.access.scope, self.flows()
        name, _, step = deed.field("where").partition("/")
        flow = flows.get(name) if name else None
        if name and (flow is None or not scope.shows_flow(name)):
            raise FormError(f"there is no flow {name!r}", 404)
        if step and (flow is None or all(one.name != step for one in flow.steps)):
            raise FormError(f"there is no step {step!r} in flow {name!r}", 404)
        if not name and scope.flows is not None:
            raise FormError("you see some flows; choose one of them", 403)
        pairs = tuple(sorted(dict(parse_qsl(deed.field("of"), max_num_fields=10)).items()))
        declared = {one.name for each in flows.values() for one in each.dimensions}
        for dimension, _ in pairs:
            if dimension not in declared:
                raise FormError(f"dimension {dimension!r} is not declared", 400)
        for dimension, values in scope.dimensions:
            if dict(pairs).get(dimension) not in values:
                allowed = ", ".join(f"{dimension}={value}" for value in sorted(values))
                raise FormError(f"you see a part of the customers; choose one of {allowed}", 403)
        return _Place(name or None, step or None, pairs)

    def _actions(self, deed: Deed) -> Actions:
        config, flows = self.config(), self.flows()
        settings, announcer = EvaluationSettings.of(config).lifecycle, make_announcer(config, flows)
        return Actions(self.store, flows, settings, announcer, self.clock, deed.access.address)
