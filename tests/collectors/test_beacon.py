"""The beacon in a real Chromium: what it times is what the customer sees, and leaving the page loses nothing."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cxgauge.metrics.observation import Source, check_results
from cxgauge.metrics.verdict import CheckResult, Verdict

SNIPPET = Path(__file__).parents[2] / "collectors" / "receiver" / "beacon" / "cxgauge.js"
PAGE = """<!doctype html><meta charset="utf-8"><title>Bill</title>
<script src="{receiver}/cxgauge.js" data-url="{receiver}"></script>
<h1>Bill</h1><div id="total"></div><ul id="items"></ul>
<script>
const later = (milliseconds, work) => setTimeout(work, milliseconds);
{script}
</script>"""


@pytest.fixture
def site() -> Iterator[Any]:
    """A web site of one page: ``site.page = …``; its address is ``site.url``."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = site_.page.encode() if self.path == "/" else b"<title>Elsewhere</title>"
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    class Site(http.server.ThreadingHTTPServer):
        page = ""
        url = ""

    site_ = Site(("127.0.0.1", 0), Handler)
    site_.url = f"http://127.0.0.1:{site_.server_address[1]}"
    thread = threading.Thread(target=site_.serve_forever)
    thread.start()
    yield site_
    site_.shutdown()
    thread.join()
    site_.server_close()


@pytest.fixture
def browse(site: Any, start_receiver: Callable[..., Any], chromium: Any) -> Any:
    """Open the page with a script: ``browse(script)`` returns the page; ``browse.rows(n)`` waits for observations."""
    receiver = start_receiver(allowed_origins=(site.url,))
    address = f"http://127.0.0.1:{receiver.port}"

    def open_page(script: str) -> Any:
        site.page = PAGE.format(receiver=address, script=script)
        page = chromium.new_page()
        page.goto(site.url)
        return page

    def rows(count: int) -> list[Any]:
        deadline = time.monotonic() + 20
        while len(receiver.stored()) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        found = receiver.stored()
        assert len(found) == count
        return found

    open_page.rows = rows  # type: ignore[attr-defined]
    open_page.receiver = receiver  # type: ignore[attr-defined]
    return open_page


SHOW_TOTAL = "document.querySelector('#total').textContent = '3.30';"
SHOW_ITEMS = "document.querySelector('#items').innerHTML = '<li>1.10</li><li>2.20</li>';"
STEP = "const step = cxgauge.step('bill', 'total', {dimensions: {channel: 'web'}});"


def test_it_is_small() -> None:
    assert len(SNIPPET.read_bytes()) < 3000


def test_the_duration_ends_when_the_answer_is_on_the_screen(browse: Any) -> None:
    browse(f"{STEP} step.until('#total', {{shown: '#items li'}}); later(300, () => {{ {SHOW_TOTAL} {SHOW_ITEMS} }});")
    [(series, row)] = browse.rows(1)
    assert (series.flow, series.step, dict(series.dimensions)["channel"]) == ("bill", "total", "web")
    assert 0.3 <= row["duration_seconds"] < 5
    assert (row["verdict"] == Verdict.GOOD, row["source"]) == (row["duration_seconds"] <= 1, Source.BEACON)
    assert check_results(row["checks"], 2) == (CheckResult.PASS, CheckResult.NOT_EVALUATED)
    assert any(row["flow_instance"])


HIDDEN = ["display: none", "visibility: hidden", "opacity: 0", "position: absolute; left: -9999px"]


def test_what_cannot_be_seen_is_not_shown(browse: Any) -> None:
    hide = [f"<p id=p{number} style='{style}'>3.30</p>" for number, style in enumerate(HIDDEN)]
    wait = [f"cxgauge.step('bill', 'total').until('#p{number}');" for number in range(len(HIDDEN))]
    browse(
        f"document.body.insertAdjacentHTML('beforeend', `{''.join(hide)}`); {''.join(wait)}"
        "later(400, () => document.querySelectorAll('p').forEach(p => p.style = ''));"
    )
    assert all(row["duration_seconds"] >= 0.4 for _, row in browse.rows(len(HIDDEN)))


def test_details_that_do_not_come_fail_their_check_but_do_not_stretch_the_duration(browse: Any) -> None:
    browse(f"{STEP} step.until('#total', {{shown: '#items li'}}, {{grace: 0.5}}); {SHOW_TOTAL}")
    [(_, row)] = browse.rows(1)
    assert row["duration_seconds"] < 0.5
    assert check_results(row["checks"], 1) == (CheckResult.FAIL,)
    assert row["verdict"] == Verdict.INCOMPLETE


def test_an_answer_that_never_comes_is_a_timeout(browse: Any) -> None:
    browse(f"{STEP} step.until('#total', {{}}, {{timeout: 0.3}});")
    [(_, row)] = browse.rows(1)
    assert row["verdict"] == Verdict.TIMEOUT
    assert row["duration_seconds"] >= 0.3


def test_leaving_the_page_sends_what_is_done_and_what_is_not(browse: Any, site: Any) -> None:
    page = browse(
        "cxgauge.step('bill', 'details').end();"
        f"{STEP} step.until('#total');"
        "cxgauge.step('bill', 'details').until('h1', {}, {grace: 9});"
    )
    page.wait_for_timeout(100)
    page.goto(site.url + "/elsewhere")
    rows = browse.rows(3)
    verdicts = sorted((series.step, Verdict(row["verdict"]).label) for series, row in rows)
    assert verdicts == [("details", "good"), ("details", "good"), ("total", "abandoned")]
    assert len({row["flow_instance"] for _, row in rows}) == 1


def test_an_answer_that_was_seen_is_not_abandoned(browse: Any, site: Any) -> None:
    page = browse(f"{STEP} step.until('#total', {{shown: '#items li'}}, {{grace: 60}}); {SHOW_TOTAL}")
    page.wait_for_timeout(300)
    page.close(run_before_unload=True)
    [(_, row)] = browse.rows(1)
    assert row["verdict"] == Verdict.INCOMPLETE


def test_a_flow_keeps_its_instance_until_a_fresh_one_is_asked_for(browse: Any) -> None:
    browse(
        "cxgauge.step('bill', 'total').end(); cxgauge.step('bill', 'details').end();"
        "cxgauge.instance('bill', true); cxgauge.step('bill', 'total').end(); cxgauge.flush();"
    )
    instances = [row["flow_instance"] for _, row in browse.rows(3)]
    assert instances[0] == instances[1] != instances[2]


def test_a_page_that_is_not_allowed_sends_nothing(browse: Any, site: Any, chromium: Any) -> None:
    page = chromium.new_page()
    page.goto(site.url.replace("127.0.0.1", "localhost"))
    browse(f"{STEP} step.end(); cxgauge.flush();")
    browse.rows(1)
    page.reload()
    page.wait_for_timeout(300)
    assert browse.receiver.receiver.replies.get(403) == 1
    browse.rows(1)
