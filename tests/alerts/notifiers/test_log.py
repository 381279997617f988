from structlog.testing import capture_logs

from cxgauge.alerts.message import Message
from cxgauge.alerts.notifier import Outcome
from cxgauge.alerts.notifiers.log import LogNotifier


def test_one_line_a_message(message: Message) -> None:
    with capture_logs() as lines:
        assert LogNotifier().send([message]).outcome is Outcome.SENT
    assert lines == [
        {
            "event": message.short,
            "log_level": "warning",
            "notification": "firing",
            "severity": "warning",
            "alert": message.alert_id,
            "key": message.key,
        }
    ]
