"""Orders: by their owner, for this cluster, in time, once; and rulings, by enough keys."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.facts import Producer
from app.orders import approve, sign
from chain.keys import Signer, verify
from events import orders
from events.codec import decode, encode
from events.event import Fact, fact_id
from events.instant import DAY, MICROSECONDS, format_instant, parse_instant
from events.participants import Approval, SlashRuled, SlashRuledData
from events.refusal import Reason, Refusal
from events.signing import signed_bytes
from settlement.orders import LIFETIME_MAX, OrderBook, check_approvals
from tests.events.samples import CLUSTER, FOUNDATION, ORDERS, OWNER, sample

DOCS = Path(__file__).parents[2] / "docs" / "orders.md"
NOW = parse_instant("2026-10-01T12:00:00.000000Z")
OTHER = Signer(b"o" * 32)
desk = Producer("desk")


def ordered(
    nonce: int = 1, expires_in: int = DAY, signer: Signer = OWNER, cluster: str = CLUSTER, key: str = "order"
) -> Fact:
    """Order some stake out."""
    members: dict[str, str | int] = {"cluster": cluster, "expires_at": format_instant(NOW + expires_in), "nonce": nonce}
    data = sign(orders.UnstakeOrdered, "V1", signer, **members, asset="OMNI", amount="5", role="validator")
    return desk.fact(orders.UnstakeOrdered, NOW, "V1", key, data)


def altered(fact: Fact, **members: Any) -> Fact:
    """Give the fact's data other members, but leave the signature as it is."""
    data = msgspec.structs.replace(fact.data, **members)  # type: ignore[attr-defined]
    return msgspec.structs.replace(fact, data=data)


def reason(found: Refusal | None) -> Reason | None:
    return None if found is None else found.reason


@pytest.fixture
def book() -> OrderBook:
    """A book in which nothing was ordered yet."""
    return OrderBook(CLUSTER)


# --- orders ---


@pytest.mark.parametrize("fact", ORDERS, ids=lambda fact: type(fact).__name__)
def test_an_order_of_each_type_is_accepted_as_it_stands_in_the_log(fact: Fact, book: OrderBook) -> None:
    read = decode(encode(fact))

    assert isinstance(read, Fact)
    assert book.check(read, NOW) is None


def test_an_order_is_accepted_once(book: OrderBook) -> None:
    assert book.check(ordered(), NOW) is None
    assert book.check(ordered(key="again"), NOW) == Refusal(Reason.NONCE_USED, f"1 of {OWNER.key}")
    assert book.check(ordered(nonce=2), NOW) is None
    assert book.check(ordered(signer=OTHER), NOW) is None


@pytest.mark.parametrize(
    ("expires_in", "expected"),
    [
        (-1, Reason.ORDER_EXPIRED),
        (0, None),
        (LIFETIME_MAX, None),
        (LIFETIME_MAX + 1, Reason.ORDER_EXPIRES_TOO_LATE),
    ],
)
def test_an_order_holds_up_to_its_last_microsecond_and_for_31_days_at_most(
    expires_in: int, expected: Reason | None, book: OrderBook
) -> None:
    assert LIFETIME_MAX == 31 * 86_400 * MICROSECONDS
    assert reason(book.check(ordered(expires_in=expires_in), NOW)) == expected


def test_a_day_that_the_calendar_lacks_is_refused(book: OrderBook) -> None:
    fact = altered(ordered(), expires_at="2026-02-30T00:00:00.000000Z")

    assert reason(book.check(fact, NOW)) == Reason.TIME_MALFORMED


def test_the_checks_come_in_their_order(book: OrderBook) -> None:
    book.check(ordered(), NOW)
    forged = {"signature": OTHER.sign(b"")}
    everything = altered(ordered(expires_in=-1, cluster="mainnet-beta"), **forged)

    assert reason(book.check(everything, NOW)) == Reason.CLUSTER_DIFFERS
    assert reason(book.check(altered(everything, cluster=CLUSTER), NOW)) == Reason.ORDER_EXPIRED
    assert reason(book.check(altered(ordered(), **forged), NOW)) == Reason.NONCE_USED
    assert reason(book.check(altered(ordered(nonce=2), **forged), NOW)) == Reason.SIGNATURE_WRONG


