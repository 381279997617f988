"""Messages as the markdown of chat services, within their limits of length."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from .message import Message
from .text import alert_translator

__all__ = ["digest", "emphasised", "harmless", "markdown", "shortened"]

_EMPHASIS = re.compile(r"\*([^*\n]+)\*")
# Chat services have no common way to escape markup, so characters that begin some are replaced by ones that look alike.
_LOOKALIKES = str.maketrans({"<": "‹", ">": "›", "[": "［", "]": "］", "`": "′", "#": "＃"})


def harmless(text: str) -> str:
    """Text of which nothing is markup except ``*emphasis*``: no mention, no link, no heading."""
    return text.translate(_LOOKALIKES)


def emphasised(text: str, mark: str = "**") -> str:
    """``*Total*`` in the service's own form of emphasis."""
    return _EMPHASIS.sub(rf"{mark}\1{mark}", text)


def shortened(text: str, limit_bytes: int) -> str:
    """The text within a number of bytes of UTF-8, cut at a line or else a character, with ``…`` where it was cut."""
    data = text.encode()
    if len(data) <= limit_bytes:
        return text
    cut = data[: limit_bytes - 4].decode(errors="ignore")
    line = cut.rfind("\n")
    return (cut[:line] if line > len(cut) // 2 else cut).rstrip() + "\n…" if line > 0 else cut.rstrip() + "…"


def markdown(message: Message, limit_bytes: int, mention: str = "") -> str:
    """One message: subject as heading, the short text, facts, links; cut to the limit from the end."""
    return shortened("\n\n".join(_parts(message, mention)), limit_bytes)


def _parts(message: Message, mention: str) -> Iterator[str]:
    yield f"### {harmless(message.subject)}"
    yield emphasised(harmless(message.short)) + (f" {mention}" if mention else "")
    links = " · ".join(f"[{harmless(link.label)}]({link.url})" for link in message.links)
    if links:
        yield links
    for fact in message.facts:
        yield f"**{harmless(fact.label)}** {harmless(fact.value)}"
    if message.not_concluded:
        label = alert_translator(message.language).text("Not concluded")
        yield f"**{label}** {harmless(message.not_concluded)}"


def digest(
    messages: Sequence[Message], limit_bytes: int, emphasise: Callable[[str], str] = emphasised
) -> tuple[str, str]:
    """Several messages as a title and one line each; every message keeps its line, cut if it must be."""
    translator = alert_translator(messages[0].language)
    title = translator.plural("{count} message about alerts", "{count} messages about alerts", len(messages))
    room = max(60, (limit_bytes - len(title.encode()) - 10) // len(messages) - 4)
    lines = [
        "- " + shortened(emphasise(f"{_mark(message)} {harmless(message.short)}"), room).replace("\n", " ")
        for message in messages
    ]
    return title, "\n".join(lines)


def _mark(message: Message) -> str:
    """The bracketed mark the subject begins with: ``[WARNING]``."""
    end = max(message.subject.find("]"), message.subject.find("】"))
    return message.subject[: end + 1]
