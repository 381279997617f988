"""What people do on a page: acknowledge, assign, comment on or accept an alert.

The access control has seen the request before: it comes from a page of this site, with the token of the visitor's
cookie. Here is asked whether the visitor may do this very thing, to an alert that it may see. Who has signed in acts
under that name; where nobody has to, people say who they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from ...alerts.actions import Actions
from ...alerts.evaluation_settings import EvaluationSettings
from ...alerts.installation import make_announcer
from ...alerts.lifecycle import UnknownAlertError
from ...metrics.configuration.config import Config
from ...metrics.specification.flow import FlowSpec
from ...metrics.store.named_queries import named_query
from ...metrics.store.store import Store
from ..access.forms import FormError, form_fields
from ..access.identity import Access, access_of
from ..access.permissions import ACTIONS

__all__ = ["NAME_COOKIE", "AlertActions"]

NAME_COOKIE = "cxgauge_name"
_TEXT_LIMIT = 1_000
_NAME_LIMIT = 64
_YEAR_SECONDS = 31_536_000


@dataclass(frozen=True, slots=True)
class AlertActions:
    """Does what forms of alerts ask for.

    Attributes:
        store: The whole store; what a visitor may not see of it is asked first.
        config: Gives the configuration in force.
        flows: Gives all flows in force.
        clock: Seconds since 1970 UTC.
    """

    store: Store
    config: Callable[[], Config]
    flows: Callable[[], Mapping[str, FlowSpec]]
    clock: Callable[[], float]

    def routes(self) -> list[Route]:
        """The route of the forms."""
        return [Route("/alerts/{alert}/actions", self._act, methods=["POST"])]

    async def _act(self, request: Request) -> Response:
        return await run_in_threadpool(
            self._perform, access_of(request), form_fields(request), request.path_params["alert"]
        )

    def _perform(self, access: Access, fields: Mapping[str, str], alert: str) -> Response:
        """Do what the form asks and send the visitor back to the alert."""
        try:
            by = self._who(access, fields, alert)
            self._do(fields["action"], alert, by, fields, access.address)
        except FormError as error:
            return PlainTextResponse(f"{error}\n", error.status)
        except UnknownAlertError as error:
            return PlainTextResponse(f"{error}\n", 404)
        response = RedirectResponse(f"/alerts/{alert}", 303)
        if not access.name:
            response.set_cookie(NAME_COOKIE, by, max_age=_YEAR_SECONDS, httponly=True, samesite="strict")
        return response

    def _who(self, access: Access, fields: Mapping[str, str], alert: str) -> str:
        """The name to act under, if the visitor may do this to an alert that it may see."""
        action = fields.get("action", "")
        if action not in ACTIONS:
            raise FormError(f"action={action!r} is not known; write one of {', '.join(ACTIONS)}", 400)
        if not access.may(ACTIONS[action]):
            raise FormError(f"your role does not allow this: {action}", 403)
        if not self._shows(access, alert):
            raise FormError(f"there is no alert {alert!r}", 404)
        by = (access.name or fields.get("by", ""))[:_NAME_LIMIT]
        if not by:
            raise FormError("by='' is empty; say who you are", 400)
        return by

    def _shows(self, access: Access, alert: str) -> bool:
        with self.store.restricted(access.scope).connection() as connection:
            return connection.execute(named_query("report.alert"), {"alert_id": alert}).fetchone() is not None

    def _do(self, action: str, alert: str, by: str, fields: Mapping[str, str], address: str) -> None:
        config, flows = self.config(), self.flows()
        settings, announcer = EvaluationSettings.of(config).lifecycle, make_announcer(config, flows)
        actions = Actions(self.store, flows, settings, announcer, self.clock, address)
        note, assignee = fields.get("note", "")[:_TEXT_LIMIT], fields.get("to", "")[:_NAME_LIMIT]
        match action:
            case "acknowledge":
                actions.acknowledge(alert, by, note)
            case "assign" if assignee:
                actions.assign(alert, assignee, by)
            case "comment" if note:
                actions.comment(alert, note, by)
            case "accept":
                actions.accept(alert, by, note)
            case _:
                raise FormError(f"action={action!r} lacks what it needs; go back and fill it in", 400)
