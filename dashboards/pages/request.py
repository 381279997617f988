"""What a page was asked for: language, span of time, comparison; and links that keep them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from ...metrics.configuration.config import Config
from ...metrics.translation import LANGUAGES
from ..figure_types import Comparison, Period
from ..periods import COMPARISONS, aligned, compared_period, parse_moment
from ..release_split import RELEASE, releases_of
from ..wording import Wording

__all__ = ["LANGUAGE_COOKIE", "LONGEST_SECONDS", "SPANS", "PageRequest", "read_request", "remember_language"]

LANGUAGE_COOKIE = "cxgauge_language"
SPANS = {"1h": 3_600, "6h": 21_600, "24h": 86_400, "7d": 604_800, "30d": 2_592_000}
_DEFAULT_SPAN = "24h"
_CLIPPED_SECONDS = 3 * 86_400
LONGEST_SECONDS = 400 * 86_400
_LIVE_SECONDS = {"1h": 10}
_LIVE_SECONDS_ELSE = 30
_OWN_LIMIT = 200
_YEAR_SECONDS = 365 * 86_400


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What was asked for.

    Attributes:
        path: The page.
        wording: Language and zone.
        period: From when to when, whole windows.
        span: Name of the span up to now (``24h``); ``None`` for a fixed period.
        compare: With what to compare, a name of ``periods.COMPARISONS``.
        now: Seconds since 1970 UTC.
        own: Parameters of this page alone, such as filters; links to the page itself keep them.
        live: Whether pages of a span up to now may bring themselves up to date: unless switched off.
        renewed: Whether this very page is one that does.
        table: Name of the table that is wanted as a file instead of the page; empty for the page.
        form: What kind of file: ``csv`` or ``json``.
        often: How often the page brings itself up to date, seconds; 0 for what its span asks for.
    """

    path: str
    wording: Wording
    period: Period
    span: str | None
    compare: str
    now: float
    own: Mapping[str, str] = field(default_factory=dict)
    live: bool = False
    renewed: bool = False
    table: str = ""
    form: str = "csv"
    often: int = 0

    @property
    def compared(self) -> Comparison | None:
        """The period of comparison; as long as what is over of a short period, so that equal hours are compared."""
        over = self.period
        if self.period.seconds <= _CLIPPED_SECONDS and self.now < self.period.end:
            over = aligned(self.period.start, max(self.now, self.period.start + 60), 60)
        return compared_period(over, self.compare, self.wording.zone)

    def link(self, path: str, **changes: str | None) -> str:
        """A link to ``path`` that keeps span and comparison; ``changes`` replace or (``None``) drop parameters."""
        parameters: dict[str, str | None] = {**self.own} if path == self.path else {}
        if self.span is None:
            parameters |= {"from": _iso(self.period.start), "to": _iso(self.period.end)}
        elif self.span != _DEFAULT_SPAN:
            parameters["span"] = self.span
        if self.compare != COMPARISONS[0]:
            parameters["compare"] = self.compare
        if self.span is not None and not self.live:
            parameters["live"] = "off"
        parameters |= changes
        query = urlencode({name: value for name, value in parameters.items() if value is not None})
        return f"{path}?{query}" if query else path

    @property
    def permalink(self) -> str:
        """This page with its period fixed and its language."""
        fixed = {"from": _iso(self.period.start), "to": _iso(self.period.end), "span": None, "live": None}
        return self.link(self.path, **fixed, lang=self.wording.language)

    @property
    def live_seconds(self) -> int:
        """How often the page brings itself up to date; 0 for never."""
        if not (self.live and self.renewed):
            return 0
        return self.often or _LIVE_SECONDS.get(self.span or "", _LIVE_SECONDS_ELSE)

    def beside(self, places: int) -> str:
        """This page, as many periods of the same length later (or, negative, earlier)."""
        shift = places * self.period.seconds
        return self.link(
            self.path,
            **{"from": _iso(self.period.start + shift), "to": _iso(self.period.end + shift)},
            span=None,
            live=None,
        )

    def local(self, moment: float) -> str:
        """A moment in the bank's zone as a form's field has it: ``2026-03-14T10:42``."""
        return f"{datetime.fromtimestamp(moment, self.wording.zone):%Y-%m-%dT%H:%M}"


def remember_language(response: Response, request: Request, asked: PageRequest) -> Response:
    """Keep the language for a year when the visitor has chosen it."""
    if "lang" in request.query_params:
        response.set_cookie(
            LANGUAGE_COOKIE, asked.wording.language, max_age=_YEAR_SECONDS, httponly=True, samesite="lax"
        )
    return response


def read_request(
    request: Request,
    config: Config,
    *,
    window_seconds: int,
    now: float,
    own: tuple[str, ...] = (),
    renewed: bool = False,
) -> PageRequest:
    """Read the query and the language cookie; ``config`` says what holds where they say nothing.

    ``own`` names the parameters of this page alone.

    Raises:
        ValueError: a parameter cannot be used; the message says how to write it.
    """
    query, zone = request.query_params, config.timezone
    language = query.get("lang") or request.cookies.get(LANGUAGE_COOKIE) or config.language
    if language not in LANGUAGES:
        language = config.language
    compare = query.get("compare", COMPARISONS[0])
    if compare.startswith(RELEASE):
        releases_of(compare)
    elif compare not in COMPARISONS:
        raise ValueError(f"compare={compare!r} is not known; write one of {', '.join(COMPARISONS)}")
    wording = Wording(language, zone)
    kept = {name: query[name][:_OWN_LIMIT] for name in own if query.get(name)}
    form = "json" if query.get("format") == "json" else "csv"
    table = query.get("table", "first") if query.get("format") in ("csv", "json") else ""
    if query.get("from") or query.get("to"):
        start = parse_moment(query.get("from") or "7d", zone, now)
        period = aligned(start, parse_moment(query.get("to") or "now", zone, now), window_seconds)
        if period.seconds > LONGEST_SECONDS:
            raise ValueError("the period is longer than 400 days; choose a shorter one")
        return PageRequest(request.url.path, wording, period, None, compare, now, kept, table=table, form=form)
    span = query.get("span", _DEFAULT_SPAN)
    if span not in SPANS:
        raise ValueError(f"span={span!r} is not known; write one of {', '.join(SPANS)}")
    length = SPANS[span]
    step = 3_600 if length >= 86_400 else max(60, window_seconds)
    end = float(-(-now // step) * step)
    live = query.get("live") != "off"
    return PageRequest(
        request.url.path, wording, Period(end - length, end), span, compare, now, kept, live, renewed, table, form
    )


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
