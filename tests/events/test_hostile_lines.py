"""Hostile lines: each has the refusal that names its fault, and none raises."""

import json
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.codec import canonicalise, decode, encode
from events.event import Event
from events.facts import JobCancelled
from events.refusal import Reason, Refusal
from tests.events.samples import CANCELLED_V1, OWNER, SAMPLES, cancelled
from tests.strategies import any_events

LINES = {type(event).__name__: encode(event) for event in SAMPLES}
GOOD = cancelled()
USAGE = LINES["UsageMetered"]
SWEEP = LINES["ChainFactDeclared"]
ORDER = LINES["UnstakeOrdered"]
SIGNED = re.compile(rb'"signature":"[^"]*"')


def but(line: bytes, old: bytes, new: bytes) -> bytes:
    assert old in line
    return line.replace(old, new, 1)


def amount(text: str) -> bytes:
    """Write the sweep's amount otherwise, as the bytes between its quotes."""
    return but(SWEEP, b'"amount":"' + b"9" * 39, b'"amount":"' + text.encode())


def seconds(text: bytes) -> bytes:
    return but(USAGE, b'"gpu_seconds":3599', b'"gpu_seconds":' + text)


def without(line: bytes, member: str) -> bytes:
    members = json.loads(line)
    del members[member]
    return json.dumps(members, sort_keys=True, separators=(",", ":")).encode()


def without_terms(instead: bytes) -> bytes:
    start, end = USAGE.index(b'{"asset"'), USAGE.index(b"}}") + 1
    return USAGE[:start] + instead + USAGE[end:]


DEEP = b"[" * 100_000 + b"]" * 100_000

