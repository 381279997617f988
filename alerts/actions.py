"""What people do with alerts: acknowledge, assign, comment, accept as the new normal, silence.

Every action is one transaction under the same lock as the evaluation, lands in the alert's own trail and in the
audit, and takes effect at once, whether or not an evaluator is running.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from ..metrics.specification.flow import FlowSpec
from ..metrics.store.alerts import lock_alerts, read_alert
from ..metrics.store.audit import COMMAND_LINE, audit
from ..metrics.store.store import Store
from .alert import Alert, Silence, Transition, alert_from_json
from .announcer import Announcer, enqueue, severity_by_flow
from .lifecycle import Lifecycle, LifecycleSettings, UnknownAlertError
from .records import find_silence, load_lifecycle, save_lifecycle, store_silence

__all__ = ["Actions", "UnknownSilenceError"]


class UnknownSilenceError(LookupError):
    """There is no such silence, or it is over."""


@dataclass(frozen=True, slots=True)
class Actions:
    """Does what people ask.

    Attributes:
        store: Where alerts are.
        flows: The specification.
        settings: How alerts live.
        announcer: Tells of an alert that ends.
        clock: Seconds since 1970 UTC.
        address: From where, for the audit.
    """

    store: Store
    flows: Mapping[str, FlowSpec]
    settings: LifecycleSettings
    announcer: Announcer
    clock: Callable[[], float] = time.time
    address: str = COMMAND_LINE

    def acknowledge(self, id_: str, by: str, note: str = "") -> Alert:
        """Somebody looks at it: reminders stop. ``id_`` may be the beginning of an id.

        Raises:
            UnknownAlertError: no open alert has this id, or several ids begin so.
        """
        return self._act(id_, by, "acknowledge", lambda alerts, id_, now: alerts.acknowledge(id_, by, now, note))

    def assign(self, id_: str, to: str, by: str) -> Alert:
        """Give it to a person or a team; see :meth:`acknowledge`."""
        return self._act(id_, by, "assign", lambda alerts, id_, now: alerts.assign(id_, to, by, now))

    def comment(self, id_: str, text: str, by: str) -> Alert:
        """Add a remark; see :meth:`acknowledge`."""
        return self._act(id_, by, "comment", lambda alerts, id_, now: alerts.comment(id_, text, by, now))

    def accept(self, id_: str, by: str, note: str = "") -> Alert:
        """Declare the new level normal: the alert ends, and the baseline learns from the time since it began."""
        return self._act(id_, by, "accept", lambda alerts, id_, now: alerts.accept(id_, by, now, note))

    def silence(
        self,
        seconds: float,
        by: str,
        comment: str,
        *,
        flow: str = "*",
        step: str = "*",
        kind: str = "*",
        dimensions: tuple[tuple[str, str], ...] = (),
        starts_at: float | None = None,
        maintenance: bool = False,
    ) -> Silence:
        """Hold back messages about matching alerts for a while; see :class:`.alert.Silence`.

        Raises:
            ValueError: the span is not positive or longer than 90 days, or nobody says why.
        """
        if not 0 < seconds <= 90 * 86400:
            raise ValueError(f"a silence of {seconds:.0f} s is not between 1 s and 90 days; choose another length")
        if not comment.strip():
            raise ValueError("a silence needs a comment; say why nobody is to be told")
        start = self.clock() if starts_at is None else starts_at
        silence = Silence(
            uuid.uuid4().hex[:12], start, start + seconds, by, comment, flow, step, kind, dimensions, maintenance
        )
        with self.store.connection() as connection, connection.transaction():
            lock_alerts(connection)
            store_silence(connection, silence)
            details = {"seconds": seconds, "flow": flow, "step": step, "comment": comment, "maintenance": maintenance}
            details |= {"dimensions": dict(dimensions), "from": _iso(start), "to": _iso(start + seconds)}
            audit(connection, by, "silence", silence.id, details, self.address)
        return silence

    def end_silence(self, id_: str, by: str) -> Silence:
        """End a silence now; one that has not begun never does. ``id_`` may be the beginning of an id.

        Raises:
            UnknownSilenceError: no silence has this id, several ids begin so, or it is over.
        """
        now = self.clock()
        with self.store.connection() as connection, connection.transaction():
            lock_alerts(connection)
            silence = find_silence(connection, id_)
            if silence is None or silence.ends_at <= now:
                raise UnknownSilenceError(f"no silence that is not over has the id {id_!r}")
            ended = replace(silence, starts_at=min(silence.starts_at, now), ends_at=now, ended_by=by)
            store_silence(connection, ended)
            audit(connection, by, "silence ended", ended.id, {"flow": ended.flow}, self.address)
        return ended

    def _act(
        self, prefix: str, by: str, action: str, act: Callable[[Lifecycle, str, float], list[Transition]]
    ) -> Alert:
        now = self.clock()
        with self.store.connection() as connection, connection.transaction():
            lock_alerts(connection)
            severity_of = partial(severity_by_flow, self.flows)
            steps = {name: tuple(step.name for step in flow.steps) for name, flow in self.flows.items()}
            lifecycle = load_lifecycle(connection, self.settings, steps, severity_of, now)
            found = read_alert(connection, prefix) if prefix else None
            if found is None:
                raise UnknownAlertError(
                    f"no single alert's id begins with {prefix!r}; see the ids with: cxgauge alerts list"
                )
            id_ = alert_from_json(found).id
            before = dict(lifecycle.alerts)
            transitions = act(lifecycle, id_, now)
            outgoing = self.announcer.compose(transitions, lifecycle, now)
            save_lifecycle(connection, before, lifecycle, transitions)
            enqueue(connection, outgoing, now)
            audit(connection, by, action, id_, {"note": transitions[0].note}, self.address)
        return lifecycle.alerts[id_]


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
