"""Asking for a report on a flow's page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.responses import Response
from starlette.routing import Route

from ...metrics.configuration.config import Config
from ...metrics.translation import LANGUAGES
from ..access.forms import FormError
from ..periods import aligned
from ..report.files import REPORT_TYPES
from ..scheduled.asked import AskedReports, Order, TooManyReportsError
from .deeds import Deed, Refuse, form_answer
from .request import LONGEST_SECONDS

__all__ = ["ReportForms"]


@dataclass(frozen=True, slots=True)
class ReportForms:
    """Takes orders for reports.

    Attributes:
        asked: Makes them.
        config: Gives the configuration in force.
        window_seconds: Length of windows.
        clock: Seconds since 1970 UTC.
        refuse: Makes the page that says why a form is refused.
    """

    asked: AskedReports
    config: Callable[[], Config]
    window_seconds: int
    clock: Callable[[], float]
    refuse: Refuse

    def routes(self) -> list[Route]:
        """The route of the form."""
        return [Route("/flows/{flow}/reports", form_answer(self._ask, self.refuse), methods=["POST"])]

    def _ask(self, deed: Deed) -> Response:
        zone, flow, scope = self.config().timezone, deed.place["flow"], deed.access.scope
        if not scope.shows_flow(flow):
            raise FormError(f"there is no flow {flow!r}", 404)
        start, end = deed.moment("from", zone), deed.moment("to", zone)
        if start is None or end is None:
            raise FormError("from or to is empty; say of which time the report is", 400)
        step = 3_600 if end - start > 3 * 86_400 else self.window_seconds
        period = aligned(start, min(end, -(-self.clock() // step) * step), step)
        if period.seconds > LONGEST_SECONDS:
            raise FormError("the period is longer than 400 days; choose a shorter one", 400)
        language = next((one for one in LANGUAGES if one == deed.field("language")), self.config().language)
        formats = [kind for kind in REPORT_TYPES if deed.field(f"as_{kind}")]
        if not formats:
            raise FormError("no format is chosen; choose one", 400)
        compare = deed.field("compare") or "previous"
        order = Order(flow, period, compare, formats, language, scope, deed.by, deed.access.address)
        try:
            run_id = self.asked.ask(order)
        except TooManyReportsError as error:
            raise FormError(str(error), 429) from None
        return deed.back_to(f"/reports/{run_id}")
