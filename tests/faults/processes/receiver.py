"""A receiver as a process of its own: receiver.py CONFIG; prints its address and receives until SIGTERM."""

import signal
import sys
import threading
import time
from pathlib import Path

from cxgauge.collectors.receiver.server import ReceiverServer
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.specification.flow import load_flows


def main() -> None:
    """Receive."""
    config = Config.load(Path(sys.argv[1]))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with ReceiverServer(config, load_flows(config.flows.directory), time.time) as server:
        print(server.url, flush=True)
        stop.wait()
        print(server.receiver.counters, flush=True)


main()
