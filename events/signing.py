"""What the owner of an order, and each approver of a ruling, signs: the order itself, not the envelope it travels in.

    signed bytes = "omnisync-order-1" LF canonical JSON of {data without `signature` and `approvals`, subject, type}

So whoever relays an order may choose source, key, stream and time, and can change nothing of what was ordered.
"""

from msgspec import to_builtins

from events.codec import encode_json, type_name
from events.event import Fact

__all__ = ["DOMAIN", "signed_bytes"]

DOMAIN = b"omnisync-order-1\n"


def signed_bytes(fact: Fact) -> bytes:
    """Return the bytes that the owner of an order, or each approver of a ruling, signs."""
    data = to_builtins(fact.data)  # type: ignore[attr-defined]
    data.pop("signature", None)
    data.pop("approvals", None)
    return DOMAIN + encode_json({"data": data, "subject": fact.subject, "type": type_name(fact)})
