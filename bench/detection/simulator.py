"""Bank-like latency and failure series, seeded: seasons, heavy tails, bursts, common noise, and every case to detect.

A minute's histogram is drawn bucket by bucket from Poisson laws, so a series of 1,000 observations a minute
costs no more than one of ten.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from cxgauge.metrics.backtest.file import Recording

DAY = 1440
LOW, WIDTH, BUCKETS = -4.0, 0.125, 72


@dataclass(frozen=True)
class Truth:
    """What a series is made of."""

    rate: float  # observations a minute, mean over a week
    deviation: float  # sd of log duration
    noise: float  # sd of what a minute's observations share
    correlation: float  # of that noise, minute to minute
    wander: float  # sd of a day's level
    season: float  # amplitude of the level over the day
    phase: float
    harmonics: tuple[float, float]
    weekend: float  # share of weekday traffic on weekends
    shares: tuple[float, ...]  # of groups
    levels: tuple[float, ...]  # of groups (ln s)
    outliers: float  # share of time-outs
    heavy: float  # share of observations with three times the deviation
    batch_at: int  # minute of the day of a nightly job
    batch: float  # its height (ln s)
    failure: float  # failure rate
    failure_spread: float  # sd of the log failure rate shared by a minute


def draw_truth(rng: np.random.Generator, rate: float, *, failure: float | None = None) -> Truth:
    """A random truth within the ranges measured on real services."""
    groups = 3
    shares = rng.dirichlet(np.full(groups, 6.0))
    return Truth(
        rate=rate,
        deviation=float(rng.uniform(0.3, 0.8)),
        noise=float(rng.uniform(0.01, 0.04)),
        correlation=float(rng.uniform(0.5, 0.85)),
        wander=float(rng.uniform(0.0, 0.01)),
        season=float(rng.uniform(0.05, 0.2)),
        phase=float(rng.uniform(0, 1)),
        harmonics=(float(rng.uniform(-0.04, 0.04)), float(rng.uniform(-0.03, 0.03))),
        weekend=float(rng.uniform(0.4, 0.9)),
        shares=tuple(float(share) for share in shares),
        levels=tuple(float(level) for level in rng.normal(-0.3, 0.35, groups)),
        outliers=float(rng.uniform(0.0005, 0.003)),
        heavy=float(rng.uniform(0.0, 0.05)),
        batch_at=int(rng.integers(60, 300)),
        batch=float(rng.uniform(0.1, 0.3)),
        failure=failure if failure is not None else float(np.exp(rng.uniform(np.log(0.001), np.log(0.02)))),
        failure_spread=float(rng.uniform(0.0, 0.3)),
    )


@dataclass(frozen=True)
class Case:
    """What happens in a stream; minutes are relative to its start."""

    kind: str = "null"
    change: int = 0
    effect: float = 0.0  # log-ratio
    group: int = -1
    options: dict[str, float] = field(default_factory=dict)


@dataclass
class Columns:
    """Rows of one series, to be joined into a recording."""

    name: str
    minute: np.ndarray
    group: np.ndarray
    n: np.ndarray
    sum_log: np.ndarray
    sum_sq: np.ndarray
    fails: np.ndarray
    histogram: np.ndarray  # [R, BUCKETS]
    rate: np.ndarray  # expected observations by minute, for the limit


def _normal_cdf(x: np.ndarray) -> np.ndarray:
    grid = np.linspace(-8, 8, 4001)
    density = np.exp(-(grid**2) / 2)
    table = np.cumsum(density)
    return np.interp(x, grid, table / table[-1])


def _autoregression(rng: np.random.Generator, size: int, deviation: float, correlation: float) -> np.ndarray:
    shocks = rng.normal(size=size) * deviation * np.sqrt(1 - correlation**2)
    shocks[0] = rng.normal() * deviation
    # blockwise filter: exact recursion by powers would overflow, so a short kernel is convolved
    reach = min(size, int(np.ceil(np.log(1e-6) / np.log(max(correlation, 1e-3)))) + 1)
    return np.convolve(shocks, correlation ** np.arange(reach))[:size]


def traffic(truth: Truth, minute: np.ndarray) -> np.ndarray:
    """Expected observations a minute."""
    day = (minute % DAY) / DAY
    shape = 0.12 + np.exp(-((day - 0.45) ** 2) / 0.02) + 0.8 * np.exp(-((day - 0.75) ** 2) / 0.012)
    weekend = np.where((minute // DAY) % 7 >= 5, truth.weekend, 1.0)
    return truth.rate * shape / 0.498 * weekend


def level(truth: Truth, minute: np.ndarray, batch_at: int) -> np.ndarray:
    """The expected level over the day, less the groups' own."""
    day = (minute % DAY) / DAY
    wave = truth.season * np.sin(2 * np.pi * (day - truth.phase))
    for order, height in enumerate(truth.harmonics, start=2):
        wave = wave + height * np.sin(2 * np.pi * order * (day - truth.phase))
    wave = np.where((minute // DAY) % 7 >= 5, 0.7 * wave - 0.03, wave)
    inside = ((minute % DAY) >= batch_at) & ((minute % DAY) < batch_at + 30)
    return wave + np.where(inside, truth.batch, 0.0)


def simulate(  # noqa: PLR0912, PLR0915 - one case after the other, read from top to bottom
    truth: Truth, seed: int, name: str, first: int, minutes: int, case: Case | None = None
) -> Columns:
    """One series of ``minutes`` minutes from absolute minute ``first``."""
    case = case or Case()
    rng = np.random.default_rng(seed)
    t = np.arange(minutes)
    minute = first + t
    clock = minute + np.where((case.kind == "dst") & (t >= case.change), int(case.options.get("by", 60)), 0)
    batch_at = truth.batch_at
    moved = level(truth, clock, batch_at)
    if case.kind == "batch":
        other = level(truth, clock, (batch_at + int(case.options.get("by", 60))) % DAY)
        moved = np.where(t >= case.change, other, moved)
    after = t >= case.change
    base = moved + _autoregression(rng, minutes, truth.noise, truth.correlation)
    days = int(minute[-1] // DAY - minute[0] // DAY) + 1
    base = base + (rng.normal(size=days) * truth.wander)[minute // DAY - minute[0] // DAY]
    rate = traffic(truth, clock)
    rate = rate * np.exp(_autoregression(rng, minutes, 0.08, 0.97))
    for start in np.flatnonzero(rng.random(minutes) < 1 / (2 * DAY)):  # bursts
        rate[start : start + int(rng.integers(3, 40))] *= rng.uniform(1.5, 3.0)
    if case.kind == "drop":
        rate = np.where(after, rate * np.exp(case.effect), rate)
    if case.kind == "burst":
        rate = np.where(after & (t < case.change + 60), rate * 4, rate)
    shares = np.tile(truth.shares, (minutes, 1))
    if case.kind == "mix":
        slow = int(np.argmax(truth.levels))
        target = np.full(len(truth.shares), 0.15)
        target[slow] = 0.7
        shares = np.where(after[:, None], target, shares)
    shift = np.zeros((minutes, len(truth.shares)))
    if case.kind == "up":
        shift[after] = case.effect
    elif case.kind == "ramp":
        shift += (np.clip((t - case.change) / 120, 0, 1) * case.effect)[:, None]
    elif case.kind == "part":
        shift[after, case.group] = case.effect
    elif case.kind == "spike":
        shift[case.change : case.change + int(case.options.get("minutes", 3))] = case.effect
    elif case.kind == "spikes":  # again and again, as long as the stream is
        inside = (t >= case.change) & ((t - case.change) % int(case.options["every"]) < case.options["minutes"])
        shift[inside, slice(None) if case.group < 0 else case.group] = case.effect
    elif case.kind == "pulse":
        shift[case.change : case.change + int(case.options.get("minutes", 360))] = case.effect
    elif case.kind == "creep":
        for step in range(5):
            shift[t >= case.change + step * int(case.options.get("every", DAY))] += case.effect
    outliers = np.full(minutes, truth.outliers)
    tail_share = np.where(after & (case.kind == "tail"), case.options.get("share", 0.02), 0.0)
    failure = truth.failure * np.exp(rng.normal(size=minutes) * truth.failure_spread - truth.failure_spread**2 / 2)
    if case.kind == "fail":
        failure = np.where(after, failure * np.exp(case.effect), failure)
    if case.kind == "spikes" and "outliers" in case.options:  # time-outs, which count as failures
        outliers = np.where(inside, case.options["outliers"], outliers)
        failure = np.where(inside, case.options["outliers"], failure)
    keep = np.ones(minutes, dtype=bool)
    if case.kind == "gap":
        keep[case.change : case.change + int(case.options.get("minutes", 45))] = False
    parts = []
    edges = LOW + WIDTH * np.arange(BUCKETS + 1)
    for group in range(len(truth.shares)):
        centre = base + truth.levels[group] + shift[:, group]
        expected = rate * shares[:, group]
        z = (edges[None, :] - centre[:, None]) / truth.deviation
        body = (1 - truth.heavy) * _normal_cdf(z) + truth.heavy * _normal_cdf(z / 3)
        if case.kind == "tail":
            slower = _normal_cdf(
                (edges[None, :] - centre[:, None] - case.effect - 2.3 * truth.deviation) / (0.5 * truth.deviation)
            )
            body = (1 - tail_share[:, None]) * body + tail_share[:, None] * slower
        late = (edges >= np.log(30.0)).astype(float)
        cumulative = (1 - outliers[:, None]) * body + outliers[:, None] * late
        cumulative[:, 0], cumulative[:, -1] = 0.0, 1.0
        histogram = rng.poisson(expected[:, None] * np.maximum(np.diff(cumulative, axis=1), 0)).astype(np.int32)
        n = histogram.sum(axis=1)
        middle = LOW + WIDTH * (np.arange(BUCKETS) + 0.5)
        sum_log = histogram @ middle + rng.normal(size=minutes) * np.sqrt(n * WIDTH**2 / 12)
        sum_sq = histogram @ middle**2 + n * WIDTH**2 / 12
        fails = rng.binomial(n, np.clip(failure, 0, 1))
        rows = keep & (n > 0)
        parts.append(
            (
                minute[rows],
                np.full(rows.sum(), group),
                n[rows],
                sum_log[rows],
                sum_sq[rows],
                fails[rows],
                histogram[rows],
            )
        )
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Columns(name, *joined, rate=rate)  # type: ignore[misc]  # seven columns, counted by their tests


def recording(series: list[Columns], *, latency: bool = True, failures: bool = True) -> Recording:
    """Join series into a recording."""
    groups = tuple(f"g{index}" for index in range(max(int(one.group.max()) for one in series) + 1))
    histogram = np.concatenate([one.histogram for one in series])
    row, bucket = np.nonzero(histogram)
    offsets = np.concatenate(([0], np.cumsum(np.bincount(row, minlength=len(histogram)))))

    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(one, name) for one in series]).astype(float)

    nothing = np.full(len(histogram), np.nan)
    return Recording(
        tuple(one.name for one in series),
        groups,
        np.repeat(np.arange(len(series)), [len(one.minute) for one in series]),
        column("minute").astype(np.int64),
        column("group").astype(np.int64),
        column("n"),
        column("sum_log") if latency else nothing,
        column("sum_sq") if latency else nothing,
        column("fails") if failures else nothing,
        offsets if latency else np.zeros(len(histogram) + 1, dtype=np.int64),
        bucket if latency else np.zeros(0, dtype=np.int64),
        histogram[row, bucket].astype(float) if latency else np.zeros(0),
        {one.name: 2 for one in series},
        "simulated",
    )


def write_csv(path: str, data: Recording) -> None:
    """Write a recording as ``cxgauge backtest`` reads it."""
    import gzip

    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "wt") as out:
        out.write("series,minute,group,n,sum_log,sum_sq,hist,fails\n")
        for index in range(len(data)):
            low, high = data.offsets[index], data.offsets[index + 1]
            pairs = " ".join(
                f"{b}:{c:g}" for b, c in zip(data.buckets[low:high], data.bucket_counts[low:high], strict=True)
            )
            fields = [
                "" if np.isnan(value) else f"{value:.10g}"
                for value in (data.n[index], data.sum_log[index], data.sum_sq[index])
            ]
            fails = "" if np.isnan(data.fails[index]) else f"{data.fails[index]:g}"
            out.write(
                f"{data.names[data.series[index]]},{data.minute[index]},{data.groups[data.group[index]]},{','.join(fields)},{pairs},{fails}\n"
            )


def with_rate(truth: Truth, rate: float) -> Truth:
    """The same truth at another traffic."""
    return replace(truth, rate=rate)
