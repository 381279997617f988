"""JSONPath into an answer, compiled once when the specification is read.

Paths of member names, positions and ``[*]`` (``$.bill.items[*].amount``) are walked directly over
mappings, sequences, pydantic models and dataclasses, without turning the answer into something else
first. Any other path (filters, slices, ``..``) is given to python-jsonpath on a plain copy of the answer.
``bench/answer_path.py`` prints what the direct walk saves.

Source: RFC 9535, https://www.rfc-editor.org/rfc/rfc9535.html
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, PlainSerializer, WithJsonSchema

from .scalar_types import refuse

if TYPE_CHECKING:
    from jsonpath import JSONPath

__all__ = ["NODES_LIMIT", "AnswerPath", "PathText", "TooManyNodesError", "plain"]

NODES_LIMIT = 10_000  # nodes a path may find, and entries of one list it walks
PATH_LIMIT = 500  # characters of a path
_DEPTH_LIMIT = 64

_NAME = r"[A-Za-z_\u0080-\uffff][A-Za-z0-9_\u0080-\uffff]*"
_STEP = re.compile(
    rf"""\.({_NAME})|\['([^'\\]*)'\]|\["([^"\\]*)"\]|\[(0|[1-9][0-9]{{0,5}})\]|(\[\*\]|\.\*)""",
)
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")
_ABSENT = object()


class TooManyNodesError(ValueError):
    """A path finds more than :data:`NODES_LIMIT` nodes, or an answer nests deeper than is walked."""


class AnswerPath:
    """A compiled path; :meth:`find` gives the values it points at.

    Args:
        text: The JSONPath, starting with ``$``.

    Raises:
        ValueError: ``text`` is not a JSONPath.
    """

    __slots__ = ("_compiled", "_steps", "text")

    def __init__(self, text: str) -> None:
        if not text.startswith("$") or len(text) > PATH_LIMIT:
            raise ValueError("it does not start with $" if len(text) <= PATH_LIMIT else "it is too long")
        self.text = text
        self._steps = _simple_steps(text)
        self._compiled = _compile(text) if self._steps is None else None

    def find(self, answer: object) -> list[Any]:
        """The values the path finds, in document order; empty when there are none.

        Raises:
            TooManyNodesError: more than :data:`NODES_LIMIT` of them.
        """
        if self._compiled is not None:
            found = [match.obj for match in islice(self._compiled.finditer(plain(answer)), NODES_LIMIT + 1)]
        else:
            found = _walk(self._steps or (), answer)
        if len(found) > NODES_LIMIT:
            raise TooManyNodesError(f"more than {NODES_LIMIT} nodes")
        return found

    @property
    def direct(self) -> bool:
        """Whether the path is walked directly, without python-jsonpath."""
        return self._steps is not None

    @property
    def singular(self) -> bool:
        """Whether the path can find one value at most."""
        return None not in self._steps if self._steps is not None else False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnswerPath) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"AnswerPath({self.text!r})"

    def __reduce__(self) -> tuple[type[AnswerPath], tuple[str]]:
        return (AnswerPath, (self.text,))


def _compile(text: str) -> JSONPath:
    import jsonpath  # most specifications never need it

    try:
        compiled = jsonpath.JSONPathEnvironment(strict=True).compile(text)  # RFC 9535 and nothing beyond it
    except jsonpath.JSONPathError as error:
        raise ValueError(str(error).splitlines()[0]) from None
    reason = _costly(text)
    if reason is not None or not isinstance(compiled, jsonpath.JSONPath):
        raise ValueError(reason or "it joins several paths")
    return compiled


def _costly(text: str) -> str | None:
    """Why a path could take very long on some answers; None when it is bounded by the answer's size."""
    bare = _QUOTED.sub("''", text)
    if re.search(r"\b(match|search) ?\(", bare):
        return "it has a regular expression, use a check of kind matches"
    if bare.count("..") > 1 or ".." in bare.partition("?")[2]:
        return "it has '..' twice or within a filter, name the members"
    return None


