"""Entries: balanced sets of postings, each caused by one decision.

    per asset and per vault:  Σ debits = Σ credits        unless a chain fact (or one declared in its place) is the
    cause per asset:                Σ debits = Σ credits        always

Credit receives, debit gives; a balance is credits − debits. Amounts are positive base units.
"""

from collections import defaultdict
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple

from events.codec import encode_json
from ledger.errors import LedgerInvariantBroken

__all__ = ["Entry", "Posting", "Side", "canonical_bytes", "check_entry", "digest_of_entries"]


class Side(StrEnum):
    """Which side of an account a posting stands on."""

    DEBIT = "debit"
    CREDIT = "credit"


class Posting(NamedTuple):
    """One leg of an entry."""

    account: str
    amount: int
    asset: str
    side: Side
    vault: str


class Entry(NamedTuple):
    """What one decision means in money; `event` is its id, `crosses_vaults` whether a chain fact caused it."""

    epoch: int
    event: str
    postings: tuple[Posting, ...]
    crosses_vaults: bool = False


def check_entry(entry: Entry) -> None:
    """Assert the law of entries. Raises: LedgerInvariantBroken."""
    sums: defaultdict[tuple[str, str], int] = defaultdict(int)
    for posting in entry.postings:
        if posting.amount <= 0:
            raise LedgerInvariantBroken(f"entry {entry.event}: {posting} is not above zero")
        vault = "" if entry.crosses_vaults else posting.vault
        signed = posting.amount if posting.side is Side.CREDIT else -posting.amount
        sums[posting.asset, vault] += signed
    for (asset, vault), over in sums.items():
        if over:
            where = f"vault {vault!r}" if vault else "all vaults"
            raise LedgerInvariantBroken(
                f"entry {entry.event}: credits less debits are {over} base units of {asset} in {where}"
            )


def canonical_bytes(entry: Entry) -> bytes:
    """Write an entry canonically: `{epoch, event, postings[…] sorted}`; what `digest_of_entries` hashes."""
    postings = [
        {
            "account": posting.account,
            "amount": str(posting.amount),
            "asset": posting.asset,
            "side": posting.side.value,
            "vault": posting.vault,
        }
        for posting in sorted(entry.postings)
    ]
    return encode_json({"epoch": entry.epoch, "event": entry.event, "postings": postings})


def digest_of_entries(hashes: list[bytes]) -> str:
    """Return SHA-256 over the sorted SHA-256 of each entry's canonical bytes, in hex."""
    return sha256(b"".join(sorted(hashes))).hexdigest()
