"""A writer as a process of its own: writer.py CONFIG DSN; prints a line when it runs and writes until SIGTERM."""

import signal
import sys
import threading
from pathlib import Path

from cxgauge.collectors.spool import SpoolReader
from cxgauge.collectors.writer import Writer, WriterSettings
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.store.store import Store


def main() -> None:
    """Write."""
    config = Config.load(Path(sys.argv[1]))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = WriterSettings(rows_per_transaction=2_000, linger_seconds=0.05, retry_limit_seconds=0.5)
    with Store.open(sys.argv[2]) as store:
        writer = Writer(store, SpoolReader(config.spool.directory), settings)
        print("writing", flush=True)
        writer.run(stop)
        print(writer.progress, flush=True)


main()
