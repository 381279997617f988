"""What the configuration file means for the recorder and the span processor."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...metrics.configuration.config import Config
from ...metrics.specification.flow import FlowSpec, load_flows
from ..customer_token import CustomerTokens
from ..spool import SpoolWriter

if TYPE_CHECKING:
    from ..across import AcrossJudge

__all__ = ["across_opener", "opener", "recorder_options", "span_processor_options"]


def opener(spool: str | os.PathLike[str] | Callable[[], SpoolWriter] | None) -> Callable[[], SpoolWriter] | None:
    """What opens a source in the spool; None when nothing is to be recorded."""
    if spool is None or callable(spool):
        return spool
    return functools.partial(SpoolWriter, spool, "recorder", sync="interval")


def across_opener(
    flows: Mapping[str, FlowSpec], path: str | os.PathLike[str] | None
) -> Callable[[], AcrossJudge] | None:
    """What opens the judge of checks between steps; None when no flow has any."""
    if path is None or not any(flow.across for flow in flows.values()):
        return None

    def open_across() -> AcrossJudge:
        from ..across import AcrossJudge

        return AcrossJudge(flows, Path(path))

    return open_across


def recorder_options(path: Path) -> dict[str, Any]:
    """The constructor's arguments that a configuration file means."""
    config = Config.load(path)
    return {
        **_common(config),
        "tokens": _tokens(config),
        "across": config.spool.directory.parent / "across.sqlite3",  # the receiver's as well
    }


def span_processor_options(path: Path) -> dict[str, Any]:
    """The constructor's arguments of the span processor that a configuration file means."""
    from ..receiver.span_shape import ShapeSettings

    config = Config.load(path)
    receiver = config.receiver
    attributes = (receiver.dimension_attributes, receiver.instance_attributes, receiver.customer_attributes)
    return {**_common(config), "settings": ShapeSettings(*attributes, _tokens(config))}


def _common(config: Config) -> dict[str, Any]:
    return {
        "flows": load_flows(config.flows.directory),
        "spool": functools.partial(SpoolWriter.from_config, config.spool, "recorder"),
        "buffer_limit": config.recorder.buffer_limit,
        "flush_interval_seconds": config.recorder.flush_interval_seconds,
    }


def _tokens(config: Config) -> CustomerTokens | None:
    key = config.recorder.customer_key
    return CustomerTokens.from_environment() if key is None else CustomerTokens.parse(key.reveal(), str(key))