@pytest.mark.parametrize(
    "members",
    [
        {"amount": "6"},
        {"asset": "SOL"},
        {"role": "node"},
        {"nonce": 2},
        {"expires_at": format_instant(NOW + DAY + 1)},
        {"owner": OTHER.key},
        {"owner": "1" * 32},
        {"owner": "z" * 44},
        {"signature": "1" * 88},
        {"signature": "1" * 64},
        {"signature": OTHER.sign(signed_bytes(ordered()))},
    ],
)
def test_an_order_that_another_has_altered_is_refused_and_uses_no_nonce(
    members: dict[str, Any], book: OrderBook
) -> None:
    assert reason(book.check(altered(ordered(), **members), NOW)) == Reason.SIGNATURE_WRONG
    assert len(book) == 0
    assert book.check(ordered(), NOW) is None


def test_an_order_binds_its_type_and_its_subject(book: OrderBook) -> None:
    fact = ordered()
    elsewhere = msgspec.structs.replace(fact, subject="V2")
    said = {name: getattr(fact.data, name) for name in ("cluster", "expires_at", "nonce", "owner", "signature")}  # type: ignore[attr-defined]
    withdrawn = orders.WithdrawalOrderedData(**said, asset="OMNI", amount="5")
    other = desk.fact(orders.WithdrawalOrdered, NOW, "V1", "order", withdrawn)

    assert reason(book.check(elsewhere, NOW)) == Reason.SIGNATURE_WRONG
    assert reason(book.check(other, NOW)) == Reason.SIGNATURE_WRONG


def test_who_relays_an_order_may_choose_its_envelope(book: OrderBook) -> None:
    fact = ordered()
    relayed = Producer("relay", "other").fact(orders.UnstakeOrdered, NOW + 7, "V1", "k", fact.data)  # type: ignore[attr-defined]

    assert signed_bytes(relayed) == signed_bytes(fact)
    assert book.check(relayed, NOW) is None


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),  # which nonce
            st.sampled_from((0, 1, 3, 31)),  # on which day it expires
            st.integers(0, 2),  # how many days pass before it comes
            st.integers(0, 40),  # how many days ahead of that time it occurs
        ),
        max_size=40,
    )
)
def test_no_order_is_accepted_twice_whatever_was_forgotten(steps: list[tuple[int, int, int, int]]) -> None:
    book, accepted, time = OrderBook(CLUSTER), set[tuple[int, int]](), NOW
    for nonce, expires_in, passed, ahead in steps:
        time += passed * DAY
        book.forget(time)
        for now in (time + ahead * DAY, time):
            if book.check(ordered(nonce, expires_in * DAY), now) is None:
                assert (nonce, expires_in) not in accepted
                accepted.add((nonce, expires_in))
    book.forget(NOW + LIFETIME_MAX + 1)
    assert len(book) == 0


def test_an_order_stays_spent_when_its_nonce_is_forgotten(book: OrderBook) -> None:
    assert book.check(ordered(), NOW) is None
    book.forget(NOW + DAY)
    assert reason(book.check(ordered(key="again"), NOW + DAY)) == Reason.NONCE_USED
    book.forget(NOW + DAY + 1)

    assert len(book) == 0
    assert reason(book.check(ordered(key="again"), NOW + DAY + 1)) == Reason.ORDER_EXPIRED


def test_members_that_the_type_does_not_allow_cannot_be_signed() -> None:
    with pytest.raises(msgspec.ValidationError):
        sign(orders.RebondOrdered, "V1", OWNER, cluster=CLUSTER, expires_at="today", nonce=1, role="node", ticket="t")
    with pytest.raises(msgspec.ValidationError):
        sign(orders.SpendAuthorized, "J", OWNER, cluster=CLUSTER, nonce=1)


# --- rulings ---

KEYS = [signer.key for signer in (*FOUNDATION, OTHER)]
RULING = approve("case", "reversed", CLUSTER, (*FOUNDATION, OTHER))
FORGED = RULING.approvals[1].signature


def ruled(*approvals: Approval) -> SlashRuled:
    """Rule with these approvals."""
    data = SlashRuledData(approvals=approvals, cluster=CLUSTER, verdict="reversed")
    fact = desk.fact(SlashRuled, NOW, "case", "ruling", data)
    assert isinstance(fact, SlashRuled)
    return fact


