"""Deposits that nothing refuses, many at once: the vectorised twin of `Lane._deposit`.

    known asset, in escrow, for its subject alone, 0 < amount ≤ cap and below 2^63

Such a deposit asks the lane's state nothing, and gives its consumer money from its line on. All others go one by one.
"""

from typing import NamedTuple

import numpy as np

from events.columns import Batch
from events.facts import ChainFactDeclared
from events.hashing import Part
from ledger.accounts import VAULT_ESCROW
from ledger.bps import Integers
from ledger.parameters import Parameters
from settlement.answers import Answers, Causes, write_answers

__all__ = ["Deposits", "find_deposits"]


class Deposits(NamedTuple):
    """Deposits of a batch in the order of their lines, a decision each; `consumers`: each one's among `names`."""

    names: list[str]
    consumers: Integers
    answers: Answers


def find_deposits(batch: Batch, parameters: Parameters, params_hash: str) -> Deposits | None:
    """Find them in a batch, and write what is decided; None where none is declared."""
    facts = batch.columns.get(ChainFactDeclared)
    if facts is None:
        return None
    asset, amount = parameters.unit.asset, facts.amounts("data.amount")
    plain = (amount > 0) & (amount <= int(parameters.unit.cap))
    for path, text in (("data.asset", asset), ("data.effect", "deposit"), ("data.vault", VAULT_ESCROW)):
        names, places = facts.numbered(path)
        plain &= np.array([name == text for name in names], dtype=np.bool_)[places]
    for path in ("data.lines", "data.role", "data.to"):
        plain &= ~facts.has(path)
    mine = facts if plain.all() else facts.take(plain)
    said: list[Part] = [
        b'"amount":"',
        mine.spans("data.amount"),
        b'","asset":"%b","proof":"declared","vault":"%b"' % (asset.encode(), VAULT_ESCROW.encode()),
    ]
    times, key = mine.numbers("occurred_at"), mine.spans("id")
    causes = Causes(mine.rows, times, key, mine.spans("subject"), mine.spans("occurred_at"))
    written = write_answers(b"DepositCredited", np.arange(len(mine)), causes, said, [key], params_hash.encode())
    return Deposits(*mine.numbered("subject"), written._replace(left=mine.amounts("data.amount")))
