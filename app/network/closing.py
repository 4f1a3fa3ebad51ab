"""What is paid out, burned and swept, and what is left: told last, when it is known what is owed.

Declared are only amounts that the network knows to be there: suppliers' nets and burns of jobs released before, matured
tickets, withdrawals, reporters' shares, the treasury's part of fees of closed epochs.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from app.network.actors import HOUR, Cast
from app.network.stakes import Credit
from app.network.thread import Outcome, Shared
from events.instant import DAY, MICROSECONDS, day_of
from ledger.parameters import Parameters
from ledger.split import split_gross

__all__ = ["Closing", "ReleasedLine", "tell_closing"]

PAYOUT_DAYS = 7


class ReleasedLine(NamedTuple):
    """One node's paid work, base units; `at` when it was released, `epoch` in which, None where that waited."""

    node: str
    consumer: str
    gross: int
    burn: int
    fee: int
    net: int
    at: int
    epoch: int | None


@dataclass(frozen=True, slots=True)
class Closing:
    """The released lines and the balances that are left; `end` is a midnight behind all that was told."""

    lines: tuple[ReleasedLine, ...]
    balances: dict[tuple[str, str], int]
    end: int


def tell_closing(
    random: Random,
    parameters: Parameters,
    shared: Shared,
    cast: Cast,
    outcomes: Sequence[Outcome],
    span: tuple[int, int],
) -> Closing:
    """Tell deposits, withdrawals, payouts, burns and sweeps over the span."""
    lines = _release(parameters, shared, outcomes)
    left = _Left()
    for line in lines:
        left.add(f"payable:supplier:{line.node}", "escrow", line.net)
        left.add("burn:pending", "escrow", line.burn)
        left.add(f"consumer:{line.consumer}", "escrow", -line.gross)
    for place, amount in shared.stakes.balances().items():
        left.add(*place, amount)
    teller = _Teller(random, parameters, shared, cast, left, span)
    teller.fund()
    teller.withdraw()
    end = span[1]
    for noon in range(span[0] + PAYOUT_DAYS * DAY + DAY // 2, span[1] + 1, PAYOUT_DAYS * DAY):
        teller.pay_suppliers(noon, lines)
        teller.sweep(noon + HOUR, lines)
        teller.burn(noon + 2 * HOUR, lines)
        end = noon + DAY
    for credit in shared.stakes.credits:
        end = max(end, teller.pay_stake(credit))
    return Closing(tuple(lines), left.balances, (end // DAY + 2) * DAY)


def _release(parameters: Parameters, shared: Shared, outcomes: Sequence[Outcome]) -> list[ReleasedLine]:
    """Split what is released; a line that waits is paid where its case falls, and else returned."""
    rules, released = parameters.job, []
    for outcome in outcomes:
        for line in outcome.lines:
            at, epoch = line.told.effective, line.told.epoch
            if line.case is not None:
                case = shared.stakes.cases[line.case]
                if case.outcome == "upheld":
                    continue
                at, epoch = case.decided_at + parameters.epoch.return_seconds * MICROSECONDS, -1
            parts = split_gross(line.gross, rules.burn_bps, rules.fee_bps)
            where = (line.node, outcome.consumer.id, line.gross, *parts, at, None if epoch < 0 else epoch)
            released.append(ReleasedLine(*where))
    return sorted(released, key=lambda line: (line.at, line.node))


class _Left:
    """Balances by (account, vault)."""

    def __init__(self) -> None:
        self.balances: defaultdict[tuple[str, str], int] = defaultdict(int)

    def add(self, account: str, vault: str, amount: int) -> None:
        self.balances[account, vault] += amount


class _Teller:
    """Tells what the desk pays."""

    def __init__(
        self, random: Random, parameters: Parameters, shared: Shared, cast: Cast, left: _Left, span: tuple[int, int]
    ) -> None:
        self._random, self._parameters, self._cast, self._left = random, parameters, cast, left
        self._desk = shared.desk
        self._start, self._end = span
        self._coin = 10**parameters.unit.decimals
        self._paid_until = self._burned_until = self._start
        self._swept_until = day_of(self._start)

    def fund(self) -> None:
        """Deposit for each consumer what its jobs need and something to spare, in two parts; two are refused."""
        for number, consumer in enumerate(self._cast.consumers):
            consumer.spare = self._random.randrange(10, 500) * self._coin + self._random.randrange(10**6)
            for hours, amount in ((1, consumer.need), (30, consumer.spare)):
                if amount:
                    self._desk.deposit(self._start + hours * HOUR + number, consumer, amount)
                    self._left.add(f"consumer:{consumer.id}", "escrow", amount)
        someone, at = self._cast.consumers[0], self._start + 2 * HOUR
        self._desk.deposit(at, someone, 0, refused="amount_is_zero")
        self._desk.deposit(at + 1, someone, 5, asset="XYZ", refused="asset_unknown")

    def withdraw(self) -> None:
        """Let owners take a part of what they have to spare, and be paid; one wants more than there is."""
        at = self._start + (self._end - self._start) // 2 // DAY * DAY + 8 * HOUR
        owners = [consumer for consumer in self._cast.consumers if consumer.owner is not None]
        for number, consumer in enumerate(owners):
            amount = consumer.spare // (number + 2)
            self._desk.withdraw(at + number, consumer, amount)
            self._left.add(f"consumer:{consumer.id}", "escrow", -amount)
            account = f"payable:withdrawal:{consumer.id}"
            self._left.add(account, "escrow", amount)
            if number:
                self._pay(at + 4 * HOUR + number, "escrow", [(account, amount)])
        beyond = 10 * (self._desk.sums["deposited"] + 1)
        self._desk.withdraw(at + HOUR, owners[0], beyond, refused="funds_insufficient")
        unpaid = f"payable:withdrawal:{owners[0].id}"
        self._desk.pay(at + 5 * HOUR, "escrow", [(unpaid, beyond)], refused="balance_insufficient")

    def pay_suppliers(self, noon: int, lines: Sequence[ReleasedLine]) -> None:
        """Pay every other node what was released to it before this midnight."""
        until = noon // DAY * DAY
        owed: defaultdict[str, int] = defaultdict(int)
        for line in lines:
            if self._paid_until <= line.at < until and int(line.node[-2:]) % 2:
                owed[f"payable:supplier:{line.node}"] += line.net
        self._pay(noon, "escrow", sorted(owed.items()))
        self._paid_until = until

    def burn(self, at: int, lines: Sequence[ReleasedLine]) -> None:
        """Burn what became due in the escrow vault before this midnight."""
        until = at // DAY * DAY
        due = sum(line.burn for line in lines if self._burned_until <= line.at < until)
        self._desk.burn(at, "escrow", due)
        self._left.add("burn:pending", "escrow", -due)
        self._burned_until = until

    def sweep(self, at: int, lines: Sequence[ReleasedLine]) -> None:
        """Bring the treasury's part of the fees home, of epochs closed before this day."""
        until = day_of(at) - 1
        fees: defaultdict[int, int] = defaultdict(int)
        for line in lines:
            if line.epoch is not None and self._swept_until <= line.epoch < until:
                fees[line.epoch] += line.fee
        bps = self._parameters.waterfall.validator_bps
        amount = sum(fee - fee * bps // 10_000 for fee in fees.values())
        self._desk.sweep(at, "escrow", "treasury", "treasury:ops", amount)
        self._swept_until = until

    def pay_stake(self, credit: Credit) -> int:
        """Pay a matured ticket or a reporter, or burn what a slash left, some hours later; return when."""
        at = credit.at + 12 * HOUR + self._random.randrange(HOUR)
        if credit.account == "burn:pending":
            self._desk.burn(at, "stake", credit.amount)
            self._left.add(credit.account, "stake", -credit.amount)
        elif credit.account.startswith("payable:stake:") or self._random.choice((True, False)):
            self._pay(at, "stake", [(credit.account, credit.amount)])
        return at

    def _pay(self, at: int, vault: str, lines: Sequence[tuple[str, int]]) -> None:
        self._desk.pay(at, vault, lines)
        for account, amount in lines:
            self._left.add(account, vault, -amount)
