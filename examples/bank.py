"""A small bank over HTTP, instrumented with the recorder: the system under measurement of the demonstration.

Nothing here is a stub of cxgauge: requests cross loopback, answers are JSON with amounts, every step is
judged by the checks of ``examples/flows``. Only the core bank behind it is invented: each answer takes a
time drawn from a lognormal distribution, and ``PUT /faults`` makes it slower or drops the details.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import time
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from ..collectors.recorder.recorder import Recorder

__all__ = ["DETAILS_MISSING_RATIO", "FLOWS_DIRECTORY", "STEP_LATENCIES", "Faults", "Latency", "bank"]

FLOWS_DIRECTORY: Final = Path(__file__).parent / "flows"


@dataclass(frozen=True, slots=True)
class Latency:
    """Lognormal answer time: median in seconds and the standard deviation of its logarithm."""

    median_seconds: float
    log_sd: float

    @property
    def mean_seconds(self) -> float:
        """The mean of the distribution."""
        return self.median_seconds * math.exp(self.log_sd**2 / 2)


STEP_LATENCIES: Final[dict[tuple[str, str], Latency]] = {
    ("log_in", "authenticate"): Latency(0.25, 0.25),
    ("bill_inquiry", "bill_total"): Latency(1.0, 0.25),
    ("bill_inquiry", "bill_details"): Latency(0.6, 0.3),
    ("bill_inquiry", "dispute"): Latency(0.5, 0.3),
    ("transfer", "payee"): Latency(0.3, 0.3),
    ("transfer", "confirm"): Latency(0.7, 0.25),
}


DETAILS_MISSING_RATIO: Final = 0.002
"""Share of bill details answers without details on a normal day: a real bank is never perfect."""


@dataclass(slots=True)
class Faults:
    """What is wrong with the bank at the moment.

    Attributes:
        slowdown: Factor on the answer time by step name; 1.2 turns 1.0 s into 1.2 s.
        details_missing_ratio: Share (0–1) of bill details answers that show the total and no details.
    """

    slowdown: dict[str, float] = field(default_factory=dict)
    details_missing_ratio: float = DETAILS_MISSING_RATIO


def bill(account: str) -> dict[str, Any]:
    """Make the bill of an account: two to eight lines whose total is exactly their sum, amounts as decimal text."""
    generator = random.Random(account)  # noqa: S311 - the same account shows the same invented bill in every step
    amounts = [Decimal(generator.randrange(100, 500_000)) / 100 for _ in range(generator.randrange(2, 9))]
    details = [{"id": f"item-{number}", "amount": str(amount)} for number, amount in enumerate(amounts)]
    return {"currency": "CNY", "total": str(sum(amounts, Decimal(0))), "details": details}


async def _answer_time(flow: str, step: str, faults: Faults, generator: random.Random, started: float) -> None:
    """Sleep until the drawn answer time has passed since ``started``: the loop's own delay is not added on top."""
    latency = STEP_LATENCIES[flow, step]
    seconds = latency.median_seconds * generator.lognormvariate(0.0, latency.log_sd) * faults.slowdown.get(step, 1.0)
    await asyncio.sleep(max(0.0, started + seconds - time.perf_counter()))


def _step_answer(step: str, account: str, faults: Faults, generator: random.Random) -> dict[str, Any]:
    if step == "bill_total":
        answer = bill(account)
        return {"currency": answer["currency"], "total": answer["total"]}
    if step == "bill_details":
        answer = bill(account)
        if generator.random() < faults.details_missing_ratio:
            answer["details"] = []
        return answer
    return {"status": "ok", "reference": f"R{generator.getrandbits(40):010x}"}


def bank(recorder: Recorder, seed: int = 0) -> Starlette:
    """Build the bank's HTTP application.

    Routes: ``POST /{flow}/{step}`` answers as JSON; the flow instance travels in the ``baggage`` header,
    the rest in ``x-customer``, ``x-account``, ``x-channel`` and ``x-app-version``.
    ``PUT /faults`` takes ``{"slowdown": {"bill_total": 1.2}, "details_missing_ratio": 0.05}``.
    """
    generator, faults = random.Random(seed), Faults()  # noqa: S311 - amounts and times of an invented bank

    async def step(request: Request) -> JSONResponse:
        started = time.perf_counter()
        flow_name, step_name = request.path_params["flow"], request.path_params["step"]
        if (flow_name, step_name) not in STEP_LATENCIES:
            return JSONResponse({"error": "no such step"}, 404)
        header = request.headers
        with (
            recorder.flow(
                flow_name,
                customer=header.get("x-customer"),
                carrier=header,
                channel=header.get("x-channel", "unknown"),
                app_version=header.get("x-app-version", "unknown"),
            ) as flow,
            flow.step(step_name) as passing,
        ):
            await _answer_time(flow_name, step_name, faults, generator, started)
            answer = _step_answer(step_name, header.get("x-account", ""), faults, generator)
            passing.answer(answer)
        return JSONResponse(answer)

    async def set_faults(request: Request) -> JSONResponse:
        wanted = await request.json()
        faults.slowdown = {str(name): float(factor) for name, factor in wanted.get("slowdown", {}).items()}
        faults.details_missing_ratio = float(wanted.get("details_missing_ratio", DETAILS_MISSING_RATIO))
        return JSONResponse({"slowdown": faults.slowdown, "details_missing_ratio": faults.details_missing_ratio})

    async def healthy(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    return Starlette(
        routes=[
            Route("/-/healthy", healthy),
            Route("/faults", set_faults, methods=["PUT"]),
            Route("/{flow}/{step}", step, methods=["POST"]),
        ]
    )


def _main() -> None:
    import uvicorn

    from ..collectors.recorder.recorder import Recorder

    parser = argparse.ArgumentParser(description="A small bank on 127.0.0.1, instrumented with the recorder.")
    parser.add_argument("--config", type=Path, default=Path("cxgauge.yml"))
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    recorder = Recorder.from_config(arguments.config, strict=True)
    uvicorn.run(
        bank(recorder),
        host="127.0.0.1",
        port=arguments.port,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=120,  # longer than any customer thinks
    )


if __name__ == "__main__":
    _main()
