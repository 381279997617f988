"""What an alert says, in words: pure functions from an alert to text.

An alert says what got worse and where, since when, by how much and how sure that is, from how many
observations, who is hit, on what evidence, and what it does *not* say. :func:`alert_text` makes the
parts; templates and notifiers arrange them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..metrics.deviation import Deviation
from ..metrics.translation import Language, Translator, translator
from .alert import Alert
from .facts import Fact, Facts
from .figures import Figures
from .sentences import Sentences
from .titles import Titles

__all__ = ["AlertText", "Fact", "alert_text", "alert_translator", "headline"]


@dataclass(frozen=True, slots=True)
class AlertText:
    """The parts of what an alert says, in one language, as plain text.

    Attributes:
        subject: One line for a list or a mail's subject.
        short: One sentence for a chat.
        headline: What, where and since when, without figures.
        facts: The rest, in order of importance.
        not_concluded: What must not be read into it.
    """

    subject: str
    short: str
    headline: str
    facts: tuple[Fact, ...]
    not_concluded: str


def alert_translator(language: Language) -> Translator:
    """The catalogue of this package."""
    return translator(Path(__file__).with_name("locale"), language)


def alert_text(alert: Alert, titles: Titles, figures: Figures, now: float) -> AlertText:
    """Put an alert into words as of ``now`` (which decides whether a time needs its date)."""
    say = Sentences(titles, figures, alert_translator(figures.language), now)
    facts = Facts(say)
    return AlertText(
        subject=say.subject(alert),
        short=say.short(alert),
        headline=say.headline(alert),
        facts=tuple(facts.of(alert)),
        not_concluded=facts.not_concluded(alert),
    )


def headline(deviation: Deviation, titles: Titles, figures: Figures, now: float) -> str:
    """What, where and since when, of a single deviation (also of the kinds that are reported only)."""
    return Sentences(titles, figures, alert_translator(figures.language), now).what(deviation)
