"""What is wrong with a file, and where: the common form of every message about specification and configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

__all__ = ["FAULTS_LIMIT", "Document", "Fault", "Location", "Mark", "SpecificationError", "place_text"]

VALUE_TEXT_LIMIT = 60  # characters of an offending value that a message repeats
FAULTS_LIMIT = 100  # of one file

Location = tuple[str | int, ...]
"""Where in a document: keys and positions from the top."""

_PLAIN_KEY = re.compile(r"[\w/-]{1,60}")
_SECRET_KEY = re.compile(r"(?i)(^|[_-])(password|passwd|secret|token|key|dsn|url|webhook|authorization|cookie)$")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a file.

    Attributes:
        path: The file as the user named it.
        line: Line number from 1; 0 when the fault is of the file as a whole.
        place: Where in the document, such as ``steps[1].timeliness.target``; empty at the top.
        text: The whole message after the line: place, value, rule, remedy.
    """

    path: str
    line: int
    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}" if self.line else f"{self.path}: {self.text}"


class SpecificationError(ValueError):
    """One or more files cannot be used; ``faults`` has everything that is wrong with them."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a value stands and how it is written there (``None`` for lists and mappings)."""

    line: int
    source: str | None


@dataclass(slots=True)
class Document:
    """A file's value, the mark of everything in it, and what was wrong with the YAML itself."""

    path: str
    value: Any = None
    marks: dict[Location, Mark] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    spoilt: set[Location] = field(default_factory=set)
    readable: bool = False  # the YAML could be read to its end: ``value`` is worth validating

    def line(self, location: Location) -> int:
        """The line of ``location`` or of the nearest thing around it."""
        for length in range(len(location), -1, -1):
            mark = self.marks.get(location[:length])
            if mark is not None:
                return mark.line
        return 0

    def source(self, location: Location) -> str | None:
        """The value at ``location`` as it is written in the file, shortened; ``None`` for lists and mappings."""
        mark = self.marks.get(location)
        return None if mark is None else mark.source

    def fault(self, location: Location, rule: str, *, line: int | None = None, source: str | None = None) -> None:
        """Add a fault at ``location``: ``place='source' rule`` or ``place rule`` when there is no source."""
        if len(self.faults) > FAULTS_LIMIT:
            return
        if len(self.faults) == FAULTS_LIMIT:
            location, rule, source = (), "has more faults than these; correct them first", None
        place = place_text(location)
        secret = "headers" in location or (bool(location) and _SECRET_KEY.search(str(location[-1])) is not None)
        shown = "" if source is None else f"='{'***' if secret else _shortened(source)}'"
        text = f"{place}{shown} {rule}".strip()
        self.faults.append(Fault(self.path, self.line(location) if line is None else line, place, text))

    def spoils(self, location: Location) -> bool:
        """Whether the YAML at ``location`` or around it was refused, so that later rules would only repeat it."""
        return any(location[:length] in self.spoilt for length in range(len(location) + 1))


def place_text(location: Location) -> str:
    """Write a location as people do: ``('steps', 1, 'name')`` becomes ``steps[1].name``; odd names are quoted."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"['{_shortened(part)}']"
    return text


def _shortened(source: str) -> str:
    flat = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in source[:VALUE_TEXT_LIMIT])
    flat += source[VALUE_TEXT_LIMIT:]
    return flat if len(flat) <= VALUE_TEXT_LIMIT else flat[: VALUE_TEXT_LIMIT - 1] + "…"
