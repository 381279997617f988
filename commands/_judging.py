"""Evaluation and delivery while the ruler runs, each on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from ..alerts.evaluator import Evaluation
from ..alerts.installation import Alerting

__all__ = ["Judging"]


class Judging:
    """Evaluation and delivery with one configuration; stopped and made anew by a reload.

    Args:
        parts: What judges and what tells.
        ticked: Called after each evaluation, on its thread.
    """

    def __init__(self, parts: Alerting, ticked: Callable[[Evaluation], None]) -> None:
        self._stop = threading.Event()
        self._dispatcher = parts.dispatcher
        self.threads = {"evaluator": self._thread("evaluator", lambda: parts.evaluator.run(self._stop, ticked))}
        self.threads["dispatcher"] = self._thread("dispatcher", lambda: parts.dispatcher.run(self._stop))
        for sender in parts.alertmanagers:
            name = f"alertmanager-{sender.settings.name}"
            self.threads[name] = self._thread(name, partial(sender.run, self._stop))
        for thread in self.threads.values():
            thread.start()

    def _thread(self, name: str, target: Callable[[], None]) -> threading.Thread:
        return threading.Thread(target=target, name=f"cxgauge-{name}", daemon=True)

    def stop(self) -> None:
        """End all after what they are doing; what they have not done they will find in the store."""
        self._stop.set()
        for thread in self.threads.values():
            thread.join()

    def messages(self) -> dict[tuple[str, str], int]:
        """What became of messages since this began, by notifier and outcome."""
        return {
            (name, outcome): count
            for name, total in dict(self._dispatcher.totals).items()
            for outcome, count in (
                ("delivered", total.delivered),
                ("put_off", total.put_off),
                ("given_up", total.failed),
            )
        }
