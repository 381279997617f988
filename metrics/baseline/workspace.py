"""Memory for large columns that is used again and again, part of the fleet after part."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Workspace"]


class Workspace:
    """Buffers by name. What was taken under a name is overwritten when it is taken again.

    Asking the operating system for fresh memory costs more than the arithmetic that is done in it.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, NDArray[Any]] = {}

    def zeros(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """An array of float32 zeros."""
        size = int(np.prod(shape))
        buffer = self._buffers.get(name)
        if buffer is None or len(buffer) < size:
            buffer = self._buffers[name] = np.empty(size, dtype=np.float32)
        part = buffer[:size].reshape(shape)
        part[...] = 0.0
        return part
