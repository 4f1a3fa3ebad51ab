"""Books and the naive model side by side, fact by fact: for state machines, where each step is a new fact."""

from collections import Counter
from typing import Any

from events.codec import decode
from events.event import Decision, Fact
from ledger.fold import Books
from ledger.parameters import Parameters
from settlement.ingest import Partitions, ingest
from tests.naive.network import Naive
from tests.naive.told import reasons, told
from tests.settlement.desk import Desk, as_lines, no_clock

__all__ = ["Live"]


class Live:
    """A desk whose processes stay, and the model. `forged` names the facts that their owners did not sign."""

    def __init__(self, parameters: Parameters, lanes: int = 1) -> None:
        """Begin with the genesis."""
        self.desk = Desk(parameters, lanes)
        self.forged: set[str] = set()
        self.naive = Naive(parameters, self.forged)
        self.books = Books()
        self.decisions: list[Decision] = []
        self._partitions = Partitions(self.desk.partitions)
        self._settlement = self.desk.settlement()
        self._read = [0] * len(self.desk.ledgers)

    def take(self, *facts: Fact) -> list[Decision]:
        """Give facts to both; return what was decided. Raises: AssertionError where their balances differ."""
        for receipt in ingest([as_lines(facts)], "test", self._partitions, no_clock):
            assert not receipt.refused, receipt.refused
        self._settlement.run()
        new = self._new()
        self.books.fold(new)
        self.decisions += new
        self.naive.run(facts)
        assert self.money() == {place: amount for place, amount in self.naive.money.items() if amount}
        return new

    def money(self) -> dict[tuple[str, str], int]:
        """Return credits − debits by account and vault, without zeros."""
        nets = {(key.account, key.vault): credit - debit for key, (debit, credit) in self.books.balances.items()}
        return {place: net for place, net in nets.items() if net}

    def check(self) -> None:
        """Assert that both have decided and refused the same from the beginning on."""
        said, expected = told(self.decisions), self.naive.decided
        assert said == expected, differences(said, expected)
        assert reasons(self.decisions) == self.naive.refused

    def _new(self) -> list[Decision]:
        new: list[Decision] = []
        for number, log in enumerate(self.desk.ledgers):
            for record in log.records[self._read[number] :]:
                new += [event for event in map(decode, record.lines) if isinstance(event, Decision)]
            self._read[number] = len(log.records)
        return new


def differences(said: "Counter[tuple[Any, ...]]", expected: "Counter[tuple[Any, ...]]") -> str:
    """Show what only one of the two has said."""
    return "\n".join(
        [f"decided, not expected: {line}" for line in (said - expected).elements()]
        + [f"expected, not decided: {line}" for line in (expected - said).elements()]
    )
