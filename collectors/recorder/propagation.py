"""Handing a flow on to another process: W3C baggage (https://www.w3.org/TR/baggage/) in headers.

The entries are ``cxgauge.flow.name``, ``cxgauge.flow.instance`` (32 hexadecimal digits), ``cxgauge.customer.token``
(never the id) and ``cxgauge.dimension.<name>``. Other parties' entries in the same header are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field

from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context

from ...metrics.names import Attribute

__all__ = ["Carrier", "Handover", "extract", "inject", "token_of"]

Carrier = Mapping[str, str] | Iterable[tuple[bytes | str, bytes | str]]
"""Headers: a mapping, in any case of letters, or pairs such as an ASGI scope's."""

_HEADER = "baggage"
_HEADER_LIMIT = 8192
_VALUE_LIMIT = 256
_DIMENSIONS_LIMIT = 8
_ID = re.compile(r"[0-9a-f]{32}")
_PROPAGATOR = W3CBaggagePropagator()


@dataclass(frozen=True, slots=True)
class Handover:
    """What a caller said of the flow it is in.

    Attributes:
        flow: Name of the flow.
        instance: The flow instance, 16 bytes; None when missing or malformed.
        customer: The customer's token, 16 bytes; None when missing or malformed.
        dimensions: Dimension values by name.
    """

    flow: str
    instance: bytes | None = None
    customer: bytes | None = None
    dimensions: Mapping[str, str] = field(default_factory=dict)


def inject(carrier: MutableMapping[str, str], handover: Handover) -> None:
    """Add a flow to the ``baggage`` header of ``carrier``, replacing what it said of a flow before.

    Others' entries stay as they are, letter by letter. Where they leave no room in 8,192 bytes, nothing is added.
    """
    present = next((name for name in carrier if name.lower() == _HEADER), _HEADER)
    parts = (part.strip() for part in carrier.get(present, "").split(","))
    others = [part for part in parts if part and not part.startswith("cxgauge.")]
    context = Context()
    entries = {Attribute.FLOW_NAME: handover.flow}
    if handover.instance is not None:
        entries[Attribute.FLOW_INSTANCE] = handover.instance.hex()
    if handover.customer is not None and any(handover.customer):
        entries[Attribute.CUSTOMER_TOKEN] = handover.customer.hex()
    for dimension, value in list(handover.dimensions.items())[:_DIMENSIONS_LIMIT]:
        entries[Attribute.DIMENSION_PREFIX + dimension] = value[:_VALUE_LIMIT]
    for name, value in entries.items():
        context = baggage.set_baggage(name, value, context)
    written: dict[str, str] = {}
    _PROPAGATOR.inject(written, context)
    header = ",".join([*others, written.get(_HEADER, "")])
    if len(header) <= _HEADER_LIMIT:
        carrier[present] = header


def extract(carrier: Carrier | None) -> Handover | None:
    """Read the flow from the headers of a request; None when there is none. Malformed entries are left out.

    Headers come from outside: whoever can send them can choose flow instance, token and dimension values. Strip
    ``baggage`` where requests enter the bank.
    """
    header = _header(carrier)
    if "cxgauge." not in header:
        return None
    entries = _entries(header)
    flow = entries.get(Attribute.FLOW_NAME)
    if not flow:
        return None
    prefix = Attribute.DIMENSION_PREFIX
    dimensions = [(name[len(prefix) :], value) for name, value in entries.items() if name.startswith(prefix)]
    return Handover(
        flow,
        token_of(entries.get(Attribute.FLOW_INSTANCE)),
        token_of(entries.get(Attribute.CUSTOMER_TOKEN)),
        {name: value[:_VALUE_LIMIT] for name, value in dimensions[:_DIMENSIONS_LIMIT]},
    )


def _entries(header: str) -> dict[str, str]:
    if not header or len(header) > _HEADER_LIMIT:
        return {}
    found = baggage.get_all(_PROPAGATOR.extract({_HEADER: header}, Context()))
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _header(carrier: Carrier | None) -> str:
    """The ``baggage`` headers of any carrier, joined; empty when there is none."""
    if carrier is None:
        return ""
    if isinstance(carrier, Mapping):
        exact = carrier.get(_HEADER)  # mappings of web frameworks ignore the case of letters themselves
        if isinstance(exact, str):
            return exact
        pairs: Iterable[tuple[bytes | str, bytes | str]] = carrier.items()
    else:
        pairs = carrier
    return ",".join(_text(value) for name, value in pairs if _text(name).lower() == _HEADER)


def _text(value: bytes | str) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def token_of(text: str | None) -> bytes | None:
    """The 16 bytes of 32 lower-case hexadecimal digits that are not all zero; None for anything else."""
    if text is None or not _ID.fullmatch(text):
        return None
    found = bytes.fromhex(text)
    return found if any(found) else None
