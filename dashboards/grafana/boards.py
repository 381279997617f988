"""All dashboards of a specification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...metrics.specification.flow import FlowSpec
from ...metrics.translation import Language
from .flow_board import flow_board
from .frame import Wording
from .health_board import health_board
from .overview import overview
from .step_board import step_board

__all__ = ["dashboards"]


def dashboards(flows: Mapping[str, FlowSpec], language: Language = "en") -> dict[str, dict[str, Any]]:
    """The dashboards of ``flows`` as Grafana's JSON models, by uid.

    They are the overview, one for every flow, the step detail and the ruler's health.
    The same specification gives the same dashboards, byte for byte.

    Raises:
        ValueError: there are no flows.
    """
    if not flows:
        raise ValueError("there are no flows to make dashboards of; write one: cxgauge init")
    words = Wording.of(language)
    ordered = {name: flows[name] for name in sorted(flows)}
    boards = [overview(ordered, words), *(flow_board(flow, words) for flow in ordered.values())]
    boards += [step_board(ordered, words), health_board(ordered, words)]
    return {board["uid"]: board for board in boards}
