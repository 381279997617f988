"""cxgauge: a ruler for customer experience.

Applications import :class:`Recorder` or :class:`CxgaugeSpanProcessor`; everything else is reached through the
``cxgauge`` command. The imports are lazy so that ``import cxgauge`` costs the host application nothing it does not use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .collectors.recorder.recorder import Recorder
    from .collectors.recorder.span_processor import CxgaugeSpanProcessor

__all__ = ["CxgaugeSpanProcessor", "Recorder", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "Recorder":
        from .collectors.recorder.recorder import Recorder

        return Recorder
    if name == "CxgaugeSpanProcessor":
        from .collectors.recorder.span_processor import CxgaugeSpanProcessor

        return CxgaugeSpanProcessor
    raise AttributeError(f"module 'cxgauge' has no attribute {name!r}")
