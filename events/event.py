"""What every event has: its members, its id, and the types of the values that stand in it.

A **fact** was reported or ordered; a **decision** is what settlement made of it, with its full numbers, so that a
fold needs no rule. The catalogue is in `events.facts` and `events.decisions`: one struct per type, which is the one
definition for code, wire and schema.

    id of a fact     = SHA-256(source | key)
    id of a decision = SHA-256(type | key)

Amounts are decimal text of base units; their asset stands beside them. `subject` is the thing the event is about (the
job, the node, the stream, the owner), and is not repeated in `data`. Optional members are absent when they have no
value, so a member that is added later changes no byte of what was written before.
"""

from hashlib import sha256
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

__all__ = [
    "AccountName",
    "Amount",
    "Count",
    "Data",
    "Decision",
    "Digest",
    "Event",
    "Fact",
    "Instant",
    "Key",
    "Name",
    "Positive",
    "PublicKey",
    "Role",
    "Signature",
    "Text",
    "VaultName",
    "decision_id",
    "decision_key",
    "fact_id",
]

Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z", description="SHA-256 in lower-case hex")]
Name = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9._-]{1,88}\Z", description="an id that may stand in an account name"),
]
_KEY_LENGTH_MAX = 200
Key = Annotated[str, Meta(pattern=rf"^[A-Za-z0-9._:/-]{{1,{_KEY_LENGTH_MAX}}}\Z")]
Instant = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z\Z",
        description="RFC 3339, UTC, six decimals",
    ),
]
Amount = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,38})\Z", description="base units of the asset beside it")]
Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Positive = Annotated[int, Meta(ge=1, le=2**53 - 1)]
VaultName = Annotated[str, Meta(pattern=r"^[a-z]{0,20}\Z", description="empty: in no vault")]
AccountName = Annotated[str, Meta(pattern=r"^[a-z][A-Za-z0-9._:-]{0,299}\Z")]
Text = Annotated[str, Meta(max_length=300)]
Role = Literal["node", "validator"]
PublicKey = Annotated[
    str,
    Meta(pattern=r"^[1-9A-HJ-NP-Za-km-z]{32,44}\Z", description="an Ed25519 public key in base58, as Solana writes it"),
]
Signature = Annotated[str, Meta(pattern=r"^[1-9A-HJ-NP-Za-km-z]{64,88}\Z", description="Ed25519, in base58")]


# Events hold no references back, so the collector need not follow them (`gc=False`).
class Data(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, gc=False):
    """The payload of an event; unknown members are refused."""


class Event(
    Struct,
    frozen=True,
    tag_field="type",
    forbid_unknown_fields=True,
    omit_defaults=True,
    kw_only=True,
    gc=False,
):
    """What facts and decisions have in common; `VERSION` is the schema version that is written today."""

    id: Digest
    source: Key
    subject: Name
    occurred_at: Instant
    key: Key
    schema_version: Positive
    causation_id: Digest | None = None
    correlation_id: Digest | None = None
    VERSION: ClassVar[int] = 1


class Fact(Event, frozen=True, kw_only=True):
    """What was reported or ordered, on a stream that promises how far it has come."""

    stream: Name


class Decision(Event, frozen=True, kw_only=True):
    """What settlement made of a fact, under which parameters and in which epoch.

    `epoch` counts UTC days from 1970-01-01. `late` says that the fact came behind its own stream's mark.
    """

    epoch: Count
    params_hash: Digest
    late: bool = False


def fact_id(source: str, key: str) -> str:
    """Derive a fact's id from who reports it and under which key."""
    return sha256(f"{source}|{key}".encode()).hexdigest()


def decision_key(*parts: str | int) -> str:
    """Join names and numbers to a decision key; one that would be too long is the SHA-256 of itself.

    A name holds no colon, so no two lists of parts come to one key.
    """
    key = ":".join(map(str, parts))
    return key if len(key) <= _KEY_LENGTH_MAX else sha256(key.encode()).hexdigest()


def decision_id(kind: str, key: str) -> str:
    """Derive a decision's id from its type and decision key."""
    return sha256(f"{kind}|{key}".encode()).hexdigest()
