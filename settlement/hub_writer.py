"""What the hub has decided, as it will stand in its log; and the moment at which it decides.

id = SHA-256(type | key)        occurred_at = that of what caused it, else the cut
epoch = that of the day on which it occurred, while it is open (D14)
"""

from typing import Any, NamedTuple

from events.codec import encode_lines
from events.decisions import DecisionRefused
from events.event import Decision, Fact, decision_id
from events.instant import format_instant
from events.refusal import Refusal
from ledger.epoch import closes_at, epoch_for
from settlement.credits import Credits
from settlement.holdings import Holdings
from settlement.lane_writer import SOURCE, say_why
from settlement.output import Decided
from settlement.timekeeper import BEFORE_TIME

__all__ = ["Cause", "HubWriter"]


class Cause(NamedTuple):
    """What a decision rests on: a fact, a lane's decision, or (without an id) that a time has come."""

    occurred_at: int
    id: str | None = None
    late: bool = False


class HubWriter:
    """Writes the hub's decisions and keeps what they, and what lanes credit, leave in each account.

    `cut` is the time of the present cut, `oldest_open` the oldest epoch that is not closed.
    """

    def __init__(self, params_hash: str, oldest_open: int) -> None:
        """Begin without a decision."""
        self.credits = Credits()
        self.holdings = Holdings(self.credits)
        self.cut = BEFORE_TIME
        self.oldest_open = oldest_open
        self._params_hash = params_hash
        self._cause = Cause(BEFORE_TIME)
        self._decided: list[Decision] = []

    def because(self, cause: Cause) -> None:
        """Name the cause of what is written from now on."""
        self._cause = cause

    def write(self, kind: type[Any], key: str, subject: str, data: Any) -> None:
        """Write what the present cause led to. Raises: LedgerInvariantBroken."""
        self._write(kind, key, subject, data, self._cause, epoch_for(self._cause.occurred_at, self.oldest_open))

    def write_close(self, kind: type[Any], key: str, subject: str, data: Any) -> None:
        """Write a part of the oldest open epoch's close, which is the present cut. Raises: LedgerInvariantBroken."""
        self._write(kind, key, subject, data, Cause(self.cut), self.oldest_open)

    def refuse(self, fact: Fact, refusal: Refusal) -> None:
        """Write why the fact, which is the present cause, was refused."""
        self.write(DecisionRefused, fact.id, fact.subject, say_why(refusal))

    def refuse_unreadable(self, position: str, refusal: Refusal) -> None:
        """Write why a line was refused; it has no time of its own."""
        began_at = closes_at(self.oldest_open - 1, 0)
        self._write(DecisionRefused, position, "intake", say_why(refusal, position), Cause(began_at), self.oldest_open)

    def give(self) -> Decided:
        """Hand over what was decided since the last time."""
        decided, self._decided = self._decided, []
        return Decided(encode_lines(decided))

    def _write(self, kind: type[Any], key: str, subject: str, data: Any, cause: Cause, epoch: int) -> None:
        decision = kind(
            id=decision_id(kind.__name__, key),
            source=SOURCE,
            subject=subject,
            occurred_at=format_instant(cause.occurred_at),
            key=key,
            schema_version=kind.VERSION,
            causation_id=cause.id,
            epoch=epoch,
            params_hash=self._params_hash,
            late=cause.late,
            data=data,
        )
        self.holdings.fold(decision)
        self._decided.append(decision)
