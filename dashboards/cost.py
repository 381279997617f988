"""What a change cost customers: those hit, the flow instances hit, completions lost, each against the other period."""

from __future__ import annotations

from ..alerts.impact import completions_lost
from ..metrics.store.transitions import Customers
from .figure_types import Amount, ChangeFigure, Cost, FlowFigures, Funnel
from .funnel import InstanceCounts
from .judged import NOT_COMPARED, Judged

__all__ = ["cost_of"]


def cost_of(
    figures: FlowFigures,
    funnel: Funnel,
    after: InstanceCounts | None,
    before: InstanceCounts | None,
    customers: Customers | None,
    customers_before: Customers | None,
    judged: Judged,
) -> Cost:
    """The cost of a period; amounts are what there is beyond the compared period's shares at this period's traffic.

    The intervals of answers, instances and completions count the noise that customers of a time share; that of
    customers takes them as independent (Newcombe, see ``alerts.impact``), for one customer is in many hours.
    """
    hit_change = NOT_COMPARED
    if after is not None and before is not None and after.instances and before.instances and not before.found.missing:
        hit_change = judged.share(
            after.by_hour(after.whole, "hit"), before.by_hour(before.whole, "hit"), worse_is_more=True
        )
    return Cost(
        bad_answers=figures.observations - figures.good,
        bad_answers_more=_fewer(figures.good_rate_change, figures.observations),
        instances=funnel.instances,
        instances_hit=after.hit if after is not None else 0,
        hit_change=hit_change,
        instances_hit_more=_more(hit_change, funnel.instances),
        completions_lost=_fewer(funnel.completion_change, funnel.instances),
        customers=customers.seen if customers and customers.seen else None,
        customers_hit=customers.hit if customers and customers.seen else None,
        customers_hit_more=_customers_more(customers, customers_before),
    )


def _more(change: ChangeFigure, count: int) -> Amount | None:
    if change.change is None or change.low is None or change.high is None:
        return None
    return Amount(change.change * count, change.low * count, change.high * count)


def _fewer(change: ChangeFigure, count: int) -> Amount | None:
    more = _more(change, count)
    return None if more is None else Amount(-more.value, -more.high, -more.low)


def _customers_more(after: Customers | None, before: Customers | None) -> Amount | None:
    if after is None or before is None or not after.seen or not before.seen:
        return None
    found = completions_lost(before.seen, before.seen - before.hit, after.seen, after.seen - after.hit)
    return None if found is None else Amount(found.value, found.low, found.high)
