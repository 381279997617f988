"""What came late, twice or not at all, in words."""

from __future__ import annotations

from collections.abc import Mapping

from ..metrics.quality import Effect, Reason
from .figure_types import FlowFigures, StepDataQuality
from .wording import Wording

__all__ = ["beside", "effect_words", "quality_headings", "quality_numbers", "reason_words", "unplaced_line"]


def reason_words(w: Wording) -> dict[Reason, str]:
    """What each reason is called."""
    text = w.translator.text
    return {
        Reason.LATE: text("came after their window was judged"),
        Reason.TIME_CORRECTED: text("impossible time: taken at the time of receipt"),
        Reason.SERIES_LIMIT: text("dimension values beyond the limit: counted as “other”"),
        Reason.DUPLICATE: text("sent twice, taken once"),
        Reason.INVALID: text("cannot be used: wrong ids, times or fields"),
        Reason.NOT_ALLOWED: text("the sender's token is not for this flow"),
        Reason.NOT_TAKEN: text("no room in the spool, or a disk error"),
        Reason.REQUEST_NOT_TAKEN: text("requests: too much at once"),
        Reason.REQUEST_REFUSED: text("requests: too large, unreadable, or without a good token"),
        Reason.REJECTED: text("rows of an import that cannot be used"),
        Reason.REFUSED: text("the database refuses them; kept in files beside the spool"),
        Reason.CORRUPT: text("stretches of the spool that cannot be read"),
        Reason.MISSING: text("segments of the spool that are gone"),
        Reason.TORN: text("stretches of the spool that were never finished"),
        Reason.BUFFER_FULL: text("recorder: memory was full"),
        Reason.SPOOL_FULL: text("recorder: the spool was full"),
        Reason.SPOOL_ERROR: text("recorder: the disk failed"),
        Reason.UNKNOWN_FLOW: text("recorder: no such flow is declared"),
        Reason.UNKNOWN_STEP: text("recorder: no such step is declared"),
        Reason.NO_FLOW: text("recorder: a step outside any flow"),
        Reason.INTERNAL_ERROR: text("recorder: an error of its own"),
        Reason.OTHER: text("another reason"),
    }


def effect_words(w: Wording) -> dict[Effect, str]:
    """What became of them."""
    text = w.translator.text
    return {
        Effect.KEPT: text("in the figures"),
        Effect.LEFT_OUT: text("rightly left out"),
        Effect.SENT_BACK: text("in the figures if sent again"),
        Effect.LOST: text("missing"),
    }


def quality_headings(w: Wording) -> tuple[str, ...]:
    """Headings of :func:`quality_numbers`."""
    text = w.translator.text
    return (
        text("Late"), text("Time corrected"), text("Merged as “other”"), text("Duplicates"), text("Sent back"),
        text("Lost"), text("Checks unknown"), text("Checks skipped"),
    )  # fmt: skip


def quality_numbers(one: StepDataQuality) -> tuple[int, ...]:
    """Amounts of a step, in the order of the headings."""
    return (
        one.late, one.corrected, one.merged, one.duplicates, one.sent_back, one.lost, one.checks_unknown,
        one.checks_skipped,
    )  # fmt: skip


def beside(figures: FlowFigures, step: str | None, w: Wording) -> str:
    """What belongs beside a number of observations: how many were late, sent back or lost; empty for none.

    Args:
        figures: The flow's.
        step: The step; ``None`` for the flow as a whole.
        w: Language.
    """
    text = w.translator.text
    mine = [one for one in figures.quality.steps if step is None or one.step == step]
    late, sent_back, lost = (sum(getattr(one, name) for one in mine) for name in ("late", "sent_back", "lost"))
    said = [
        *([text("{count} late", count=w.count(late))] if late else []),
        *([text("{count} sent back", count=w.count(sent_back))] if sent_back else []),
        *([text("{count} lost", count=w.count(lost))] if lost else []),
    ]
    return w.listed(said)


def unplaced_line(unplaced: Mapping[str, int], w: Wording) -> str:
    """What was lost of no known flow, which may be of this one; empty for nothing."""
    lost = [Reason(reason) for reason in unplaced if Reason(reason).effect in (Effect.LOST, Effect.SENT_BACK)]
    if not lost:
        return ""
    words = reason_words(w)
    listed = w.listed([f"{words[reason]} ({w.count(unplaced[reason])})" for reason in lost])
    return w.translator.text("Of no known flow, so perhaps of this one: {reasons}", reasons=listed)
