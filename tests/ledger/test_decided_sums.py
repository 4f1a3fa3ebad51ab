"""A decision whose numbers do not add up is not posted, whoever wrote it."""

import msgspec
import pytest

from ledger.errors import LedgerInvariantBroken
from ledger.post import post
from tests.ledger.random_books import fund, lines, settle


def test_a_settled_line_whose_gross_is_not_its_parts_is_broken() -> None:
    settled = settle("K", "J", 100, lines(100))
    line = msgspec.structs.replace(settled.data.lines[0], gross="7")
    forged = msgspec.structs.replace(settled, data=msgspec.structs.replace(settled.data, lines=(line,)))

    with pytest.raises(LedgerInvariantBroken):
        post(forged)


def test_an_escrow_that_is_not_the_sum_of_its_holds_is_broken() -> None:
    funded = fund("K", "J", 30)
    forged = msgspec.structs.replace(funded, data=msgspec.structs.replace(funded.data, amount="31"))

    with pytest.raises(LedgerInvariantBroken):
        post(forged)
