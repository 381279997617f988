"""What the comparison comes to, step by step: a word for latency and one for correctness, with the figure behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..figure_types import ChangeFigure, Conclusion, StepConclusion, StepFigures
from ..release_split import RELEASE, releases_of
from ..wording import NOTHING
from .report import Report

__all__ = ["ConclusionRow", "conclusion_notes", "conclusion_rows"]


@dataclass(frozen=True, slots=True)
class ConclusionRow:
    """The conclusion about one step's latency or correctness; ``status`` is the code of ``Conclusion``, for colours."""

    name: str
    step: str
    about: str
    conclusion: str
    status: str
    figure: str
    levels: str
    change: str
    detectable: str


def conclusion_rows(report: Report) -> list[ConclusionRow]:
    """Two rows a step, latency and correctness; none without a comparison."""
    if report.figures.compared is None:
        return []
    return [row for step in report.figures.steps for row in _rows(report, step)]


def _rows(report: Report, step: StepFigures) -> Iterator[ConclusionRow]:
    text = report.wording.translator.text
    for about, found, failures in (
        (text("Latency"), step.latency, False),
        (text("Correctness"), step.correctness, True),
    ):
        yield _row(report, step, about, found, failures=failures)


def _row(report: Report, step: StepFigures, about: str, found: StepConclusion, *, failures: bool) -> ConclusionRow:
    w, change = report.wording, deciding(step, found)
    conclusion = w.conclusion(found.conclusion, failures=failures)
    if change.within_margin and found.conclusion in (Conclusion.WORSE, Conclusion.BETTER):
        conclusion = w.status(change, rate=failures, failures=failures)
    return ConclusionRow(
        step.step,
        report.flow.step(step.step).title.in_language(w.language),
        about,
        conclusion,
        found.conclusion.value,
        _figure(report, step, found.figure),
        w.levels(change, rate=failures),
        w.change(change, rate=failures),
        w.detectable(change, rate=failures) if change.detectable is not None else NOTHING,
    )


def deciding(step: StepFigures, found: StepConclusion) -> ChangeFigure:
    """The change that a conclusion rests on."""
    if found.figure.startswith("check:"):
        name = found.figure.removeprefix("check:")
        return next(check.change for check in step.checks if check.check == name)
    return {
        "p50": step.p50_change,
        "p95": step.p95_change,
        "p99": step.p99_change,
        "failures": step.failures_change,
    }[found.figure]


def _figure(report: Report, step: StepFigures, name: str) -> str:
    w = report.wording
    text = w.translator.text
    if name.startswith("check:"):
        check = w.check_title(report.flow, step.step, name.removeprefix("check:"))
        return text("Failures of “{check}”", check=check)
    return {
        "p50": text("Median"),
        "p95": text("95th percentile"),
        "p99": text("99th percentile"),
        "failures": text("Wrong or failed"),
    }[name]


def conclusion_notes(report: Report) -> list[str]:
    """What the words of the conclusions mean here."""
    w, same = report.wording, report.flow.same_within
    text = w.translator.text
    if report.figures.compared is None:
        return []
    lines = [
        text(
            "“The same” means that the whole 95 % interval lies within {durations} of the durations, or within "
            "{failures} of the failures (or {share} of all answers). “Not enough data” means that neither this nor a "
            "change could be shown; the last column says which change would have been found.",
            durations=f"±{w.plain_percent(same.durations)}", failures=f"±{w.plain_percent(same.failures)}",
            share=w.plain_percent(same.failure_share),
        )
    ]  # fmt: skip
    if report.figures.compared.kind.startswith(RELEASE):
        older, newer = releases_of(report.figures.compared.kind)
        lines.insert(
            0,
            text(
                "Release {newer} against {older}, at the mix of customers and hours of {newer}.",
                older=older,
                newer=newer,
            ),
        )
    return lines
