"""What is shown to people who see a part of the customers: figures of that part, and what is left out and why."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from html import unescape

import numpy as np

from cxgauge.dashboards.figure_types import Period
from cxgauge.dashboards.usual import usual_range
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey, Source
from cxgauge.metrics.store.scope import DataScope
from cxgauge.metrics.store.write import StoredPosition

from .conftest import DAY, START, Site

APP = DataScope.of(None, {"channel": ["app"]})
HOUR = 3_600.0


def _days(site: Site, count: int) -> None:
    """Days before the site's own: two minutes an answer; the app's of day n take n tenths of a second, the web's 9."""
    keys = tuple(SeriesKey("bill_inquiry", "bill_total", (("channel", name),)) for name in ("app", "web"))
    for day in range(1, count + 1):
        length = 24 * 60
        records = np.zeros(2 * length, dtype=RECORD)
        records["observed_at_us"] = ((START - day * DAY + np.arange(2 * length) // 2 * 60 + 1) * 1e6).astype(np.int64)
        records["series"] = np.arange(2 * length) % 2
        records["duration_seconds"] = np.where(records["series"] == 0, day / 10, 9.0)
        records["source"] = int(Source.RECORDER)
        position = StoredPosition(0, day)
        site.store.write([ObservationBatch(keys, records)], f"day {day}", StoredPosition(), position)


def test_the_usual_range_is_that_of_the_same_hours_of_the_part(site: Site) -> None:
    _days(site, 6)
    part, hours = site.store.restricted(APP), Period(START + 8 * HOUR, START + 10 * HOUR)
    assert usual_range(part, "bill_inquiry", "log_in", hours) == []
    found = usual_range(part, "bill_inquiry", "bill_total", hours)
    assert [start for start, _, _ in found] == [START + 8 * HOUR, START + 9 * HOUR]
    for _, low, high in found:
        assert abs(low - 0.1) < 1e-6
        assert abs(high - 0.6) < 1e-6
    whole = usual_range(site.store, "bill_inquiry", "bill_total", hours)
    assert all(high > 2 for _, _, high in whole)  # the web's nine seconds are in it
    assert usual_range(part, "bill_inquiry", "bill_total", Period(START, START + 40 * DAY)) == []


def test_fewer_than_five_days_are_no_range(site: Site) -> None:
    _days(site, 4)
    hours = Period(START + 8 * HOUR, START + 9 * HOUR)
    assert usual_range(site.store.restricted(APP), "bill_inquiry", "bill_total", hours) == []


def test_the_step_page_has_a_band_of_the_part_and_no_word_of_what_detection_would_find(site: Site) -> None:
    _days(site, 6)
    client = site.signed_in("north", "viewer", APP)
    page = client.get("/flows/bill_inquiry/steps/bill_total?from=2026-03-14&to=2026-03-15&compare=none").text
    assert 'class="band usual"' in page
    assert "not for a part: detection judges all customers together" in page
    everybody = site.signed_in("boss").get("/flows/bill_inquiry/steps/bill_total?from=2026-03-14&to=2026-03-15")
    assert "not for a part" not in everybody.text


def test_the_way_is_counted_from_the_part(site: Site, make_day: Callable[..., ObservationBatch]) -> None:
    batch = make_day(START, seed=2)
    records = batch.records
    app = {number for number, key in enumerate(batch.series) if ("channel", "app") in key.dimensions}
    steps = {number: key.step for number, key in enumerate(batch.series)}
    random = np.random.default_rng(5)
    records["flow_instance"] = np.frombuffer(random.bytes(16 * len(records)), records.dtype["flow_instance"])
    site.store.write([batch], "more", StoredPosition(), StoredPosition(0, 1))
    link = "/flows/bill_inquiry/way?from=2026-03-14T02:00&to=2026-03-14T06:00&compare=none&format=csv"

    def reached(name: str, scope: DataScope) -> dict[str, int]:
        text = site.signed_in(name, "viewer", scope).get(link).text.lstrip("\ufeff")
        return {row["Step"]: int(row["Flow instances (count)"]) for row in csv.DictReader(io.StringIO(text))}

    at = records["observed_at_us"] / 1e6
    inside = (at >= START + 2 * HOUR) & (at < START + 6 * HOUR)
    mine = inside & np.isin(records["series"], sorted(app))
    titles = {"log_in": "Log-in", "bill_total": "Bill total"}
    expected = {
        title: int(sum(steps[int(number)] == step for number in records["series"][mine]))
        for step, title in titles.items()
    }
    assert reached("north", APP) == expected
    assert sum(reached("boss", DataScope.of()).values()) == int(inside.sum())


def test_every_page_says_what_is_not_shown_and_why(site: Site) -> None:
    def said(name: str, scope: DataScope, path: str) -> str:
        text = site.signed_in(name, "viewer", scope).get(path).text
        found = re.search(r'<details class="part">(.*?)</details>', text, re.S)
        return unescape(re.sub(r"<[^>]+>", " ", found[1])) if found else ""

    for number, path in enumerate(("/", "/flows/bill_inquiry", "/alerts", "/reports", "/improvements", "/silences")):
        text = said(f"north{number}", APP, path)
        assert "You see a part: channel=app." in text, path
        assert "Scheduled reports are made of all customers." in text
    flows = said("cards", DataScope.of(["bill_inquiry"]), "/")
    assert "You see a part: bill_inquiry." in flows
    assert "Other flows" in flows
    assert "Scheduled reports" not in flows
    assert said("boss", DataScope.of(), "/") == ""
