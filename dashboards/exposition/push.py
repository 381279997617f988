"""Pushes the durations of every step to Prometheus' OTLP endpoint, as native histograms.

There is no queue: each push says everything since the start, so after an outage the next one that arrives makes up for
all before it. Nothing here is waited for by anybody: it runs on a thread of its own.
"""

from __future__ import annotations

import gzip
import random
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Sequence

import structlog

from ... import __version__
from ...alerts.http import HttpCaller
from ...alerts.notifier import Delivery, Outcome, RetryPolicy
from ...metrics.configuration.secret import SecretError
from ...metrics.configuration.sections import PrometheusConfig
from .exponential import DurationPoint, export_requests

__all__ = ["HistogramPush"]

_log = structlog.get_logger("cxgauge.push")


class HistogramPush:
    """Pushes at an interval until told to stop.

    Args:
        settings: Where to; its ``otlp_url`` is set.
        points: Asked for the durations at each push.
        clock: Seconds since 1970 UTC.
        rng: For jitter.

    Attributes:
        failures: Pushes that did not succeed.
        last_pushed_at: When one last did, seconds since 1970 UTC; the start before the first.
        last_error: Why the last one did not; None after one that did.
    """

    def __init__(
        self,
        settings: PrometheusConfig,
        points: Callable[[], Sequence[DurationPoint]],
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self._settings = settings
        self._points = points
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 (jitter)
        self._caller = HttpCaller(settings.otlp_timeout_seconds)
        interval = settings.otlp_interval_seconds
        self._policy = RetryPolicy(first_seconds=min(2.0, interval), longest_seconds=max(60.0, interval))
        self._failed_in_row = 0
        self._resource = {
            "service.name": "cxgauge",
            "service.instance.id": settings.otlp_instance or socket.gethostname(),
            "service.version": __version__,
        }
        self.failures = 0
        self.last_pushed_at = clock()
        self.last_error: str | None = None

    @property
    def lag_seconds(self) -> float:
        """How long ago Prometheus was last told."""
        return max(0.0, self._clock() - self.last_pushed_at)

    def push(self) -> Delivery:
        """Push once; trouble is an outcome, not an exception. The first request that fails ends the push."""
        delivery = Delivery(Outcome.SENT)
        try:
            url, headers = self._address()
        except SecretError as error:
            delivery = Delivery(Outcome.RETRY, str(error))
        else:
            for body in export_requests(self._points(), self._clock(), self._resource):
                delivery, _ = self._caller.post(url, gzip.compress(body, 1), headers)
                if delivery.outcome is not Outcome.SENT:
                    break
        self._note(delivery)
        return delivery

    def run(self, stop: threading.Event) -> None:
        """Push at the configured interval, less often while it fails; and once more before the end."""
        wait = self._settings.otlp_interval_seconds
        while not stop.wait(wait):
            delivery = self.push()
            wait = self._settings.otlp_interval_seconds
            if delivery.outcome is not Outcome.SENT:
                wait = max(wait, self._policy.delay(self._failed_in_row, delivery.retry_after_seconds, self._rng))
        self.push()
        self.close()

    def close(self) -> None:
        """Give connections back."""
        self._caller.close()

    def _address(self) -> tuple[str, dict[str, str]]:
        settings = self._settings
        headers = {"content-type": "application/x-protobuf", "content-encoding": "gzip"}
        if settings.token is not None:
            headers["authorization"] = f"Bearer {settings.token.reveal()}"
        elif settings.username is not None:
            password = settings.password.reveal() if settings.password is not None else ""
            headers["authorization"] = f"Basic {b64encode(f'{settings.username}:{password}'.encode()).decode()}"
        return settings.otlp_url.reveal() if settings.otlp_url is not None else "", headers

    def _note(self, delivery: Delivery) -> None:
        if delivery.outcome is Outcome.SENT:
            if self._failed_in_row:
                _log.info("histograms are pushed again", after_failures=self._failed_in_row)
            self._failed_in_row, self.last_error, self.last_pushed_at = 0, None, self._clock()
            return
        if delivery.detail != self.last_error:  # each reason once, not at each attempt
            _log.warning("histograms were not pushed, the next push makes up for it", detail=delivery.detail)
        self._failed_in_row += 1
        self.failures += 1
        self.last_error = delivery.detail
