"""What the configuration file means for the recorder and the span processor."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..metrics.config import Config
from ..metrics.flow import load_flows
from .customer_token import CustomerTokens
from .spool import SpoolWriter

__all__ = ["opener", "recorder_options"]


def opener(spool: str | os.PathLike[str] | Callable[[], SpoolWriter] | None) -> Callable[[], SpoolWriter] | None:
    """What opens a source in the spool; None when nothing is to be recorded."""
    if spool is None or callable(spool):
        return spool
    return functools.partial(SpoolWriter, spool, "recorder", sync="interval")


def recorder_options(path: Path) -> dict[str, Any]:
    """The constructor's arguments that a configuration file means."""
    config = Config.load(path)
    key = config.recorder.customer_key
    return {
        "flows": load_flows(config.flows.directory),
        "spool": functools.partial(SpoolWriter.from_config, config.spool, "recorder"),
        "tokens": CustomerTokens.from_environment() if key is None else CustomerTokens.parse(key.reveal(), str(key)),
        "buffer_limit": config.recorder.buffer_limit,
        "flush_interval_seconds": config.recorder.flush_interval_seconds,
    }
