"""Settings with their secrets in files, and a local service to talk to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from cxgauge.alerts.notifier import Notifier
from cxgauge.alerts.notifier_factory import make_notifier
from cxgauge.metrics.configuration.notifiers import AnyNotifier

NOW = 1_767_235_500.25
ADAPTER: TypeAdapter[Any] = TypeAdapter(AnyNotifier)
Make = Callable[..., Notifier]


@pytest.fixture
def make(service: Any, tmp_path: Path) -> Make:
    """A notifier of a type, its address pointing at the local service, secrets given by keyword."""

    def build(
        kind: str, path: str = "/hook?key=t0k3n", *, plain: dict[str, Any] | None = None, **secrets: str
    ) -> Notifier:
        values: dict[str, Any] = {"name": kind, "type": kind, "timeout": "2s", **(plain or {})}
        for name, secret in {"url": service.url + path, **secrets}.items():
            (tmp_path / name).write_text(secret)
            values[name] = f"file:{tmp_path}/{name}"
        notifier = make_notifier(ADAPTER.validate_python(values), lambda: NOW)
        assert notifier is not None
        return notifier

    return build