def test_a_ruling_binds_by_enough_keys_in_whatever_order() -> None:
    first, second, third = RULING.approvals

    assert check_approvals(ruled(first, second), KEYS, 2, CLUSTER) is None
    assert check_approvals(ruled(third, first), KEYS, 2, CLUSTER) is None
    assert check_approvals(ruled(first, second, third), KEYS, 3, CLUSTER) is None
    golden = sample(SlashRuled)
    assert isinstance(golden, SlashRuled)
    assert check_approvals(golden, KEYS, 2, CLUSTER) is None


def test_a_key_counts_once_and_a_stranger_not_at_all() -> None:
    first, second, _ = RULING.approvals
    missing = Refusal(Reason.APPROVALS_MISSING, "1 of 2")

    assert check_approvals(ruled(first), KEYS, 2, CLUSTER) == missing
    assert check_approvals(ruled(first, first), KEYS, 2, CLUSTER) == missing
    assert check_approvals(ruled(first, second), [first.key], 2, CLUSTER) == missing
    assert check_approvals(ruled(first), [first.key, first.key], 2, CLUSTER) == missing
    assert reason(check_approvals(ruled(first), [], 1, CLUSTER)) == Reason.APPROVALS_MISSING


def test_a_wrong_signature_is_named_only_where_the_right_ones_are_too_few() -> None:
    first, second, third = RULING.approvals
    forged = Approval(key=first.key, signature=FORGED)

    assert check_approvals(ruled(forged, second), KEYS, 2, CLUSTER) == Refusal(
        Reason.SIGNATURE_WRONG, f"not by {first.key}"
    )
    assert check_approvals(ruled(forged, second, third), KEYS, 2, CLUSTER) is None
    assert check_approvals(ruled(forged, second, first), KEYS, 2, CLUSTER) is None
    assert check_approvals(ruled(first, forged), KEYS, 2, CLUSTER) == Refusal(Reason.APPROVALS_MISSING, "1 of 2")


def test_an_approval_binds_verdict_case_and_cluster() -> None:
    fact = ruled(*RULING.approvals)
    other_case = msgspec.structs.replace(fact, subject="other")
    elsewhere = altered(fact, cluster="mainnet-beta")
    assert isinstance(elsewhere, SlashRuled)
    other_verdict = altered(fact, verdict="upheld")
    assert isinstance(other_verdict, SlashRuled)

    assert reason(check_approvals(other_case, KEYS, 2, CLUSTER)) == Reason.SIGNATURE_WRONG
    assert reason(check_approvals(other_verdict, KEYS, 2, CLUSTER)) == Reason.SIGNATURE_WRONG
    assert reason(check_approvals(elsewhere, KEYS, 2, CLUSTER)) == Reason.CLUSTER_DIFFERS
    assert reason(check_approvals(elsewhere, KEYS, 2, "mainnet-beta")) == Reason.SIGNATURE_WRONG


# --- the page on orders ---


def test_the_worked_example_of_the_documentation_is_what_is_signed_and_accepted(book: OrderBook) -> None:
    text = DOCS.read_text("utf-8")
    seed, key, body, message, signature = (
        match.group(1) for name in ("seed", "owner", "body", "signed", "signature")
        for match in [re.search(rf"^{name}\s+(\S+)$", text, re.MULTILINE)] if match
    )  # fmt: skip
    line = re.search(r'^(\{.*"type":"UnstakeOrdered"\})$', text.split("## The fact")[1], re.MULTILINE)
    assert line is not None
    fact = decode(line.group(1).encode())
    assert isinstance(fact, orders.UnstakeOrdered)
    assert fact.id == fact_id(fact.source, fact.key)

    signer = Signer(bytes.fromhex(seed))
    assert signer.key == key == fact.data.owner
    assert signed_bytes(fact) == bytes.fromhex(message) == b"omnisync-order-1\n" + body.encode()
    assert signer.sign(bytes.fromhex(message)) == signature == fact.data.signature
    assert verify(key, bytes.fromhex(message), signature)
    assert book.check(fact, NOW) is None
