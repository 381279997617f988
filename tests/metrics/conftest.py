"""A migrated store, and observations to put into it."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey, Source
from cxgauge.metrics.store.connection import DatabaseSettings
from cxgauge.metrics.store.store import Store, StoreSettings

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
MakeStore = Callable[..., Store]
MakeBatch = Callable[..., ObservationBatch]


@pytest.fixture
def make_store(migrated_dsn: str) -> Iterator[MakeStore]:
    """Open stores on one fresh database, at a clock that stands at 2026-01-01T00:00:00Z; migrated at the first."""
    stores: list[Store] = []

    def make(clock: Callable[[], float] = lambda: NOW, **settings: object) -> Store:
        database = DatabaseSettings(migrated_dsn, connections_limit=3)
        store = Store(StoreSettings(database, **settings), clock=clock)  # type: ignore[arg-type]
        if not stores:
            store.migrate()
        stores.append(store)
        return store

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    """A migrated store on a fresh database."""
    return make_store()


@pytest.fixture
def make_batch() -> MakeBatch:
    """Make a batch of seeded random observations within the hours before the clock's time."""

    def make(
        size: int = 500,
        *,
        seed: int = 1,
        series: Sequence[SeriesKey] | None = None,
        start: float = NOW - 7200,
        end: float = NOW,
        source: Source = Source.RECORDER,
    ) -> ObservationBatch:
        keys = tuple(
            series
            or (SeriesKey("bill_inquiry", f"step_{n}", (("channel", "app"),), ("total", "details")) for n in (0, 1))
        )
        random = np.random.default_rng(seed)
        records = np.zeros(size, dtype=RECORD)
        records["observed_at_us"] = (start + random.random(size) * (end - start)) * 1_000_000
        records["duration_seconds"] = np.exp(random.normal(0, 0.5, size))
        records["series"] = random.integers(0, len(keys), size)
        records["verdict"] = random.integers(0, 8, size)
        records["checks"] = random.integers(0, 16, size)
        records["source"] = source
        records["flow_instance"] = np.frombuffer(random.bytes(16 * size), dtype="V16")
        records["customer"][::2] = np.frombuffer(random.bytes(16), dtype="V16")[0]
        records["trace_id"][::3] = np.frombuffer(random.bytes(16 * len(records[::3])), dtype="V16")
        records["span_id"][::3] = random.integers(1, 2**62, len(records[::3]))
        return ObservationBatch(keys, records)

    return make
