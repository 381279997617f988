"""A child process closes the spool's files that it inherited, and nobody else's."""

from __future__ import annotations

import os
from pathlib import Path

from cxgauge.collectors.spool import SpoolWriter


def test_a_child_keeps_files_that_took_the_numbers_of_a_closed_writers(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "spool")
    writer.close()
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(64)]  # some get the numbers that are free again
    child = os.fork()
    if child == 0:
        closed = 0
        for descriptor in opened:
            try:
                os.fstat(descriptor)
            except OSError:
                closed += 1
        os._exit(closed)
    _, status = os.waitpid(child, 0)
    for descriptor in opened:
        os.close(descriptor)
    assert os.waitstatus_to_exitcode(status) == 0
    del writer  # alive until here: a writer that is gone closes nothing
