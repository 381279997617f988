"""The parts of alerting as an installation's configuration asks for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..metrics.configuration.config import Config
from ..metrics.configuration.secret import SecretError
from ..metrics.specification.flow import FlowSpec
from ..metrics.store.store import Store
from .actions import Actions
from .alertmanager import AlertmanagerSender
from .announcer import Announcer
from .dispatcher import Dispatcher
from .evaluation_settings import EvaluationSettings, detection_settings
from .evaluator import Evaluator
from .notifier_factory import make_notifiers, retry_policies
from .routing import BankCalendar

__all__ = ["Alerting", "alerting"]


@dataclass(frozen=True, slots=True)
class Alerting:
    """Everything that runs, or that commands need, to find, keep and tell of alerts."""

    settings: EvaluationSettings
    announcer: Announcer
    actions: Actions
    evaluator: Evaluator
    dispatcher: Dispatcher
    alertmanagers: tuple[AlertmanagerSender, ...]


def alerting(
    config: Config,
    flows: Mapping[str, FlowSpec],
    store: Store,
    clock: Callable[[], float] = time.time,
    delivered_through: Callable[[], float | None] = lambda: None,
) -> Alerting:
    """Put the parts together; nothing runs yet.

    Args:
        config: The configuration.
        flows: The specification.
        store: The store, its schema up to date.
        clock: Seconds since 1970 UTC.
        delivered_through: Until when collection knows observations to be written, see :class:`.evaluator.Evaluator`.
    """
    settings = EvaluationSettings.of(config)
    announcer = make_announcer(config, flows)
    return Alerting(
        settings,
        announcer,
        Actions(store, flows, settings.lifecycle, announcer, clock),
        Evaluator(store, flows, settings, announcer, clock, delivered_through),
        Dispatcher(
            store, make_notifiers(config.notifiers, clock), policies=retry_policies(config.notifiers), clock=clock
        ),
        tuple(
            AlertmanagerSender(store, setting, announcer, clock)
            for setting in config.notifiers
            if setting.type == "alertmanager"
        ),
    )


def make_announcer(config: Config, flows: Mapping[str, FlowSpec]) -> Announcer:
    """The announcer of an installation."""
    try:
        address = config.alerts.external_url.reveal() if config.alerts.external_url is not None else None
    except SecretError:
        address = None  # messages go out without links rather than not at all
    return Announcer(
        flows=flows,
        notifiers=config.notifiers,
        zone=config.timezone,
        language=config.alerts.language or config.language,
        external_url=address,
        calendar=BankCalendar(config.timezone, detection_settings(config)),
    )
