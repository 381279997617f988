"""A real Prometheus that judges a fleet by z-score rules, timed by its own metrics.

    python bench/detection/prometheus_rules.py --series 10000

The binary is that of `make services`. An exporter in this process offers the mean duration of every series; Prometheus
scrapes it each second and evaluates the usual anomaly rules: mean and standard deviation over the past, z-score beyond
three. The past is but a minute here, so that the run is over soon; over a day of minutes each rule reads 24 times as
many samples, and costs accordingly more.
"""

from __future__ import annotations

import argparse
import http.server
import json
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np

SERVICES = Path(__file__).parents[2] / ".services" / "services.json"
RULES = """
groups:
  - name: anomalies
    interval: 2s
    rules:
      - record: step:duration:mean
        expr: avg_over_time(step_duration_seconds[1m])
      - record: step:duration:deviation
        expr: stddev_over_time(step_duration_seconds[1m])
      - record: step:duration:z
        expr: (step_duration_seconds - step:duration:mean) / step:duration:deviation
      - alert: Slower
        expr: step:duration:z > 3
        for: 10m
"""


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Exporter(http.server.BaseHTTPRequestHandler):
    """The durations of a fleet, as Prometheus reads them."""

    series = 0
    random = np.random.default_rng(0)

    def do_GET(self) -> None:
        values = np.exp(self.random.normal(size=self.series) * 0.05)
        body = "".join(f'step_duration_seconds{{series="{i}"}} {v:.4f}\n' for i, v in enumerate(values)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def time_prometheus(series: int, seconds: float = 75.0) -> list[float]:
    """Seconds that each evaluation of the rules took, as Prometheus says, one reading each few seconds."""
    binary = json.loads(SERVICES.read_text())["prometheus"]["binary"]
    Exporter.series = series
    exporter = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    threading.Thread(target=exporter.serve_forever, daemon=True).start()
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        (base / "rules.yml").write_text(RULES)
        (base / "prometheus.yml").write_text(
            "global: {scrape_interval: 2s, evaluation_interval: 2s}\nrule_files: [rules.yml]\nscrape_configs:\n"
            f"  - {{job_name: fleet, static_configs: [{{targets: ['127.0.0.1:{exporter.server_port}']}}]}}\n"
        )
        process = subprocess.Popen(
            [
                binary,
                f"--config.file={base}/prometheus.yml",
                f"--storage.tsdb.path={base}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            return _readings(port, seconds)
        finally:
            process.terminate()
            process.wait(30)
            exporter.shutdown()


def _readings(port: int, seconds: float) -> list[float]:
    found: list[float] = []
    end = time.monotonic() + seconds
    warm = time.monotonic() + seconds / 2  # by then the past is as long as the rules look
    while time.monotonic() < end:
        time.sleep(3.0)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            continue
        if time.monotonic() > warm:
            found.extend(
                float(line.rsplit(" ", 1)[1])
                for line in text.splitlines()
                if line.startswith("prometheus_rule_group_last_duration_seconds{")
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=10_000)
    options = parser.parse_args()
    found = time_prometheus(options.series)
    print(
        f"Prometheus, z-score rules over {options.series:,} series: {1e3 * float(np.median(found)):.0f} ms an "
        f"evaluation (median of {len(found)} readings)"
    )


if __name__ == "__main__":
    main()