BYTES: list[tuple[str, bytes, Reason]] = [
    ("empty line", b"", Reason.NOT_JSON),
    ("white space alone", b"  ", Reason.NOT_JSON),
    ("no JSON", b"hello", Reason.NOT_JSON),
    ("single quotes", b"{'type':'JobFailed'}", Reason.NOT_JSON),
    ("comment", GOOD + b"//", Reason.NOT_JSON),
    ("garbage behind", GOOD + b"x", Reason.NOT_JSON),
    ("a second event behind", GOOD + GOOD, Reason.NOT_JSON),
    ("half a line", GOOD[: len(GOOD) // 2], Reason.NOT_JSON),
    ("byte order mark", b"\xef\xbb\xbf" + GOOD, Reason.NOT_JSON),
    ("UTF-16", GOOD.decode().encode("utf-16"), Reason.NOT_UTF8),
    ("NUL behind", GOOD + b"\0", Reason.NOT_JSON),
    ("raw control character in a text", but(GOOD, b"withdrawn", b"with\ndrawn"), Reason.NOT_JSON),
    ("invalid UTF-8", but(GOOD, b"withdrawn", b"with\xffdrawn"), Reason.NOT_UTF8),
    ("overlong UTF-8", but(GOOD, b"withdrawn", b"with\xc0\xafdrawn"), Reason.NOT_UTF8),
    ("surrogate in UTF-8", but(GOOD, b"withdrawn", b"with\xed\xa0\x80drawn"), Reason.NOT_UTF8),
    ("lone high surrogate", but(GOOD, b"withdrawn", b"\\ud800"), Reason.LONE_SURROGATE),
    ("lone low surrogate", but(GOOD, b"withdrawn", b"\\udfff"), Reason.LONE_SURROGATE),
    ("lone surrogate in a name", but(GOOD, b'"reason"', b'"\\ud800"'), Reason.LONE_SURROGATE),
    ("brackets alone", DEEP, Reason.NESTED_TOO_DEEP),
    ("brackets in a member", but(GOOD, b'"withdrawn"', DEEP), Reason.NESTED_TOO_DEEP),
    ("braces", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, Reason.NESTED_TOO_DEEP),
]
NUMBERS: list[tuple[str, bytes, Reason]] = [
    ("NaN", seconds(b"NaN"), Reason.NUMBER_NOT_INTEGER),
    ("Infinity", seconds(b"Infinity"), Reason.NUMBER_NOT_INTEGER),
    ("minus Infinity", seconds(b"-Infinity"), Reason.NUMBER_NOT_INTEGER),
    ("fraction", seconds(b"1.5"), Reason.NUMBER_NOT_INTEGER),
    ("whole fraction", seconds(b"1.0"), Reason.NUMBER_NOT_INTEGER),
    ("exponent", seconds(b"1e3"), Reason.NUMBER_NOT_INTEGER),
    ("huge exponent", seconds(b"1e999999999"), Reason.NUMBER_NOT_INTEGER),
    ("2^53", seconds(b"9007199254740992"), Reason.NUMBER_OUT_OF_RANGE),
    ("2^63", seconds(b"9223372036854775808"), Reason.NUMBER_OUT_OF_RANGE),
    ("2^64", seconds(b"18446744073709551616"), Reason.NUMBER_OUT_OF_RANGE),
    ("a million digits", seconds(b"9" * 1_000_000), Reason.NUMBER_OUT_OF_RANGE),
    ("leading zero", seconds(b"01"), Reason.NOT_JSON),
    ("plus sign", seconds(b"+1"), Reason.NOT_JSON),
    ("hexadecimal", seconds(b"0x10"), Reason.NOT_JSON),
    ("Arabic digits", seconds("٣".encode()), Reason.NOT_JSON),
    ("minus one", seconds(b"-1"), Reason.MEMBER_MALFORMED),
    ("minus zero", seconds(b"-0"), Reason.NOT_CANONICAL),
    ("text for a number", seconds(b'"1"'), Reason.MEMBER_MALFORMED),
    ("true for a number", seconds(b"true"), Reason.MEMBER_MALFORMED),
    ("null for a number", seconds(b"null"), Reason.MEMBER_MALFORMED),
    ("list for a number", seconds(b"[1]"), Reason.MEMBER_MALFORMED),
    ("zero for a positive number", but(USAGE, b'"attempt":1', b'"attempt":0'), Reason.MEMBER_MALFORMED),
]
SHAPES: list[tuple[str, bytes, Reason]] = [
    ("a list", b"[]", Reason.MEMBER_MALFORMED),
    ("a number", b"1", Reason.MEMBER_MALFORMED),
    ("null", b"null", Reason.MEMBER_MALFORMED),
    ("no members", b"{}", Reason.MEMBER_MISSING),
    ("no type", without(GOOD, "type"), Reason.MEMBER_MISSING),
    ("no version", without(GOOD, "schema_version"), Reason.MEMBER_MISSING),
    ("no id", without(GOOD, "id"), Reason.MEMBER_MISSING),
    ("no data", without(GOOD, "data"), Reason.MEMBER_MISSING),
    ("no data in an older version", without(CANCELLED_V1, "data"), Reason.MEMBER_MISSING),
    ("no consumer in an older version", but(CANCELLED_V1, b'"consumer":"K"', b""), Reason.MEMBER_MISSING),
    ("no stream", without(GOOD, "stream"), Reason.MEMBER_MISSING),
    ("no reason", but(GOOD, b',"reason":"withdrawn"', b""), Reason.MEMBER_MISSING),
    ("unknown type", but(GOOD, b'"JobCancelled"', b'"JobDreamt"'), Reason.TYPE_UNKNOWN),
    ("type of other case", but(GOOD, b'"JobCancelled"', b'"jobcancelled"'), Reason.TYPE_UNKNOWN),
    ("type that is no text", but(GOOD, b'"JobCancelled"', b"[]"), Reason.TYPE_UNKNOWN),
    ("type that is an object", but(GOOD, b'"JobCancelled"', b"{}"), Reason.TYPE_UNKNOWN),
    ("version 0", but(GOOD, b'version":2', b'version":0'), Reason.VERSION_UNKNOWN),
    ("version 3", but(GOOD, b'version":2', b'version":3'), Reason.VERSION_UNKNOWN),
    ("version 99", but(USAGE, b'version":1', b'version":99'), Reason.VERSION_UNKNOWN),
    ("negative version", but(USAGE, b'version":1', b'version":-1'), Reason.VERSION_UNKNOWN),
    ("version as text", but(USAGE, b'version":1', b'version":"1"'), Reason.VERSION_UNKNOWN),
    ("version true", but(USAGE, b'version":1', b'version":true'), Reason.VERSION_UNKNOWN),
    ("member doubled", but(GOOD, b'"reason":', b'"reason":"x","reason":'), Reason.MEMBER_DUPLICATED),
    ("same member doubled", but(GOOD, b'"key":"J"', b'"key":"J","key":"J"'), Reason.MEMBER_DUPLICATED),
    ("type doubled", but(GOOD, b'"type":', b'"type":"JobFailed","type":'), Reason.MEMBER_DUPLICATED),
    ("doubled by an escape", but(GOOD, b'"key":"J"', b'"key":"J","\\u006bey":"J"'), Reason.MEMBER_DUPLICATED),
    ("unknown member", but(GOOD, b'"key":"J"', b'"key":"J","kez":1'), Reason.MEMBER_UNKNOWN),
    ("unknown member of data", but(GOOD, b'"reason"', b'"reasom":"x","reason"'), Reason.MEMBER_UNKNOWN),
    ("a decision's member in a fact", but(GOOD, b'"id"', b'"epoch":1,"id"'), Reason.MEMBER_UNKNOWN),
    (
        "null for no cause",
        but(GOOD, b'"causation_id":"%b"' % (b"aa" * 32), b'"causation_id":null'),
        Reason.NOT_CANONICAL,
    ),
    ("null for no terms", without_terms(b"null"), Reason.NOT_CANONICAL),
    ("late false", but(LINES["DepositCredited"], b'"late":true', b'"late":false'), Reason.NOT_CANONICAL),
    ("late zero", but(LINES["DepositCredited"], b'"late":true', b'"late":0'), Reason.MEMBER_MALFORMED),
    ("a later version's member", but(CANCELLED_V1, b'"K"', b'"K","reason":"x"'), Reason.MEMBER_UNKNOWN),
    (
        "null in an older version",
        but(CANCELLED_V1, b'"correlation_id":"%b"' % (b"bb" * 32), b'"correlation_id":null'),
        Reason.NOT_CANONICAL,
    ),
    ("white space within", but(GOOD, b'"key":"J"', b'"key": "J"'), Reason.NOT_CANONICAL),
    ("white space before", b" " + GOOD, Reason.NOT_CANONICAL),
    ("new line behind", GOOD + b"\n", Reason.NOT_CANONICAL),
    ("carriage return behind", GOOD + b"\r", Reason.NOT_CANONICAL),
    ("needless escape", but(GOOD, b'"key":"J"', b'"key":"\\u004a"'), Reason.NOT_CANONICAL),
    (
        "members unsorted",
        but(GOOD, b'"id":', b'"key":"J","id":').replace(b'"key":"J","occ', b'"occ'),
        Reason.NOT_CANONICAL,
    ),
    ("text for an object", but(GOOD, b'{"consumer":"K","reason":"withdrawn"}', b'"x"'), Reason.MEMBER_MALFORMED),
    ("text for a list", but(LINES["QuorumClaimed"], b'["A","B"]', b'"AB"'), Reason.MEMBER_MALFORMED),
    ("an empty list of quotes", but(LINES["QuorumClaimed"], b'["A","B"]', b"[]"), Reason.MEMBER_MALFORMED),
    (
        "65 agreeing nodes",
        but(LINES["QuorumClaimed"], b'["A","B"]', json.dumps(["A"] * 65, separators=(",", ":")).encode()),
        Reason.MEMBER_MALFORMED,
    ),
    ("unknown effect", but(SWEEP, b'"sweep"', b'"withdrawal"'), Reason.MEMBER_MALFORMED),
    ("unknown verdict", but(LINES["SlashRuled"], b'"reversed"', b'"pardoned"'), Reason.MEMBER_MALFORMED),
    ("a key outside base58", but(ORDER, OWNER.key.encode(), b"0" * 43), Reason.MEMBER_MALFORMED),
    ("a key of 45 letters", but(ORDER, OWNER.key.encode(), b"1" * 45), Reason.MEMBER_MALFORMED),
    ("a signature of 63 letters", SIGNED.sub(b'"signature":"%b"' % (b"1" * 63), ORDER), Reason.MEMBER_MALFORMED),
    ("a signature left out", SIGNED.sub(b'"spare":""', ORDER), Reason.MEMBER_UNKNOWN),
    ("a nonce below zero", but(ORDER, b'"nonce":7', b'"nonce":-7'), Reason.MEMBER_MALFORMED),
    ("id of other case", but(GOOD, b'"correlation_id":"bb', b'"correlation_id":"BB'), Reason.MEMBER_MALFORMED),
    ("name with a colon", but(GOOD, b'"consumer":"K"', b'"consumer":"a:b"'), Reason.MEMBER_MALFORMED),
    ("empty name", but(GOOD, b'"consumer":"K"', b'"consumer":""'), Reason.MEMBER_MALFORMED),
    ("name of 89 letters", but(GOOD, b'"consumer":"K"', b'"consumer":"%b"' % (b"k" * 89)), Reason.MEMBER_MALFORMED),
    ("name with a new line", but(GOOD, b'"consumer":"K"', b'"consumer":"K\\n"'), Reason.MEMBER_MALFORMED),
    ("time without decimals", but(GOOD, b".000000Z", b"Z"), Reason.MEMBER_MALFORMED),
]
AMOUNTS: list[tuple[str, bytes, Reason]] = [
    (f"amount {text[:12]!r}", amount(text), Reason.MEMBER_MALFORMED)
    for text in (
        *("", "007", "00", "1_000", "1,000", "-1", "-0", "+1", " 1", "1 ", "1\\n", "1\\u0000", "1.0", "1e3", "0x1"),
        *("NaN", "٣", "１", "9" * 40, "1" + "0" * 39, "null"),
    )
] + [
    ("amount as a number", but(SWEEP, b'"' + b"9" * 39 + b'"', b"1"), Reason.MEMBER_MALFORMED),
    ("amount null", but(SWEEP, b'"' + b"9" * 39 + b'"', b"null"), Reason.MEMBER_MALFORMED),
]
HOSTILE = BYTES + NUMBERS + SHAPES + AMOUNTS


@pytest.mark.parametrize(("line", "reason"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_a_hostile_line_is_refused_by_the_name_of_its_fault(line: bytes, reason: Reason) -> None:
    refusal = decode(line)

    assert isinstance(refusal, Refusal)
    assert refusal.reason == reason
    assert refusal.detail.encode()


@pytest.mark.parametrize("line", [case[1] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_canonicalising_a_hostile_line_never_raises(line: bytes) -> None:
    result = canonicalise(line)

    assert isinstance(result, Refusal) or canonicalise(result) == result


@pytest.mark.parametrize("read", [decode, canonicalise])
@pytest.mark.parametrize(
    "shape", [b"%b", b'{"schema_version":1,"type":%b}', b'{"schema_version":%b,"type":"JobFailed"}']
)
def test_no_depth_of_nesting_raises(shape: bytes, read: Callable[[bytes], Any]) -> None:
    limit = sys.getrecursionlimit()

    for depth in range(limit // 4, limit + 50, 3):
        read(shape % (b"[" * depth + b"]" * depth))


def _mutate(line: bytes, place: int, way: str, byte: int) -> bytes:
    place %= len(line)
    head, tail = line[:place], line[place:]
    match way:
        case "insert":
            return head + bytes([byte]) + tail
        case "delete":
            return head + tail[1:]
    return head + bytes([tail[0] ^ (byte or 1)]) + tail[1:]


@settings(max_examples=400)
@given(
    any_events | st.sampled_from(SAMPLES),
    st.integers(0, 10_000),
    st.sampled_from(["flip", "insert", "delete"]),
    st.integers(0, 255),
)
def test_a_changed_byte_makes_another_event_or_a_refusal(event: Event, place: int, way: str, byte: int) -> None:
    line = encode(event)
    changed = _mutate(line, place, way, byte)

    result = decode(changed)

    if changed != line and not isinstance(result, Refusal):
        assert result != event
        older = isinstance(result, JobCancelled) and b'"schema_version":1' in changed
        assert older or encode(result) == changed


@given(st.binary(max_size=200))
def test_no_bytes_raise(line: bytes) -> None:
    decode(line)
    canonicalise(line)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["type", "schema_version", "data", "id", "a"]), inner)
        ),
        max_leaves=8,
    )
)
def test_no_json_raises(members: Any) -> None:
    decode(json.dumps(members).encode())


@pytest.mark.parametrize("member", json.loads(CANCELLED_V1))
@pytest.mark.parametrize("value", [None, True, 1, "x", [], {}])
def test_no_member_of_an_older_version_raises(member: str, value: Any) -> None:
    line = json.dumps(json.loads(CANCELLED_V1) | {member: value}, sort_keys=True, separators=(",", ":")).encode()

    decode(line)
