"""What flows, steps, checks and verdicts are called in the reader's language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..metrics.deviation import Scope
from ..metrics.translation import Translator

__all__ = ["FlowTitles", "Titles"]


@dataclass(frozen=True, slots=True)
class FlowTitles:
    """Titles of one flow by language (``{"en": …, "zh": …}``), and whose it is."""

    title: Mapping[str, str]
    steps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    checks: Mapping[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)  # by (step, check)
    owner: str = ""
    owners: Mapping[str, str] = field(default_factory=dict)  # of steps, where they differ


@dataclass(frozen=True, slots=True)
class Titles:
    """Titles of all flows; whatever has none is called by its name."""

    flows: Mapping[str, FlowTitles] = field(default_factory=dict)

    def flow(self, scope: Scope, language: str) -> str:
        """The flow's title."""
        known = self.flows.get(scope.flow)
        return _title(known.title, language, scope.flow) if known else scope.flow

    def step(self, scope: Scope, language: str) -> str:
        """The step's title; empty for the flow as a whole."""
        if scope.step is None:
            return ""
        known = self.flows.get(scope.flow)
        return _title(known.steps.get(scope.step, {}), language, scope.step) if known else scope.step

    def check(self, scope: Scope, translator: Translator) -> str:
        """What fails: the check's title, or the verdict in words; empty when neither is named."""
        name = scope.check or ""
        if name.startswith("verdict:"):
            return verdict_words(name.removeprefix("verdict:"), translator)
        known = self.flows.get(scope.flow)
        return _title(known.checks.get((scope.step or "", name), {}), translator.language, name) if known else name

    def owner(self, scope: Scope) -> str:
        """Who owns the flow; empty when nobody is named."""
        known = self.flows.get(scope.flow)
        return known.owners.get(scope.step or "", known.owner) if known else ""


def verdict_words(verdict: str, translator: Translator) -> str:
    """A verdict as a noun phrase that fits after "more" and before "than usual"."""
    text = translator.text
    words = {
        "slow": text("late answers"),
        "stale": text("out-of-date answers"),
        "incomplete": text("incomplete answers"),
        "wrong": text("wrong answers"),
        "abandoned": text("abandoned attempts"),
        "timeout": text("timeouts"),
        "error": text("errors"),
    }
    return words.get(verdict, verdict)


def _title(titles: Mapping[str, str], language: str, name: str) -> str:
    return titles.get(language) or titles.get("en") or name
