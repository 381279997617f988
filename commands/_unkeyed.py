"""Checks between steps that are not made for want of a key; what several commands say about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..metrics.configuration.config import Config
    from ..metrics.specification.flow import FlowSpec

__all__ = ["REMEDY", "unkeyed_checks"]

REMEDY = (
    'write a key (umask 077; echo "1:$(openssl rand -hex 32)" > FILE) and set '
    "recorder.customer_key: file:FILE, the same for all who send"
)


def unkeyed_checks(config: Config, flows: Mapping[str, FlowSpec]) -> str | None:
    """What is not checked because there is no key to make tokens of values with; None where nothing is.

    Args:
        config: The configuration.
        flows: The specifications by name.
    """
    from ..collectors.customer_token import KEYS_VARIABLE, CustomerKeyError, CustomerTokens

    declared = [f"{flow.name}.{check.name}" for flow in flows.values() for check in flow.across]
    try:
        if not declared or config.recorder.customer_key is not None or CustomerTokens.from_environment() is not None:
            return None
    except CustomerKeyError:
        return None  # said by whoever uses them
    shown = ", ".join(declared[:5]) + (f" and {len(declared) - 5} more" if len(declared) > 5 else "")
    return (
        f"checks between steps are not made of answers, as neither recorder.customer_key nor {KEYS_VARIABLE} is set: "
        f"{shown}"
    )