def _simple_steps(text: str) -> tuple[str | int | None, ...] | None:
    """Names, positions and None for ``[*]`` of a simple path; None when it is not one."""
    steps: list[str | int | None] = []
    position = 1
    while position < len(text):
        found = _STEP.match(text, position)
        if found is None:
            return None
        position = found.end()
        name = next((group for group in found.group(1, 2, 3) if group is not None), None)
        steps.append(name if name is not None else int(found[4]) if found[4] is not None else None)
    return tuple(steps)


def _walk(steps: tuple[str | int | None, ...], answer: object) -> list[Any]:
    nodes: list[Any] = [answer]
    for step in steps:
        if step is None:
            nodes = [child for node in nodes for child in _children(node)]
            if len(nodes) > NODES_LIMIT:
                raise TooManyNodesError(f"more than {NODES_LIMIT} nodes")
        elif isinstance(step, int):
            nodes = [node[step] for node in nodes if _is_list(node) and step < len(node)]
        else:
            nodes = [
                child
                for node in nodes
                if (child := node.get(step, _ABSENT) if type(node) is dict else _member(node, step)) is not _ABSENT
            ]
        if not nodes:
            break
    return nodes


def _is_list(node: Any) -> bool:
    return isinstance(node, Sequence) and not isinstance(node, (str, bytes, bytearray))


def _member(node: Any, name: str) -> Any:
    if isinstance(node, Mapping):
        return node.get(name, _ABSENT)
    return getattr(node, name, _ABSENT) if name in _member_names(node) else _ABSENT


def _children(node: Any) -> Sequence[Any]:
    if isinstance(node, Mapping):
        children: Sequence[Any] = list(islice(node.values(), NODES_LIMIT + 1))
    elif _is_list(node):
        children = node
    else:
        children = [getattr(node, name) for name in _member_names(node)]
    if len(children) > NODES_LIMIT:
        raise TooManyNodesError(f"more than {NODES_LIMIT} nodes")
    return children


def _member_names(node: Any) -> Sequence[str]:
    """The member names of a pydantic model, dataclass instance or named tuple; none of anything else."""
    if isinstance(node, BaseModel):
        return (*type(node).model_fields, *(node.model_extra or ()))
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        return tuple(field.name for field in dataclasses.fields(node))
    names = getattr(type(node), "_fields", ()) if isinstance(node, tuple) else ()
    return names if isinstance(names, tuple) else ()


def plain(answer: Any, depth: int = 0) -> Any:
    """``answer`` as dictionaries, lists and scalars; values themselves are not changed.

    Raises:
        TooManyNodesError: nested deeper than 64, or a list of more than :data:`NODES_LIMIT` entries.
    """
    if answer is None or isinstance(answer, (str, bytes, bool, int, float, Decimal)):
        return answer
    if depth > _DEPTH_LIMIT:
        raise TooManyNodesError(f"nested deeper than {_DEPTH_LIMIT}")
    if isinstance(answer, Mapping):
        return {str(key): plain(value, depth + 1) for key, value in answer.items()}
    names = _member_names(answer)
    if names:
        return {name: plain(getattr(answer, name), depth + 1) for name in names}
    if isinstance(answer, Sequence):
        return [plain(value, depth + 1) for value in _children(answer)]
    return answer


def _path(value: object) -> AnswerPath:
    if isinstance(value, AnswerPath):
        return value
    if not isinstance(value, str):
        raise refuse("is not a JSONPath; write e.g. $.bill.total")
    try:
        return AnswerPath(value)
    except ValueError as error:
        raise refuse(f"is not a JSONPath ({error}); write e.g. $.bill.total") from None


PathText = Annotated[
    AnswerPath,
    BeforeValidator(_path),
    PlainSerializer(lambda path: path.text, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\$", "maxLength": PATH_LIMIT}),
]
"""A JSONPath in a file, compiled when it is read."""
