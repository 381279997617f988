"""What the log shows of a fault: where it is, not the values that were there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from cxgauge.commands._logging import configure_logging


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_a_traceback_shows_no_values(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(password: str) -> None:
        raise RuntimeError(f"refused after {len(password)} letters")

    configure_logging()
    try:
        fail("hunter2" * 2)
    except RuntimeError:
        structlog.get_logger().error("sign-in", exc_info=True)
    printed = capsys.readouterr().out
    assert "RuntimeError: refused after 14 letters" in printed
    assert "hunter2hunter2" not in printed
