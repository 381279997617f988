from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cxgauge.examples.demo import Demonstration, DemonstrationSettings
from cxgauge.examples.processes import DemonstrationError, require_free


def test_a_port_that_is_taken_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said: list[str] = []
        with pytest.raises(DemonstrationError) as found:
            Demonstration(tmp_path, DemonstrationSettings(port=port), said.append).run()
    assert str(found.value) == f"port={port} of 127.0.0.1 is taken; choose another, or 0 for one that is free"
    assert said == []
    assert list(tmp_path.iterdir()) == []
    require_free(0)
