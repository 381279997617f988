"""What is wrong with scheduled reports, in words."""

from __future__ import annotations

from ...metrics.store.reports import ReportTrouble, read_troubles
from ...metrics.store.store import Store
from ..wording import Wording
from .delivery import FOLDER

__all__ = ["report_troubles"]

_SINCE_SECONDS = 7 * 86_400.0


def report_troubles(store: Store, wording: Wording, now: float) -> list[str]:
    """Reports and deliveries of the last seven days that failed or are tried again, a line each."""
    with store.connection() as connection:
        return [_line(one, wording) for one in read_troubles(connection, now - _SINCE_SECONDS)]


def _line(trouble: ReportTrouble, wording: Wording) -> str:
    text = wording.translator.text
    if trouble.target is None:
        if trouble.state == "failed":
            return text("Report {report} was not made: {error}", report=trouble.run_id, error=trouble.error)
        return text("Report {report} is tried again: {error}", report=trouble.run_id, error=trouble.error)
    target = text("folder") if trouble.target == FOLDER else trouble.target
    values = {"report": trouble.run_id, "target": target, "error": trouble.error}
    if trouble.state == "failed":
        return text("Report {report} was not delivered to {target}: {error}", **values)
    return text("Report {report} is sent to {target} again later: {error}", **values)
