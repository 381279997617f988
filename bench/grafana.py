# ruff: noqa: E501 - a table of figures
"""How long every panel of the Grafana dashboards takes over 7 days of some million observations.

    .venv/bin/python bench/grafana.py [--observations 10000000] [--steps 10] [--rounds 5]

The data are those of bench/queries.py: one flow, a step a series. Each statement is asked `--rounds` times as Grafana would ask
it for the last 7 days (by the hour), the median is printed; the last line says how many are under the limit of 100 ms.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from queries import DAY, START, load, median_milliseconds  # type: ignore[import-not-found]

from cxgauge.dashboards.grafana.boards import dashboards
from cxgauge.metrics.specification.flow import parse_flow
from cxgauge.metrics.store.embedded import EmbeddedPostgres
from cxgauge.metrics.store.store import Store

LIMIT_MILLISECONDS = 100.0
SPAN = (START + 1800, START + 7 * DAY - 1800)


def statement_for(text: str) -> str:
    """What Grafana makes of it."""
    for macro, at in (("$__timeFrom()", SPAN[0]), ("$__timeTo()", SPAN[1])):
        text = text.replace(macro, time.strftime("'%Y-%m-%dT%H:%M:%SZ'", time.gmtime(at)))
    text = text.replace("$__interval", "1h").replace("${change:raw}", str(START + 6 * DAY))
    for name, value in (("flow", "flow"), ("step", "step_0"), ("dimension", "channel"), ("channel", "*")):
        text = text.replace(f"${{{name}:sqlstring}}", f"'{value}'")
    return text


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="panels over a week")
    parser.add_argument("--observations", type=int, default=10_000_000)
    parser.add_argument("--steps", dest="series", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    arguments.raw = False
    steps = "\n".join(
        f"  - {{name: step_{n}, title: {{en: Step {n}, zh: 步骤 {n}}}, timeliness: {{target: 2s}}, "
        "checks: [{name: total, kind: present, value: $.t}, {name: details, kind: present, value: $.d}]}"
        for n in range(arguments.series)
    )
    flow = parse_flow(
        f"name: flow\ntitle: {{en: Flow, zh: 旅程}}\nowner: bench\ndimensions: [{{name: channel}}]\nsteps:\n{steps}\n"
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cxgauge-bench-")))
        folder.chmod(0o755)
        server = EmbeddedPostgres(folder / "pg")
        stack.callback(server.remove)
        store = stack.enter_context(Store.open(server.start()))
        store.migrate()
        load(store, arguments)
        store.compact()
        print(
            f"Python {platform.python_version()}, {os.cpu_count()} cores, PostgreSQL {store.facts.postgresql}; "
            f"{arguments.observations:,} observations, {arguments.series} steps, 7 days"
        )
        taken = []
        with store.connection() as connection:
            connection.execute("VACUUM ANALYZE window_rollups, hour_rollups, series")
            for board in dashboards({"flow": flow}).values():
                for panel in board["panels"]:
                    for target in panel.get("targets", ()):
                        if "rawSql" in target and not panel["title"].startswith(
                            tuple(f"Step {n}:" for n in range(1, 64))
                        ):
                            text = statement_for(target["rawSql"]).encode()
                            found = median_milliseconds(
                                lambda text=text: connection.execute(text).fetchall(), arguments.rounds
                            )
                            taken.append(found)
                            print(f"{found:8.1f} ms  {board['title']}: {panel['title']}")
    print(f"{sum(one < LIMIT_MILLISECONDS for one in taken)} of {len(taken)} under {LIMIT_MILLISECONDS:g} ms")


if __name__ == "__main__":
    main()
