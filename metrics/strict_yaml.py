"""YAML that means what it says: values that two readers would take differently are refused.

YAML 1.1 reads ``no`` as false, ``12:30`` as 750, ``0644`` as 420 and ``2026-01-01`` as a date; YAML 1.2
does not; both keep the last of two equal keys without a word. A specification that decides what counts as
a wrong bill must not depend on that. This reader takes the common core (text, ``true``/``false``, ``null``,
plain decimal numbers, lists and mappings with text keys) and reports everything else with its line and
remedy. It remembers the line and the source text of every value, so that later rules can point at it.

Source of the resolution rules: https://yaml.org/type/ (1.1), https://yaml.org/spec/1.2.2/#103-core-schema (1.2).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from .fault import Document, Fault, Location, Mark, SpecificationError
from .yaml_scalar import resolve

__all__ = ["Document", "Fault", "Location", "SpecificationError", "read_document", "read_text"]

SIZE_LIMIT_BYTES = 1 << 20
DEPTH_LIMIT = 32


def read_document(path: Path, shown: str | None = None) -> Document:
    """Read a YAML file; what is wrong is in ``faults``, nothing is raised.

    Args:
        path: The file.
        shown: How messages name the file; the path itself by default.
    """
    document = Document(str(path) if shown is None else shown)
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT_BYTES + 1)
    except OSError as error:
        document.fault((), f"cannot be read ({error.strerror}); check the path and its permissions")
        return document
    if len(data) > SIZE_LIMIT_BYTES:
        document.fault((), f"is larger than {SIZE_LIMIT_BYTES} bytes; split it")
        return document
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        document.fault((), f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8", line=line)
        return document
    return read_text(text, document.path)


def read_text(text: str, path: str) -> Document:
    """Read YAML from ``text``; ``path`` is how messages name it."""
    document = Document(path)
    if _refuse_characters(text, document):
        return document
    fast = _read_fast(text, path)
    if fast is not None:
        return fast
    try:
        return _read(text, document, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        document.fault((), _syntax_rule(text, error, mark), line=mark.line + 1 if mark else 0)
    except yaml.YAMLError as error:
        document.fault((), f"is not YAML ({' '.join(str(error).split())}); correct the syntax")
    return document


_FAST_LOADER: Any = getattr(yaml, "CSafeLoader", None)  # libyaml, where PyYAML was built with it
_READ_DIFFERENTLY = re.compile(r"\t|\r(?!\n)|[|>][-+0-9]*#")  # libyaml takes what the parser in Python refuses


def _read_fast(text: str, path: str) -> Document | None:
    """Read a faultless mapping five times as fast; None leaves it to the parser in Python.

    So what is taken, and the words and line of every fault, do not depend on how PyYAML was built.
    """
    if _FAST_LOADER is None or _READ_DIFFERENTLY.search(text):
        return None
    try:
        document = _read(text, Document(path), _FAST_LOADER)
    except yaml.YAMLError:
        return None
    return document if isinstance(document.value, dict) and not document.faults else None


def _read(text: str, document: Document, kind: Any) -> Document:
    loader = kind(text)
    try:
        document.readable = _Reader(loader, document).read()
    finally:
        loader.dispose()
    return document


_FORBIDDEN_CHARACTERS = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]"
)


def _refuse_characters(text: str, document: Document) -> bool:
    """Refuse what an editor does not show: control, zero-width and direction-changing characters."""
    lines_seen: set[int] = set()
    for found in _FORBIDDEN_CHARACTERS.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        if line not in lines_seen:
            lines_seen.add(line)
            document.fault((), f"has the invisible character U+{ord(found[0]):04X}; delete it", line=line)
        if len(lines_seen) >= 20:
            break
    return bool(lines_seen)


def _syntax_rule(text: str, error: yaml.MarkedYAMLError, mark: yaml.Mark | None) -> str:
    lines = text.splitlines()
    written = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
    if "\t" in written[: len(written) - len(written.lstrip())] or "'\\t'" in (error.problem or ""):
        return "is indented with a tab; use spaces"
    before = lines[mark.line - 1] if mark is not None and 0 < mark.line <= len(lines) else ""
    if any("：" in line and ": " not in line for line in (before, written)):
        return "has a full-width colon '：'; write ': ' (colon and space)"
    problem = " ".join((error.problem or "it cannot be read").split())
    return f"is not YAML ({problem}); correct the syntax on this line or just before it"


class _Reader:
    """Builds a document from the events of the YAML parser; recoverable faults do not stop it."""

    def __init__(self, loader: yaml.SafeLoader, document: Document) -> None:
        self._next: Callable[[], Any] = loader.get_event
        self._check: Callable[..., bool] = loader.check_event
        self._document = document

    def read(self) -> bool:
        self._next()  # stream start
        if self._check(yaml.StreamEndEvent):
            self._document.fault((), "is empty; start from a template: cxgauge init --list", line=1)
            return False
        start = self._next()
        if start.version or start.tags:
            self._spoil((), "has a %YAML or %TAG directive; delete it", start)
        self._document.value = self._node((), 0)
        self._next()  # document end
        if not self._check(yaml.StreamEndEvent):
            event = self._next()
            self._document.fault((), "has a second document; one file holds one document", line=_line(event))
        return True

    def _spoil(self, location: Location, rule: str, event: Any, source: str | None = None) -> None:
        self._document.fault(location, rule, line=_line(event), source=source)
        self._document.spoilt.add(location)

    def _node(self, location: Location, depth: int) -> Any:
        event = self._next()
        if isinstance(event, yaml.AliasEvent):
            self._document.marks[location] = Mark(_line(event), None)
            self._spoil(location, "is an alias; write the value out", event, f"*{event.anchor}")
            return None
        if event.anchor is not None:
            self._spoil(location, "has an anchor; write values out where they are used", event, f"&{event.anchor}")
        if event.tag is not None and not (isinstance(event, yaml.ScalarEvent) and event.tag == "!"):
            self._spoil(location, "has a YAML tag; delete it", event, event.tag)
        if depth > DEPTH_LIMIT:
            raise yaml.MarkedYAMLError(problem=f"nested deeper than {DEPTH_LIMIT}", problem_mark=event.start_mark)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(location, event)
        self._document.marks[location] = Mark(_line(event), None)
        if isinstance(event, yaml.SequenceStartEvent):
            return list(self._items(location, depth))
        return self._mapping(location, depth)

    def _items(self, location: Location, depth: int) -> Iterator[Any]:
        position = 0
        while not self._check(yaml.SequenceEndEvent):
            yield self._node((*location, position), depth + 1)
            position += 1
        self._next()

    def _mapping(self, location: Location, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while not self._check(yaml.MappingEndEvent):
            key, line = self._key(location)
            if key in result:
                first = self._document.marks[(*location, key)].line
                self._document.fault((*location, key), f"is given twice (first on line {first}); keep one", line=line)
                scratch = Document(self._document.path)
                self._document, kept = scratch, self._document
                self._node((*location, key), depth + 1)
                self._document = kept
                kept.faults.extend(scratch.faults)
                continue
            result[key] = self._node((*location, key), depth + 1)
            mark = self._document.marks[(*location, key)]
            self._document.marks[(*location, key)] = Mark(line, mark.source)
        self._next()
        return result

    def _key(self, location: Location) -> tuple[str, int]:
        event = self._next()
        if not isinstance(event, yaml.ScalarEvent):
            problem = "a key must be text; put it in quotes or on a line of its own"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        key: str = event.value
        if event.anchor is not None or event.tag is not None:
            self._spoil((*location, key), "has an anchor or tag on its key; delete it", event)
        if not event.style:
            value, rule = resolve(key)
            if key == "<<":
                self._spoil((*location, key), "merges mappings in YAML 1.1; write the keys out", event)
            elif rule is not None or not isinstance(value, str):
                self._spoil((*location, key), f'is a key that YAML may not read as text; quote it: "{key}"', event)
        return key, _line(event)

    def _scalar(self, location: Location, event: yaml.ScalarEvent) -> Any:
        text: str = event.value
        self._document.marks[location] = Mark(_line(event), text)
        if event.style:
            return text
        value, rule = resolve(text)
        if value is None and location:
            rule = "has no value; write one or delete the key"
        if rule is not None:
            self._spoil(location, rule, event, text or None)
        return value


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
