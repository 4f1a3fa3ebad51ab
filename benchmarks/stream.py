"""Stream (a): one metered usage per settlement, funded by declared authority in the same fact.

Deposits stand in front and cover each consumer's holds, so nothing overdraws. Consumers and nodes are drawn by Zipf's
law, gross amounts log-uniformly from 10^6 to 10^18 base units, so that from some 10^4 settlements on balances pass
2^63. Days are marked across a quarter. Same n and seed: same bytes.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.facts import Producer, to_line
from events.event import Fact
from events.facts import Terms, UsageMetered, UsageMeteredData
from events.instant import DAY, parse_instant

__all__ = [
    "ASSET",
    "CONSUMERS",
    "NODES",
    "PARAMETERS",
    "QUARTER_DAYS",
    "START",
    "consumer_name",
    "hold_of",
    "lowest_minimum",
    "node_name",
    "operator_name",
    "price_for",
    "usage_stream",
    "write_lines",
    "zipf",
]

PARAMETERS = Path(__file__).with_name("parameters.toml")
ASSET = "OMNI"
NODES = 10_000
CONSUMERS = 1_000
NODES_PER_OPERATOR = 4
START = parse_instant("2026-10-01T00:00:00.000000Z")
QUARTER_DAYS = 92
SECONDS_PER_HOUR = 3_600
KEPT_BPS = 9_300
GROSS_EXPONENTS = (6.0, 18.0)
ROWS = 10_000

Draw = np.random.Generator


def consumer_name(number: int) -> str:
    """Name a consumer."""
    return f"c-{number:04d}"


def node_name(number: int) -> str:
    """Name a node."""
    return f"node-{number:05d}"


def operator_name(node: int) -> str:
    """Name the operator of a node; each runs a few."""
    return f"op-{node // NODES_PER_OPERATOR:04d}"


def zipf(draw: Draw, size: int, count: int) -> npt.NDArray[np.int32]:
    """Draw `count` numbers below `size`, the k-th with weight 1 / (k + 1)."""
    weights = 1.0 / np.arange(1, size + 1)
    return draw.choice(size, count, p=weights / weights.sum()).astype(np.int32)


def _rows(*columns: npt.NDArray[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield columns of one length row by row, as Python's own numbers; never all of them at once."""
    for start in range(0, len(columns[0]), ROWS):
        yield from zip(*(column[start : start + ROWS].tolist() for column in columns), strict=True)


def price_for(gross: int, seconds: int) -> int:
    """Return the price per GPU-hour at which so many GPU-seconds cost `gross`, or a little more."""
    return -(-gross * SECONDS_PER_HOUR // seconds)


def hold_of(price: int, seconds_max: int) -> int:
    """Return what is held for a time, base units."""
    return -(-price * seconds_max // SECONDS_PER_HOUR)


def lowest_minimum(price: int) -> int:
    """Return a net minimum which a gross price still satisfies."""
    return price * KEPT_BPS // 10_000


def usage_stream(n: int, seed: int = 1) -> Iterator[Fact]:
    """Yield stream (a) with `n` settlements."""
    draw = np.random.default_rng(seed)
    nodes, consumers = zipf(draw, NODES, n), zipf(draw, CONSUMERS, n)
    exponents = draw.uniform(*GROSS_EXPONENTS, n)
    seconds = draw.integers(60, 86_400, n).astype(np.int32)
    spare = draw.integers(0, SECONDS_PER_HOUR, n).astype(np.int32)

    producer = Producer("bench", "usage")
    yield producer.register(START)
    need = [0] * CONSUMERS
    for consumer, exponent, time, more in _rows(consumers, exponents, seconds, spare):
        need[consumer] += hold_of(price_for(int(10.0**exponent), time), time + more)
    for number, amount in enumerate(need):
        if amount:
            name = consumer_name(number)
            yield producer.deposit(START, name, ASSET, amount, f"deposit:{name}")

    marked = START
    for i, (node, consumer, exponent, time, more) in enumerate(_rows(nodes, consumers, exponents, seconds, spare)):
        occurred_at = START + QUARTER_DAYS * DAY * i // n
        yield from producer.marks(marked, occurred_at)
        marked = occurred_at
        price = price_for(int(10.0**exponent), time)
        terms = Terms(
            asset=ASSET,
            authority="declared",
            gpu_seconds_max=time + more,
            minimum=str(lowest_minimum(price)),
            operator=operator_name(node),
            price=str(price),
        )
        usage = UsageMeteredData(
            attempt=1,
            consumer=consumer_name(consumer),
            gpu_seconds=time,
            node=node_name(node),
            terms=terms,
        )
        job = f"job-{i:08d}"
        yield producer.fact(UsageMetered, occurred_at, job, f"usage:{job}", usage)
    # One day more, so that the quarter's last day closes.
    yield from producer.marks(marked, START + (QUARTER_DAYS + 1) * DAY)


def write_lines(lines: Iterable[Fact | bytes], path: Path) -> int:
    """Write facts as CloudEvents, and lines as they are; return how many there are."""
    count = 0
    with path.open("wb") as file:
        for count, line in enumerate(lines, 1):  # noqa: B007
            file.write(line if isinstance(line, bytes) else to_line(line))
    return count
