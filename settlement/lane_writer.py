"""What a lane has decided, as it will stand in its log: ids, epochs, canonical lines, and the sums of open epochs.

id = SHA-256(type | key)        epoch = that of the deciding fact's day, while it is open (D14)
"""

from typing import Any

import numpy as np

from events.codec import encode_json
from events.columns import split_lines
from events.decisions import (
    DecisionRefused,
    DecisionRefusedData,
    JobSettled,
    LaneEpochClosed,
    LaneEpochClosedData,
    LaneTotal,
)
from events.event import decision_id
from events.hashing import Digests, hash_leaves
from events.instant import format_instant
from events.refusal import Refusal
from ledger.accounts import VAULT_ESCROW
from ledger.bps import Integers
from ledger.epoch import closes_at, epoch_for
from ledger.sums import limbs_of
from settlement.intake import Accepted
from settlement.jobs import EpochSum, LaneState
from settlement.output import Decided

__all__ = ["SOURCE", "LaneWriter", "say_why"]

SOURCE = "settlement"
# In place of the epoch of a decision that no epoch counts.
_UNCOUNTED = -1
_NOTHING = Decided(b"", np.empty((0, 32), dtype=np.uint8))


class LaneWriter:
    """Writes one lane's decisions; `give` hands them over in the order in which they were made."""

    def __init__(self, number: int, asset: str, params_hash: str, state: LaneState) -> None:
        """Begin with no decision; `state` holds the sums of the open epochs."""
        self._number = number
        self._asset = asset
        self._params_hash = params_hash
        self._state = state
        self._lines: list[str] = []
        self._epochs: list[int] = []

    def pending(self) -> int:
        """Count what was decided since `give`."""
        return len(self._lines)

    def give(self) -> Decided:
        """Hand over what was decided since the last time."""
        if not self._lines:
            return _NOTHING
        data, epochs = "".join(self._lines).encode(), self._epochs
        self._lines, self._epochs = [], []
        hashes = hash_leaves(data, *split_lines(data))
        for epoch in set(epochs) - {_UNCOUNTED}:
            mine = [place for place, one in enumerate(epochs) if one == epoch]
            self._state.epoch_sum(epoch).include(hashes[mine].tobytes(), 0, 0)
        return Decided(data, hashes)

    def answer(self, accepted: Accepted, kind: type[Any], key: str, data: Any, subject: str | None = None) -> None:
        """Write what a fact caused; it is about the fact's subject, unless another is named."""
        fact = accepted.fact
        epoch = epoch_for(accepted.occurred_at, self._state.oldest_open)
        self._write(kind, key, subject or fact.subject, fact.occurred_at, epoch, data, fact.id, late=accepted.late)

    def refuse(self, accepted: Accepted, refusal: Refusal) -> None:
        """Write why a fact was refused."""
        self.answer(accepted, DecisionRefused, accepted.fact.id, say_why(refusal))

    def refuse_unreadable(self, position: str, refusal: Refusal) -> None:
        """Write why a line was refused; it has no time of its own."""
        time = format_instant(closes_at(self._state.oldest_open - 1, 0))
        self._write(DecisionRefused, position, "intake", time, self._state.oldest_open, say_why(refusal, position))

    def count_many(self, epochs: Integers, leaves: Digests, fee: Integers, burn: Integers) -> None:
        """Count decisions that were written elsewhere, a row each, in the sums of their epochs."""
        if (np.diff(epochs) < 0).any():
            order = np.argsort(epochs, kind="stable")
            epochs, leaves, fee, burn = epochs[order], leaves[order], fee[order], burn[order]
        starts = np.flatnonzero(np.diff(epochs, prepend=_UNCOUNTED)).tolist()
        for start, end in zip(starts, [*starts[1:], len(epochs)], strict=False):
            mine = slice(start, end)
            fees, burns = _total(fee[mine]), _total(burn[mine])
            self._state.epoch_sum(int(epochs[start])).include(leaves[mine].tobytes(), fees, burns)

    def carry_out(self, time: int, causation_id: str, kind: type[Any], key: str, subject: str, data: Any) -> None:
        """Write what a verdict of the hub caused at a network time."""
        epoch = epoch_for(time, self._state.oldest_open)
        self._write(kind, key, subject, format_instant(time), epoch, data, causation_id)

    def close_epoch(self, epoch: int, grace_seconds: int) -> None:
        """Write the sums of an epoch, which is over for the lane; what was decided before was handed over."""
        assert not self._lines
        total = self._state.epochs.pop(epoch, None) or EpochSum()
        totals = (LaneTotal(asset=self._asset, vault=VAULT_ESCROW, fee=str(total.fee), burn=str(total.burn)),)
        key = f"{self._number}:{epoch}"
        digest, events = total.digest()
        data = LaneEpochClosedData(
            digest=digest,
            events=events,
            lane=self._number,
            totals=totals if total.fee or total.burn else (),
            duties=total.duties(),
        )
        time = format_instant(closes_at(epoch, grace_seconds))
        self._write(LaneEpochClosed, key, f"lane-{self._number}", time, epoch, data)
        # The sums of a close are those of the epoch that it closes.
        self._epochs[-1] = _UNCOUNTED

    def _write(
        self,
        kind: type[Any],
        key: str,
        subject: str,
        occurred_at: str,
        epoch: int,
        data: Any,
        causation_id: str | None = None,
        *,
        late: bool = False,
    ) -> None:
        """Write a decision's canonical line: its payload by the codec, around it what all decisions have."""
        cause = "" if causation_id is None else f'"causation_id":"{causation_id}",'
        name, flag = kind.__name__, ',"late":true' if late else ""
        self._lines.append(
            f'{{{cause}"data":{encode_json(data).decode()},"epoch":{epoch},"id":"{decision_id(name, key)}"'
            f',"key":"{key}"{flag},"occurred_at":"{occurred_at}","params_hash":"{self._params_hash}"'
            f',"schema_version":{kind.VERSION},"source":"{SOURCE}","subject":"{subject}","type":"{name}"}}\n'
        )
        self._epochs.append(epoch)
        if kind is JobSettled:
            total = self._state.epoch_sum(epoch)
            for line in data.lines:
                total.fee += int(line.fee)
                total.burn += int(line.burn)


def say_why(refusal: Refusal, position: str | None = None) -> DecisionRefusedData:
    """Return what is written of a refusal; `position`: where the fact cannot be named."""
    return DecisionRefusedData(detail=refusal.detail[:300], reason=refusal.reason, position=position)


def _total(amounts: Integers) -> int:
    """Return the exact sum of amounts in 0 … 2^63 - 1, of which there are some."""
    return limbs_of(amounts).sum_groups(np.zeros(1, dtype=np.int64)).ints()[0]
