"""Notifiers from their settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from ..metrics.configuration import notifiers as settings
from .notifier import Notifier, RetryPolicy
from .notifiers.dingtalk import DingTalkNotifier
from .notifiers.email import EmailNotifier
from .notifiers.feishu import FeishuNotifier
from .notifiers.log import LogNotifier
from .notifiers.pagerduty import PagerDutyNotifier
from .notifiers.slack import SlackNotifier
from .notifiers.webhook import WebhookNotifier
from .notifiers.wecom import WeComNotifier

__all__ = ["make_notifier", "make_notifiers", "retry_policies"]

Clock = Callable[[], float]


def make_notifier(setting: settings.NotifierSettings, clock: Clock = time.time) -> Notifier | None:  # noqa: PLR0911 (one return a type)
    """The notifier of one setting; ``None`` for Alertmanager, which is told of states and not sent messages."""
    match setting:
        case settings.LogNotifier():
            return LogNotifier(setting.name)
        case settings.WebhookNotifier():
            return WebhookNotifier(setting, clock=clock)
        case settings.WeComNotifier():
            return WeComNotifier(setting, clock)
        case settings.DingTalkNotifier():
            return DingTalkNotifier(setting, clock)
        case settings.FeishuNotifier():
            return FeishuNotifier(setting, clock)
        case settings.SlackNotifier():
            return SlackNotifier(setting, clock)
        case settings.PagerDutyNotifier():
            return PagerDutyNotifier(setting, clock)
        case settings.EmailNotifier():
            return EmailNotifier(setting, clock)
        case _:
            return None


def make_notifiers(configured: Iterable[settings.NotifierSettings], clock: Clock = time.time) -> list[Notifier]:
    """The notifiers of a configuration that messages can be sent to."""
    made = [make_notifier(setting, clock) for setting in configured]
    return [notifier for notifier in made if notifier is not None]


def retry_policies(configured: Iterable[settings.NotifierSettings]) -> dict[str, RetryPolicy]:
    """How long each notifier of a configuration tries."""
    return {setting.name: RetryPolicy(give_up_seconds=setting.give_up_seconds) for setting in configured}
