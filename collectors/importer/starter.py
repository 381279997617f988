"""A starter flow file written from what an import saw, for a team to correct."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...metrics.sketch import LOG_GAMMA, quantile
from ...metrics.verdict import Verdict
from .files import Row
from .importer import StepReader
from .mapping import FieldError, ImportMapping, route_title

__all__ = ["Seen", "look", "starter_flow"]

_STEPS_LIMIT = 64
_VALUES_LIMIT = 20
_TARGET_QUANTILE = 0.95
_SHORTEST_SECONDS = 1e-6


@dataclass(slots=True)
class _StepSeen:
    title: str
    count: int = 0
    buckets: Counter[int] = field(default_factory=Counter)


@dataclass(slots=True)
class Seen:
    """Steps, dimension values and check names of a file, and how many rows could not be used."""

    steps: dict[str, _StepSeen] = field(default_factory=dict)
    dimensions: dict[str, Counter[str]] = field(default_factory=dict)
    unused: int = 0


def look(rows: Iterable[Row], mapping: ImportMapping) -> Seen:
    """Read all rows once and note what is in them; nothing is kept of single rows."""
    seen = Seen()
    reader = StepReader(mapping.step)
    for row in rows:
        if row.fields is None:
            seen.unused += 1
            continue
        try:
            _note(seen, row.fields, reader, mapping)
        except FieldError:
            seen.unused += 1
    return seen


def _note(seen: Seen, fields: Mapping[str, Any], reader: StepReader, mapping: ImportMapping) -> None:
    name = reader.read(fields)
    seconds = mapping.duration.seconds(fields)
    step = seen.steps.get(name)
    if step is None:
        step = seen.steps[name] = _StepSeen(route_title(mapping.step.read(fields) or name))
    step.count += 1
    if mapping.read_verdict(fields) not in (Verdict.ERROR, Verdict.TIMEOUT, Verdict.ABANDONED):
        step.buckets[math.ceil(math.log(max(seconds, _SHORTEST_SECONDS)) / LOG_GAMMA)] += 1
    for dimension, column in mapping.dimensions.items():
        value = column.read(fields)
        if value is not None:
            seen.dimensions.setdefault(dimension, Counter())[value] += 1


def starter_flow(name: str, seen: Seen, *, owner: str, file_name: str) -> str:
    """The text of a flow file: steps in order of first appearance, targets at the 95th percentile seen.

    Raises:
        ValueError: no usable row, or more steps than a flow may have.
    """
    if not seen.steps:
        raise ValueError(f"{file_name}: no usable row, so there is no step to write; is the pattern or mapping right?")
    if len(seen.steps) > _STEPS_LIMIT:
        raise ValueError(
            f"{file_name}: {len(seen.steps)} different steps, a flow has at most {_STEPS_LIMIT}; "
            "map them to fewer by step.rules in a mapping file"
        )
    lines = [
        f"# Written from {file_name}. Correct titles, owner, order and targets, then run: cxgauge check",
        f"name: {_quoted(name)}",
        f"title: {{en: {_quoted(name)}, zh: {_quoted(name)}}}",
        f"owner: {_quoted(owner)}",
    ]
    if seen.dimensions:
        lines.append("dimensions:")
        lines += [line for dimension in seen.dimensions.items() for line in _dimension(*dimension)]
    lines.append("steps:")
    lines += [line for step in seen.steps.items() for line in _step(*step)]
    return "\n".join(lines) + "\n"


def _dimension(name: str, values: Counter[str]) -> list[str]:
    if len(values) > _VALUES_LIMIT:
        return [f"  - name: {_quoted(name)}  # {len(values)} different values seen", "    limit: 100"]
    return [f"  - name: {_quoted(name)}", f"    values: [{', '.join(_quoted(value) for value in sorted(values))}]"]


def _step(name: str, step: _StepSeen) -> list[str]:
    lines = [f"  - name: {_quoted(name)}", f"    title: {{en: {_quoted(step.title)}, zh: {_quoted(step.title)}}}"]
    target = "1s"
    comment = f"{step.count} observations, none answered"
    if step.buckets:
        buckets = sorted(step.buckets)
        counts = [step.buckets[bucket] for bucket in buckets]
        seconds = quantile(buckets, counts, _TARGET_QUANTILE)
        target = _round_up(seconds)
        comment = f"{step.count} observations, 95 % answered within {seconds:.3g} s"
    lines += [
        "    optional: true",
        "    repeated: true",
        "    timeliness:",
        f"      target: {target}  # {comment}",
    ]
    return lines


def _round_up(seconds: float) -> str:
    """The next of 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8 times a power of ten, at least a millisecond."""
    milliseconds = max(1.0, seconds * 1000)
    power = 10.0 ** math.floor(math.log10(milliseconds))
    steps = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
    nice = next(step for step in steps if step * power >= milliseconds * (1 - 1e-9)) * power
    return f"{math.ceil(nice)}ms" if nice < 1000 else f"{nice / 1000:g}s"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
