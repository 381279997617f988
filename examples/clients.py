"""Customers of the small bank: bounded, real HTTP requests over loopback."""

from __future__ import annotations

import argparse
import asyncio
import random
from dataclasses import dataclass
from typing import Final

import httpx2

from ..metrics.names import Attribute
from .bank import STEP_LATENCIES

__all__ = ["APP_VERSIONS", "CHANNELS", "STEPS_PER_JOURNEY", "Customers", "journeys_per_second"]

CHANNELS: Final = (("app", 0.7), ("web", 0.3))
APP_VERSIONS: Final = (("8.1.0", 0.6), ("8.2.0", 0.4))
_DISPUTE_RATIO: Final = 0.2
_THINK_SECONDS: Final = 0.4
STEPS_PER_JOURNEY: Final[dict[tuple[str, str], float]] = {
    ("log_in", "authenticate"): 1.0,
    ("bill_inquiry", "bill_total"): 1.0,
    ("bill_inquiry", "bill_details"): 1.0,
    ("bill_inquiry", "dispute"): _DISPUTE_RATIO,
    ("transfer", "payee"): 1.0,
    ("transfer", "confirm"): 1.0,
}
"""How often a customer passes each step in one round of log-in, bill inquiry and transfer."""


def journeys_per_second(customers: int) -> float:
    """Rounds that so many customers make a second while the bank is healthy."""
    seconds = sum(
        share * (STEP_LATENCIES[step].mean_seconds + _THINK_SECONDS) for step, share in STEPS_PER_JOURNEY.items()
    )
    return customers / seconds


@dataclass(frozen=True, slots=True)
class Customers:
    """A number of customers who go through the bank's flows again and again until ``seconds`` have passed.

    Attributes:
        base_url: Where the bank listens, on loopback.
        count: How many at the same time; each waits for its answer before it goes on.
        seconds: When they stop, whatever they are doing.
    """

    base_url: str
    count: int
    seconds: float
    seed: int = 0

    async def run(self) -> None:
        """Let every customer go through its flows; returns when the time is over."""
        limits = httpx2.Limits(max_connections=self.count, max_keepalive_connections=self.count)
        async with httpx2.AsyncClient(base_url=self.base_url, limits=limits, timeout=30.0, trust_env=False) as client:
            customers = [self._customer(client, number) for number in range(self.count)]
            try:
                async with asyncio.timeout(self.seconds):
                    await asyncio.gather(*customers, return_exceptions=False)
            except TimeoutError:
                return

    async def _customer(self, client: httpx2.AsyncClient, number: int) -> None:
        generator = random.Random((self.seed << 20) + number)  # noqa: S311 - which flow an invented customer takes
        await asyncio.sleep(generator.uniform(0, 3 * _THINK_SECONDS))
        while True:
            await self._flow(client, generator, number, "log_in", ("authenticate",))
            dispute = ("dispute",) if generator.random() < _DISPUTE_RATIO else ()
            await self._flow(client, generator, number, "bill_inquiry", ("bill_total", "bill_details", *dispute))
            await self._flow(client, generator, number, "transfer", ("payee", "confirm"))

    async def _flow(
        self, client: httpx2.AsyncClient, generator: random.Random, number: int, flow: str, steps: tuple[str, ...]
    ) -> None:
        headers = {
            "baggage": f"{Attribute.FLOW_NAME}={flow},{Attribute.FLOW_INSTANCE}={generator.getrandbits(128):032x}",
            "x-customer": f"customer-{number}",
            "x-account": f"account-{generator.randrange(1_000)}",
            "x-channel": _pick(generator, CHANNELS),
            "x-app-version": _pick(generator, APP_VERSIONS),
        }
        for step in steps:
            try:
                await client.post(f"/{flow}/{step}", headers=headers)
            except httpx2.TransportError:  # a customer whose connection broke starts over
                await asyncio.sleep(_THINK_SECONDS)
                return
            await asyncio.sleep(generator.expovariate(1 / _THINK_SECONDS))


def _pick(generator: random.Random, shares: tuple[tuple[str, float], ...]) -> str:
    names, weights = zip(*shares, strict=True)
    return str(generator.choices(names, weights)[0])


def _main() -> None:
    parser = argparse.ArgumentParser(description="Customers of the small bank.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=3600.0)
    arguments = parser.parse_args()
    asyncio.run(Customers(arguments.url, arguments.count, arguments.seconds).run())


if __name__ == "__main__":
    _main()
