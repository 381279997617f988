"""Learning in several processes: each has a connection of its own, a low priority, and ends with its parent."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process

from ..metrics.baseline.baseline import Profile
from ..metrics.baseline.workspace import Workspace
from ..metrics.observation import SeriesKey
from ..metrics.store.connection import Connection
from ..metrics.store.store import Store, StoreSettings

__all__ = ["learn_in_processes"]

Learn = Callable[[Connection, Mapping[int, SeriesKey], Workspace], Profile | None]

_NICENESS = 10
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # the processes are the parallelism here
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_KEPT_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class _Learner:
    """What a process keeps between portions: its store, and memory to be used again."""

    store: Store
    learn: Learn
    space: Workspace


_own: list[_Learner] = []  # of a process of the pool


def learn_in_processes(
    settings: StoreSettings, learn: Learn, portions: Sequence[Mapping[int, SeriesKey]], processes: int
) -> list[Profile | None]:
    """Learn portions of a fleet side by side.

    Args:
        settings: The store that they are read from.
        learn: Learns a portion; goes to the other processes.
        portions: The series of each.
        processes: How many.

    Raises:
        BrokenProcessPool: one of them was ended from outside.
    """
    context = get_context("spawn")  # a fork would copy locks that other threads hold
    largest_first = sorted(range(len(portions)), key=lambda place: -len(portions[place]))
    with (
        _one_thread_each(),
        ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=(settings, learn)) as pool,
    ):
        work = {place: pool.submit(_learn, portions[place]) for place in largest_first}
        try:
            return [work[place].result() for place in range(len(portions))]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin(settings: StoreSettings, learn: Learn) -> None:
    """Prepare a process of the pool."""
    with suppress(OSError):
        os.nice(_NICENESS)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Large columns come and go many times a second: memory given back to the system would be cleared each time again.
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
    _own.append(_Learner(Store(settings), learn, Workspace()))


def _learn(portion: Mapping[int, SeriesKey]) -> Profile | None:
    own = _own[0]
    with own.store.connection() as connection:
        return own.learn(connection, portion, own.space)


def _end_with_parent() -> None:
    """A process that was killed cannot tell its children: they would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started meanwhile compute on one thread, unless the environment says otherwise."""
    mine = [name for name in _ONE_THREAD if name not in os.environ]
    os.environ.update(dict.fromkeys(mine, "1"))
    try:
        yield
    finally:
        for name in mine:
            os.environ.pop(name, None)
