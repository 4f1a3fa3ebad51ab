"""Orders: facts that bind their owner, signed by the owner's key over `events.signing.signed_bytes`.

An owner is an Ed25519 public key, so that a signature needs no register of keys to be checked. An order names its
cluster, is used once (nonce) and only until it expires; made for another network it is refused.
"""

from events.event import Amount, Count, Data, Digest, Fact, Instant, Name, Positive, PublicKey, Role, Signature

__all__ = [
    "Order",
    "PayoutKeyChanged",
    "PayoutKeyChangedData",
    "RebondOrdered",
    "RebondOrderedData",
    "SlashDisputeFiled",
    "SlashDisputeFiledData",
    "SlashReportFiled",
    "SlashReportFiledData",
    "SpendAuthorized",
    "SpendAuthorizedData",
    "UnstakeOrdered",
    "UnstakeOrderedData",
    "WithdrawalOrdered",
    "WithdrawalOrderedData",
]


class Order(Data, frozen=True, kw_only=True):
    """What every order says: by whom, where, once, until when."""

    cluster: Name
    expires_at: Instant
    nonce: Count
    owner: PublicKey
    signature: Signature


class SpendAuthorizedData(Order, frozen=True):
    """At most `maximum` may be held for the job at any one time."""

    asset: Name
    maximum: Amount


class SpendAuthorized(Fact, frozen=True, tag="SpendAuthorized"):
    """A consumer lets a job be paid. Subject: the job."""

    data: SpendAuthorizedData


class WithdrawalOrderedData(Order, frozen=True):
    """consumer:{owner} gives back `amount`."""

    asset: Name
    amount: Amount


class WithdrawalOrdered(Fact, frozen=True, tag="WithdrawalOrdered"):
    """A consumer wants money back. Subject: the owner."""

    data: WithdrawalOrderedData


class UnstakeOrderedData(Order, frozen=True):
    """`amount` of what is bonded shall be given back after the unbonding time (D13)."""

    asset: Name
    amount: Amount
    role: Role


class UnstakeOrdered(Fact, frozen=True, tag="UnstakeOrdered"):
    """An owner takes stake out. Subject: the participant."""

    data: UnstakeOrderedData


class RebondOrderedData(Order, frozen=True):
    """What is left of the ticket shall be bonded again."""

    role: Role
    ticket: Name


class RebondOrdered(Fact, frozen=True, tag="RebondOrdered"):
    """An owner takes an unbonding back. Subject: the participant."""

    data: RebondOrderedData


class SlashDisputeFiledData(Order, frozen=True):
    """The accused's owner objects; `evidence` is the hash of what shall be looked at."""

    evidence: Digest | None = None


class SlashDisputeFiled(Fact, frozen=True, tag="SlashDisputeFiled"):
    """A slash is disputed within its window. Subject: the case."""

    data: SlashDisputeFiledData


class SlashReportFiledData(Order, frozen=True):
    """A validator accuses a participant of what the books' own facts do not show, and posts a bond (D11)."""

    accused: Name
    attempt: Positive
    cause: Name
    consumer: Name
    evidence: Digest
    job: Name
    role: Role


class SlashReportFiled(Fact, frozen=True, tag="SlashReportFiled"):
    """An accusation, decided by a ruling alone. Subject: the reporting validator."""

    data: SlashReportFiledData


class PayoutKeyChangedData(Order, frozen=True):
    """Where the owner's payouts shall go from now on."""

    payout_key: PublicKey


class PayoutKeyChanged(Fact, frozen=True, tag="PayoutKeyChanged"):
    """An owner names another key to be paid at. Subject: the owner."""

    data: PayoutKeyChangedData
