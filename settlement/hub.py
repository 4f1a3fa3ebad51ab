"""The hub: the one writer of every account that no lane owns.

It debits only when an epoch closes, which is when every lane has closed it; so lanes never wait for one another,
and what the hub decides does not depend on how lanes interleave. At each close, in this order:

    EpochClosed → per asset and vault: FeeAllocated (D5)
"""

from collections import defaultdict, deque
from typing import Any

from events.codec import encode
from events.decisions import (
    AllocatedLine,
    EpochClosed,
    EpochClosedData,
    FeeAllocated,
    FeeAllocatedData,
    GenesisAllocated,
    GenesisAllocatedData,
    LaneEpochClosed,
    LogPosition,
)
from events.event import decision_id
from events.facts import GenesisDeclared
from events.instant import day_of, format_instant, parse_instant, start_of_day
from ledger.epoch import closes_at
from ledger.genesis import allocate_genesis
from ledger.parameters import Parameters
from ledger.waterfall import share_fees
from settlement.lane import SOURCE

__all__ = ["Hub"]


class Hub:
    """The hub's decisions; methods return canonical lines in the order of the log."""

    def __init__(self, lanes: int, parameters: Parameters, params_hash: str) -> None:
        """Begin before the genesis, for a fixed number of lanes."""
        self._parameters = parameters
        self._params_hash = params_hash
        self._next = day_of(parse_instant(parameters.launched_at))
        self._closed: list[deque[tuple[LaneEpochClosed, int]]] = [deque() for _ in range(lanes)]

    def open_books(self, genesis: GenesisDeclared) -> list[bytes]:
        """Allocate the first supply."""
        asset = self._parameters.unit.asset
        lines = allocate_genesis(self._parameters)
        allocated = GenesisAllocated(
            id=decision_id("GenesisAllocated", asset),
            source=SOURCE,
            subject=asset,
            occurred_at=self._parameters.launched_at,
            key=asset,
            schema_version=1,
            causation_id=genesis.id,
            epoch=self._next,
            params_hash=self._params_hash,
            data=GenesisAllocatedData(
                asset=asset,
                amount=str(sum(line.amount for line in lines)),
                lines=tuple(
                    AllocatedLine(account=line.account, amount=str(line.amount), vault=line.vault) for line in lines
                ),
            ),
        )
        return [encode(allocated)]

    def take(self, closed: LaneEpochClosed, size: int) -> None:
        """Hear that a lane has closed an epoch; `size` is the lane's position behind that event."""
        self._closed[closed.data.lane].append((closed, size))

    def close_epochs(self) -> list[tuple[int, list[bytes]]]:
        """Close each epoch that all lanes have closed; return per epoch its network time and lines."""
        closes = []
        while all(self._closed):
            parts = [queue.popleft() for queue in self._closed]
            assert all(closed.epoch == self._next for closed, _ in parts)
            closes.append(self._close(self._next, parts))
            self._next += 1
        return closes

    def _close(self, epoch: int, parts: list[tuple[LaneEpochClosed, int]]) -> tuple[int, list[bytes]]:
        network_time = closes_at(epoch, self._parameters.epoch.grace_seconds)
        date = format_instant(start_of_day(epoch))[:10]
        data = EpochClosedData(
            starts_at=format_instant(start_of_day(epoch)),
            ends_at=format_instant(start_of_day(epoch + 1)),
            positions=tuple(LogPosition(log=closed.subject, size=size) for closed, size in parts),
        )
        shared: dict[str, Any] = {
            "source": SOURCE,
            "occurred_at": format_instant(network_time),
            "schema_version": 1,
            "epoch": epoch,
            "params_hash": self._params_hash,
        }
        lines = [
            encode(
                EpochClosed(
                    id=decision_id("EpochClosed", str(epoch)), subject=date, key=str(epoch), data=data, **shared
                )
            )
        ]
        fees: defaultdict[tuple[str, str], int] = defaultdict(int)
        for closed, _ in parts:
            for total in closed.data.totals:
                fees[total.asset, total.vault] += int(total.fee)
        for (asset, vault), amount in sorted(fees.items()):
            if amount:
                lines.append(self._share(epoch, asset, vault, amount, shared))
        return network_time, lines

    def _share(self, epoch: int, asset: str, vault: str, fees: int, shared: dict[str, Any]) -> bytes:
        shares = share_fees(fees, self._parameters.waterfall.validator_bps)
        key = f"fees:{epoch}:{asset}:{vault}"
        data = FeeAllocatedData(
            asset=asset, fees=str(fees), pool=str(shares.pool), treasury=str(shares.treasury), vault=vault
        )
        return encode(FeeAllocated(id=decision_id("FeeAllocated", key), subject=asset, key=key, data=data, **shared))
