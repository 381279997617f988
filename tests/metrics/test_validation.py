"""Whatever is wrong with a file becomes faults that say where and what to do; nothing else is ever raised."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.specification.flow import FlowSpec
from cxgauge.metrics.specification.scalar_types import StrictModel
from cxgauge.metrics.specification.template import template_names, template_text
from cxgauge.metrics.strict_yaml import Location, read_text
from cxgauge.metrics.validation import validate

FLOWS = [yaml.safe_load(template_text(name)) for name in template_names()]
CONFIG: dict[str, Any] = yaml.safe_load(
    """
language: zh
timezone: Asia/Shanghai
window_seconds: 60
flows: {directory: flows}
database: {dsn: "postgresql://a@b/c", password: env:P}
spool: {fsync: always, limit_bytes: 1GiB, age_limit: 7d, segment_age_seconds: 5}
recorder: {customer_key_file: key}
receiver: {host: 127.0.0.1, port: 4318, tls: {certificate: a, private_key: b}, allowed_origins: [https://a.example.com]}
detection: {false_alarms_per_month: 2}
alerts: {pending_for: 0s, external_url: https://pages.example.com}
notifiers: [{name: log, type: log}, {name: ops, type: webhook, url: env:U, headers: {A: env:B}}]
calendar: {country: CN, paydays: [10], days: [{date: "2026-02-17", kind: holiday}]}
"""
)
ODDITIES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["1s", "$.a", "$", "a.b", "total", "C3", "env:A", "file:", "0s", "(a+)+", "2026-02-30", "other"]),
    st.lists(st.text(max_size=3) | st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.text(max_size=3) | st.none(), max_size=3),
)


def places(value: Any, place: Location = ()) -> Iterator[Location]:
    yield place
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from places(entry, (*place, key))


def changed(value: Any, place: Location, put: Any, remove: bool) -> Any:
    if not place:
        return put
    value = copy.deepcopy(value)
    parent = value
    for part in place[:-1]:
        parent = parent[part]
    if remove:
        del parent[place[-1]]
    else:
        parent[place[-1]] = put
    return value


@st.composite
def mutations(draw: st.DrawFn) -> tuple[type[StrictModel], Any]:
    model, value = draw(st.sampled_from([(FlowSpec, flow) for flow in FLOWS] + [(Config, CONFIG)] * 3))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(list(places(value))))
        value = changed(value, place, draw(ODDITIES), draw(st.booleans()))
        if not isinstance(value, (dict, list)):
            break
    return model, value


@given(mutations())
@settings(max_examples=150)
def test_any_mutation_is_taken_or_told(mutation: tuple[type[StrictModel], Any]) -> None:
    model, value = mutation
    document = read_text(yaml.safe_dump(value, allow_unicode=True, sort_keys=False), "f.yml")
    found = validate(model, document, {"directory": Path("/etc")})
    assert (found is None) == bool(document.faults)
    for fault in document.faults:
        assert fault.line >= 1
        assert fault.text.startswith(fault.place)
        assert "; " in fault.text
        assert "\n" not in fault.text


@pytest.mark.parametrize("value", [*FLOWS, CONFIG], ids=lambda value: value.get("name", "config"))
def test_the_unchanged_are_taken(value: Any) -> None:
    model: type[StrictModel] = Config if value is CONFIG else FlowSpec
    document = read_text(yaml.safe_dump(value, allow_unicode=True, sort_keys=False), "f.yml")
    assert validate(model, document) is not None
    assert document.faults == []
