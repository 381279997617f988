"""Profiles as bytes, so that they can be stored and a detector restarted on exactly the same baseline."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, fields, is_dataclass
from typing import Any

import numpy as np

from ..detection.input import BucketGrid, Channel, Fleet
from ..detection.settings import DetectionSettings
from ..detection.shift import Noise
from ..detection.special_days import SpecialDays
from ..deviation import Scope
from ..observation import SeriesKey
from .count import CountTest
from .profile import Profile
from .season import Season
from .shift import ShiftTest

__all__ = ["profile_from_bytes", "profile_to_bytes"]

_VERSION = 3
_PARTS: dict[str, Any] = {"season": Season, "volume": Season, "mix": Season, "shift": ShiftTest, "count": CountTest}
_PARTS["special"] = SpecialDays


def profile_to_bytes(profile: Profile) -> bytes:
    """Serialise a profile: numpy arrays as they are, the rest as JSON."""
    arrays: dict[str, Any] = {}
    plain: dict[str, Any] = {"version": _VERSION, "settings": asdict(profile.settings), "fleet": _fleet(profile.fleet)}
    for item in fields(profile):
        value = getattr(profile, item.name)
        if item.name in _PARTS:
            arrays |= _flatten(item.name, value)
        elif isinstance(value, np.ndarray):
            arrays[item.name] = value
        elif item.name not in plain:
            plain[item.name] = value
    arrays["plain"] = np.frombuffer(json.dumps(plain, ensure_ascii=False).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def profile_from_bytes(data: bytes) -> Profile:
    """Read what :func:`profile_to_bytes` wrote.

    Raises:
        ValueError: the bytes were written by another version of this format.
    """
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        plain = json.loads(arrays["plain"].tobytes())
        if plain.pop("version") != _VERSION:
            raise ValueError("the stored profile has another format; learn the baseline anew")
        values: dict[str, Any] = {name: arrays[name] for name in arrays.files if "." not in name and name != "plain"}
        for name, kind in _PARTS.items():
            values[name] = _gather(name, kind, arrays)
    settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.pop("settings").items()}
    fleet = _fleet_back(plain.pop("fleet"))
    values |= {key: tuple(v) if isinstance(v, list) else v for key, v in plain.items()}
    return Profile(fleet=fleet, settings=DetectionSettings(**settings), **values)


def _flatten(prefix: str, part: Any) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for item in fields(part):
        value = getattr(part, item.name)
        flat |= _flatten(f"{prefix}.{item.name}", value) if is_dataclass(value) else {f"{prefix}.{item.name}": value}
    return flat


def _gather(prefix: str, kind: Any, arrays: Any) -> Any:
    return kind(
        **{
            item.name: _gather(f"{prefix}.{item.name}", Noise, arrays)
            if item.name == "noise"
            else arrays[f"{prefix}.{item.name}"]
            for item in fields(kind)
        }
    )


def _fleet(fleet: Fleet) -> dict[str, Any]:
    return {
        "cells": [[key.flow, key.step, key.dimensions, key.checks] for key in fleet.cells],
        "family": fleet.family.tolist(),
        "scopes": [[scope.flow, scope.step, scope.dimensions, scope.check] for scope in fleet.scopes],
        "members": [inside.tolist() for inside in fleet.members],
        "parent": fleet.parent.tolist(),
        "channels": [[channel.scope, channel.check, channel.pairs] for channel in fleet.channels],
        "grid": [fleet.grid.low, fleet.grid.width],
    }


def _fleet_back(plain: dict[str, Any]) -> Fleet:
    def pairs(values: list[list[Any]]) -> tuple[Any, ...]:
        return tuple((first, second) for first, second in values)

    return Fleet(
        tuple(SeriesKey(flow, step, pairs(names), tuple(checks)) for flow, step, names, checks in plain["cells"]),
        np.array(plain["family"], dtype=np.int64),
        tuple(Scope(flow, step, pairs(names), check) for flow, step, names, check in plain["scopes"]),
        tuple(np.array(inside, dtype=np.int64) for inside in plain["members"]),
        np.array(plain["parent"], dtype=np.int64),
        tuple(Channel(scope, check, pairs(inside)) for scope, check, inside in plain["channels"]),
        BucketGrid(*plain["grid"]),
    )
