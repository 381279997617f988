"""The flow specification: the one place to import it from."""

from __future__ import annotations

from ..strict_yaml import Fault, SpecificationError
from .flow_loading import flow_files, load_flow, load_flows, parse_flow, read_flows
from .flow_spec import (
    AcrossCheck,
    AlertRouting,
    Bands,
    Dimension,
    FlowSpec,
    SameWithin,
    SpanMatch,
    StepSpec,
    TextMatch,
    Timeliness,
    Title,
)

__all__ = [
    "AcrossCheck",
    "AlertRouting",
    "Bands",
    "Dimension",
    "Fault",
    "FlowSpec",
    "SameWithin",
    "SpanMatch",
    "SpecificationError",
    "StepSpec",
    "TextMatch",
    "Timeliness",
    "Title",
    "flow_files",
    "load_flow",
    "load_flows",
    "parse_flow",
    "read_flows",
]
