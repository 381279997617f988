"""HTML to PDF by a Chromium that is installed; nothing is fetched."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

__all__ = ["PROGRAM_VARIABLE", "PdfBusyError", "PdfError", "find_chromium", "html_to_pdf"]

PROGRAM_VARIABLE = "CXGAUGE_CHROMIUM"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_TIMEOUT_SECONDS = 120
_AT_ONCE = 2  # a Chromium takes a processor and hundreds of megabytes
_FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--no-pdf-header-footer",
)


_printing = threading.BoundedSemaphore(_AT_ONCE)


class PdfBusyError(RuntimeError):
    """As many PDFs as may be printed at once are being printed."""


class PdfError(RuntimeError):
    """The PDF could not be made; the message says why and what to do."""


def find_chromium() -> Path:
    """The program to print with: ``CXGAUGE_CHROMIUM``, else the first of the usual names on the path.

    Raises:
        PdfError: there is none.
    """
    given = os.environ.get(PROGRAM_VARIABLE)
    found = given if given else next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None or not Path(found).exists():
        raise PdfError(
            f"a PDF needs Chromium, and {given or 'none'} was found; install it (apt-get install chromium "
            f"fonts-noto-cjk), or name the program in {PROGRAM_VARIABLE}"
        )
    return Path(found)


def html_to_pdf(html: str, wait_seconds: float = 300.0) -> bytes:
    """Print a self-contained HTML page; two are printed at once, others wait for ``wait_seconds`` at most.

    Raises:
        PdfBusyError: two others were being printed all the while.
        PdfError: Chromium is not there, failed, or took longer than two minutes.
    """
    program = find_chromium()
    if not _printing.acquire(timeout=wait_seconds):
        raise PdfBusyError(f"{_AT_ONCE} other PDFs are being printed; try again in a moment")
    try:
        return _print(program, html)
    finally:
        _printing.release()


def _print(program: Path, html: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="cxgauge-pdf-") as folder:
        page, result = Path(folder, "report.html"), Path(folder, "report.pdf")
        page.write_text(html, "utf-8")
        flags = [*_FLAGS, f"--user-data-dir={folder}/profile", f"--print-to-pdf={result}"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")  # Chromium's sandbox refuses to run as root; the page is our own
        try:
            done = subprocess.run(  # noqa: S603 - our flags and our file, no shell
                [program, *flags, page.as_uri()], capture_output=True, timeout=_TIMEOUT_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PdfError(f"{program} did not print the report: {error}") from error
        if not result.is_file():
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
            raise PdfError(f"{program} did not print the report (exit code {done.returncode}): {last[0]}")
        return result.read_bytes()
