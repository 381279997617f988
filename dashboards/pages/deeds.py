"""What all forms share that change something: who does it, what was filled in, and what is answered.

The access control has seen the request before: it comes from a page of this site, with the token of the visitor's
cookie, or from a program with a token of its own. Who has signed in acts under that name; where nobody has to, people
say who they are, and are not asked again for a year.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from ...metrics.configuration.config import Config
from ...metrics.specification.flow import FlowSpec
from ...metrics.store.store import Store
from ..access.forms import FormError, form_fields
from ..access.identity import Access, access_of

__all__ = ["NAME_COOKIE", "Deed", "Forms", "Refuse", "form_answer"]

NAME_COOKIE = "cxgauge_name"
_TEXT_LIMIT = 1_000
_NAME_LIMIT = 64
_YEAR_SECONDS = 31_536_000
Refuse = Callable[[Request, int, str], Response]
"""Makes the page that says why a form is refused: request, status, reason."""


@dataclass(frozen=True, slots=True)
class Deed:
    """A form that somebody has sent.

    Attributes:
        access: Who sent it.
        fields: What was filled in.
        place: Parameters of the path.
    """

    access: Access
    fields: Mapping[str, str]
    place: Mapping[str, str]

    @property
    def by(self) -> str:
        """The name to act under.

        Raises:
            FormError: nobody has signed in, and the form does not say who it is.
        """
        name = (self.access.name or self.fields.get("by", ""))[:_NAME_LIMIT]
        if not name:
            raise FormError("by='' is empty; say who you are", 400)
        return name

    def field(self, name: str, limit: int = _TEXT_LIMIT) -> str:
        """A field's text; empty without the field."""
        return self.fields.get(name, "")[:limit]

    def needed(self, name: str) -> str:
        """A field that must be filled in.

        Raises:
            FormError: it is not.
        """
        if not (given := self.field(name)):
            raise FormError(f"{name}='' is empty; go back and fill it in", 400)
        return given

    def moment(self, name: str, zone: tzinfo) -> float | None:
        """A local time as browsers send it, ``2026-03-14T10:42``; ``None`` when it was left out.

        Raises:
            FormError: it is none.
        """
        text = self.field(name, 40)
        if not text:
            return None
        try:
            found = datetime.fromisoformat(text)
            return (found if found.tzinfo is not None else found.replace(tzinfo=zone)).timestamp()
        except (ValueError, OverflowError):
            raise FormError(f"{name}={text!r} is not a time; write e.g. 2026-03-14T10:42", 400) from None

    def back_to(self, path: str) -> Response:
        """Send the visitor to a page; one who had to say a name need not say it again."""
        response = RedirectResponse(path, 303)
        if not self.access.name:
            response.set_cookie(NAME_COOKIE, self.by, max_age=_YEAR_SECONDS, httponly=True, samesite="strict")
        return response


@dataclass(frozen=True, slots=True)
class Forms:
    """What those who do what forms ask for have at hand.

    Attributes:
        store: The whole store; what a visitor may not see of it is asked first.
        config: Gives the configuration in force.
        flows: Gives all flows in force.
        clock: Seconds since 1970 UTC.
        refuse: Makes the page that says why a form is refused.
    """

    store: Store
    config: Callable[[], Config]
    flows: Callable[[], Mapping[str, FlowSpec]]
    clock: Callable[[], float]
    refuse: Refuse


def form_answer(perform: Callable[[Deed], Response], refuse: Refuse) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that does what a form asks for, on a thread; what cannot be is answered with the reason."""

    def answer(request: Request) -> Response:
        deed = Deed(access_of(request), form_fields(request), request.path_params)
        try:
            return perform(deed)
        except FormError as error:
            return _refused(request, error.status, str(error), refuse)
        except ValueError as error:
            return _refused(request, 400, str(error), refuse)

    async def answered(request: Request) -> Response:
        return await run_in_threadpool(answer, request)

    return answered


def _refused(request: Request, status: int, reason: str, refuse: Refuse) -> Response:
    if "text/html" not in request.headers.get("accept", ""):
        return PlainTextResponse(f"{reason}\n", status)
    return refuse(request, status, reason)
