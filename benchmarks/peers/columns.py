"""What the column stores share: the rules' rates, and balances from sums over the facts of stream (a).

They price each fact and sum per consumer, node and day; the rest of a balance follows from these sums. Nothing is
validated: no id, no duplicate, no schema, no limit, no balance of any entry, and nothing is stored. That is enough only
because each fact of stream (a) is valid and settles at once. The lives of stream (b) need an order of events, so there
only postings that were decided elsewhere can be summed.
"""

import tomllib
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.oracle import ISSUED
from benchmarks.task import Result, Task, rss_mib

__all__ = ["FACTS", "POSTINGS", "Rates", "balances", "judge", "summed"]

FACTS = "facts.parquet"
POSTINGS = "postings.parquet"


class Rates(NamedTuple):
    """The rates of the rules, in basis points, and the first supply."""

    burn: int
    fee: int
    pool: int
    supply: int

    @classmethod
    def read(cls, parameters: Path) -> "Rates":
        """Read them from the parameters. Raises: KeyError."""
        rules = tomllib.loads(parameters.read_text(encoding="utf-8"))
        supply = sum(int(line["amount"]) for line in rules["genesis"])
        return cls(rules["job"]["burn_bps"], rules["job"]["fee_bps"], rules["waterfall"]["validator_bps"], supply)


def balances(
    rates: Rates, consumers: Iterable[Any], suppliers: Iterable[Any], days: Iterable[tuple[int, int, int]]
) -> dict[str, int]:
    """Make balances of sums: name and net of each consumer and node; deposits, burns and fees of each day."""
    totals = {f"consumer:{name}": int(net) for name, net in consumers}
    totals |= {f"payable:supplier:{name}": int(net) for name, net in suppliers}
    deposits = burns = fees = pool = 0
    for deposited, burned, charged in days:
        deposits, burns, fees = deposits + deposited, burns + burned, fees + charged
        pool += charged * rates.pool // 10_000
    totals |= {"external": rates.supply - deposits, ISSUED: -rates.supply, "burn:pending": burns}
    return totals | {"validator_pool:carry": pool, "treasury:ops": fees - pool}


def summed(rows: Iterable[tuple[str, int | Decimal]]) -> dict[str, int]:
    """Make balances of sums per account."""
    return {account: int(total) for account, total in rows}


def judge(task: Task, totals: dict[str, int], path: Path, seconds: float, conditions: str) -> Result:
    """Hold balances against the oracle's."""
    rss = rss_mib()
    return Result(
        seconds=seconds,
        exact={account: total for account, total in totals.items() if total} == task.totals(),
        bytes_on_disk=path.stat().st_size,
        rss_mib=rss,
        conditions=f"{conditions}; validates nothing",
    )
