"""Builds signed orders and rulings, for whoever holds the keys."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from chain.keys import Signer
from events.event import Data, Fact, fact_id
from events.participants import Approval, SlashRuled, SlashRuledData
from events.signing import signed_bytes

__all__ = ["approve", "sign"]

_EMPTY = "1" * 64
"""Where a signature will stand; no signed byte depends on it."""


def sign(kind: type[Fact], subject: str, signer: Signer, **members: str | int) -> Data:
    """Return the data of an order, signed by its owner.

    `members` are those of its data but `owner` and `signature`: cluster, expires_at, nonce, and what the order says.
    Raises: msgspec.ValidationError where the order's type does not allow them.
    """
    of_order = kind.__annotations__["data"]
    order: Data = msgspec.convert(members | {"owner": signer.key, "signature": _EMPTY}, of_order)
    signature = signer.sign(signed_bytes(_bare(kind, subject, order)))
    signed: Data = msgspec.structs.replace(order, signature=signature)
    return signed


def approve(
    case: str, verdict: Literal["upheld", "reversed"], cluster: str, signers: Iterable[Signer]
) -> SlashRuledData:
    """Return the data of a ruling on a case, approved by each of the signers."""
    empty = Approval(key="1" * 32, signature=_EMPTY)
    ruling = SlashRuledData(approvals=(empty,), cluster=cluster, verdict=verdict)
    message = signed_bytes(_bare(SlashRuled, case, ruling))
    approvals = tuple(Approval(key=signer.key, signature=signer.sign(message)) for signer in signers)
    return msgspec.structs.replace(ruling, approvals=approvals)


def _bare(kind: type[Fact], subject: str, data: Data) -> Fact:
    """Wrap data in an envelope that nothing signs."""
    members = {"source": "-", "key": "-", "stream": "-", "occurred_at": "1970-01-01T00:00:00.000000Z"}
    fact: Fact = kind(**members, id=fact_id("-", "-"), subject=subject, schema_version=kind.VERSION, data=data)  # type: ignore[call-arg]
    return fact
