"""What people do on a page: acknowledge, assign, comment on or accept an alert.

The access control has seen the request before. Here is asked whether the visitor may do this very thing, to an alert
that it may see.
"""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from ...alerts.actions import Actions
from ...alerts.evaluation_settings import EvaluationSettings
from ...alerts.installation import make_announcer
from ...alerts.lifecycle import UnknownAlertError
from ...metrics.store.named_queries import named_query
from ..access.forms import FormError
from ..access.permissions import ACTIONS
from .deeds import Deed, Forms, form_answer

__all__ = ["AlertActions"]

_NAME_LIMIT = 64


class AlertActions(Forms):
    """Does what forms of alerts ask for."""

    __slots__ = ()

    def routes(self) -> list[Route]:
        """The route of the forms."""
        return [Route("/alerts/{alert}/actions", form_answer(self._perform, self.refuse), methods=["POST"])]

    def _perform(self, deed: Deed) -> Response:
        """Do what the form asks and send the visitor back to the alert."""
        alert, action = deed.place["alert"], deed.field("action")
        if action not in ACTIONS:
            raise FormError(f"action={action!r} is not known; write one of {', '.join(ACTIONS)}", 400)
        if not deed.access.may(ACTIONS[action]):
            raise FormError(f"your role does not allow this: {action}", 403)
        if not self._shows(deed, alert):
            raise FormError(f"there is no alert {alert!r}", 404)
        try:
            self._do(deed, action, alert)
        except UnknownAlertError as error:
            raise FormError(str(error), 404) from None
        return deed.back_to(f"/alerts/{alert}")

    def _shows(self, deed: Deed, alert: str) -> bool:
        with self.store.restricted(deed.access.scope).connection() as connection:
            return connection.execute(named_query("report.alert"), {"alert_id": alert}).fetchone() is not None

    def _do(self, deed: Deed, action: str, alert: str) -> None:
        config, flows, by = self.config(), self.flows(), deed.by
        settings, announcer = EvaluationSettings.of(config).lifecycle, make_announcer(config, flows)
        actions = Actions(self.store, flows, settings, announcer, self.clock, deed.access.address)
        note, assignee = deed.field("note"), deed.field("to", _NAME_LIMIT)
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
