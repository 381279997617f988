"""Names that leave the process are documented, and are what Prometheus recommends."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cxgauge.metrics.names import Label, Metric

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "metrics.md"
METRICS = [value for name, value in vars(Metric).items() if not name.startswith("_")]
LABELS = [value for name, value in vars(Label).items() if not name.startswith("_")]


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_in_the_reference_and_ends_in_its_unit(name: str) -> None:
    assert f"`{name}`" in REFERENCE.read_text(encoding="utf-8")
    assert re.fullmatch(r"cxgauge_[a-z_]+_(seconds|bytes|ratio|total|info|state|readable|troubles|sides)", name)


def test_the_reference_has_no_metric_that_is_not_exposed() -> None:
    documented = set(re.findall(r"`(cxgauge_\w+)`", REFERENCE.read_text(encoding="utf-8")))
    assert documented == set(METRICS)


def test_labels_are_words() -> None:
    assert all(re.fullmatch("[a-z]+", label) for label in LABELS)
