"""What reading and judging an answer costs: the direct walk of simple paths against python-jsonpath.

Run: python bench/answer_path.py
"""

from __future__ import annotations

import platform
import statistics
import timeit
from typing import Any

import jsonpath

from cxgauge.metrics.judge import judge
from cxgauge.metrics.specification.answer_path import AnswerPath
from cxgauge.metrics.specification.template import template_spec

DETAILS = 20
REPEATS = 7


def microseconds(call: Any, number: int) -> float:
    """Median time of one call."""
    return statistics.median(timeit.repeat(call, number=number, repeat=REPEATS)) / number * 1e6


def main() -> None:
    """Print the figures."""
    items = [{"id": f"T{index}", "amount": f"{index}.50"} for index in range(DETAILS)]
    bill = {"total": "200.00", "item_count": DETAILS, "items": items, "currency": "CNY"}
    bill["as_of"] = "2026-01-31T09:30:00Z"
    answer = {"bill": bill}
    print(f"Python {platform.python_version()} on {platform.machine()}, an answer of {DETAILS} details")
    for text in ("$.bill.total", "$.bill.items[*].amount"):
        path, library = AnswerPath(text), jsonpath.compile(text)
        direct = microseconds(lambda path=path: path.find(answer), 20_000)
        other = microseconds(lambda library=library: library.findall(answer), 2_000)
        print(f"{text:<26} direct {direct:7.2f} µs   python-jsonpath {other:7.2f} µs   ratio {other / direct:5.1f}")
    flow = template_spec("bill_inquiry")
    for name in ("bill_total", "bill_details"):
        step = flow.step(name)
        cost = microseconds(lambda step=step: judge(step, 1.0, answer, 1769851860.0), 2_000)
        print(f"judge {name} ({len(step.checks)} checks) {cost:7.2f} µs")
    bare = template_spec("log_in").step("app_start")
    print(f"judge without checks {microseconds(lambda: judge(bare, 1.0, answer, 0.0), 100_000) * 1000:7.0f} ns")


if __name__ == "__main__":
    main()
