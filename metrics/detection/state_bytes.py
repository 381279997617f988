"""Arrays of a detector's state as bytes and back, bit by bit the same; what is mostly nothing takes next to none.

Of a quiet fleet most of the state is zero: nothing is reported, no rival is in question, half of the hypotheses have no
evidence. Such arrays are kept as places and values.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["arrays_to_bytes", "bytes_to_arrays"]

_PLACES, _VALUES, _SHAPES = "places/", "values/", "shapes"
_BITS = {4: np.uint32, 8: np.uint64}


def arrays_to_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The arrays as one NPZ file."""
    stored: dict[str, Any] = {}
    shapes: dict[str, list[int]] = {}
    for name, array in arrays.items():
        bits = _BITS.get(array.itemsize)
        if bits is None or array.size >= 2**31:
            stored[name] = array
            continue
        flat = np.ascontiguousarray(array).reshape(-1)
        place = np.flatnonzero(flat.view(bits))
        if len(place) * (4 + array.itemsize) >= array.nbytes:
            stored[name] = array
            continue
        stored[_PLACES + name], stored[_VALUES + name] = place.astype(np.int32), flat[place]
        shapes[name] = list(array.shape)
    stored[_SHAPES] = np.frombuffer(json.dumps(shapes).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **stored)
    return buffer.getvalue()


def bytes_to_arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """What :func:`arrays_to_bytes` was given; an NPZ file of plain arrays is read as it is."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        found = {name: stored[name] for name in stored.files if not name.startswith((_PLACES, _VALUES))}
        for name, shape in json.loads(found.pop(_SHAPES, np.frombuffer(b"{}", dtype=np.uint8)).tobytes()).items():
            values = stored[_VALUES + name]
            flat = np.zeros(int(np.prod(shape)), dtype=values.dtype)
            flat[stored[_PLACES + name]] = values
            found[name] = flat.reshape(shape)
    return found
