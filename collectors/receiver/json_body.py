"""JSON request bodies: one object or a list of them, and what is said when they are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn

from pydantic import ValidationError

from .otlp_decode import MalformedBodyError
from .otlp_reply import RETRY_AFTER_SECONDS

__all__ = ["headers_of", "media_type_error", "objects_of", "reason_of"]


def media_type_error(given: str, taken: tuple[str, ...], remedy: str) -> str | None:
    """Why a body of this ``Content-Type`` is not read; None when it is.

    Args:
        given: The header.
        taken: Media types that are read.
        remedy: What to send instead, after "send".
    """
    media_type = given.partition(";")[0].strip().lower()
    return None if media_type in taken else f"Content-Type {media_type[:60]!r} is not JSON; send {remedy}"


def objects_of(body: bytes, what: str, limit: int, *, parse_float: Callable[[str], Any] | None = None) -> list[Any]:
    """The elements of a JSON list, or the one object that the body is.

    Args:
        body: JSON.
        what: What an object is, with its article, for errors.
        limit: Most elements.
        parse_float: What numbers with a fraction become: amounts of an answer must not be rounded to binary.

    Raises:
        MalformedBodyError: the body is something else.
    """
    try:
        document = json.loads(body, parse_float=parse_float, parse_constant=_refuse)
    except RecursionError:
        raise MalformedBodyError("the JSON body is nested too deeply") from None
    except ValueError as error:
        raise MalformedBodyError(f"the body is not JSON: {str(error)[:100]}") from None
    if isinstance(document, dict):
        return [document]
    if isinstance(document, list) and len(document) <= limit:
        return document
    raise MalformedBodyError(f"the body is neither {what} nor a list of at most {limit} of them")


def reason_of(error: ValidationError) -> str:
    """What is wrong first, without repeating the value: it may be a customer's, or a secret."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    return f"{place}: {message}" if place else message


def headers_of(status: int) -> dict[str, str]:
    """Headers that go with the status of an error."""
    headers = {}
    if status in (429, 503):
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (401, 403, 408, 413, 429):
        headers["Connection"] = "close"
    return headers


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
