"""The CloudEvents envelope: the event is cut out byte for byte, and the copies of its attributes must agree."""

import json
from typing import Any

import pytest
from hypothesis import given

from events.catalogue import get_version
from events.cloudevents import CONTENT_TYPE, Envelope, open_envelope, unwrap, wrap
from events.codec import encode, type_name
from events.event import Event
from events.refusal import Reason, Refusal
from tests.events.samples import SAMPLES
from tests.strategies import any_events

EVENT = SAMPLES[0]
COPIES = {"id": "00" * 32, "source": "router-2", "type": "JobFailed", "subject": "other"} | {
    "time": "2026-10-01T12:00:00.000001Z",
    "datacontenttype": "text/plain",
}


def changed(**members: Any) -> bytes:
    """Write the envelope of the event with some members otherwise; None leaves one out."""
    envelope = json.loads(wrap(EVENT, encode(EVENT))) | members
    return json.dumps({name: value for name, value in envelope.items() if value is not None}).encode()


def opened(line: bytes) -> Envelope:
    envelope = open_envelope(line)
    assert isinstance(envelope, Envelope), envelope
    return envelope


def agrees(line: bytes) -> Refusal | None:
    """Compare a whole envelope with the event."""
    return unwrap(line, opened(line), EVENT)


@given(any_events)
def test_a_wrapped_event_is_opened_and_agrees(event: Event) -> None:
    line = wrap(event, encode(event))

    envelope = opened(line)

    assert bytes(envelope.data) == encode(event)
    assert unwrap(line, envelope, event) is None


@given(any_events)
def test_an_envelope_is_canonical_too(event: Event) -> None:
    line = wrap(event, encode(event))

    plainly = json.dumps(json.loads(line), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert line == plainly
    assert json.loads(line)["type"] == type_name(event)
    assert get_version(json.loads(line)["type"]) == event.schema_version


def test_the_events_bytes_are_not_written_anew() -> None:
    line = wrap(EVENT, b'{ "b" : 1,"a":"\\u0041" }')

    assert bytes(opened(line).data) == b'{ "b" : 1,"a":"\\u0041" }'


@pytest.mark.parametrize("member", COPIES)
def test_an_attribute_that_disagrees_is_refused(member: str) -> None:
    refusal = agrees(changed(**{member: COPIES[member]}))

    assert isinstance(refusal, Refusal)
    assert refusal.reason == Reason.ENVELOPE_DISAGREES


@pytest.mark.parametrize("member", ["subject", "time", "datacontenttype"])
def test_an_optional_attribute_may_be_absent(member: str) -> None:
    assert agrees(changed(**{member: None})) is None


def test_the_content_type_is_json() -> None:
    assert opened(changed()).datacontenttype == CONTENT_TYPE


def test_extensions_are_passed_over() -> None:
    assert agrees(changed(traceparent="00-1", partitionkey=7, nested={"a": [True]})) is None


@pytest.mark.parametrize("member", ["id", "source", "type", "subject", "specversion"])
def test_an_attribute_that_stands_twice_is_refused(member: str) -> None:
    line = changed().replace(b"{", b'{"%b": "other", ' % member.encode(), 1)

    refusal = agrees(line)

    assert isinstance(refusal, Refusal)
    assert refusal.reason == Reason.MEMBER_DUPLICATED


HOSTILE = {
    "nothing": (b"", Reason.NOT_JSON),
    "no JSON": (b"hello", Reason.NOT_JSON),
    "half a line": (changed()[:40], Reason.NOT_JSON),
    "garbage behind": (changed() + b"x", Reason.NOT_JSON),
    "invalid UTF-8": (changed().replace(b"router-1", b"router-\xff"), Reason.NOT_JSON),
    "lone surrogate": (changed(subject="\ud800"), Reason.NOT_JSON),
    "NaN": (changed(data=float("nan")), Reason.NOT_JSON),
    "nested too deep": (b'{"e":' + b"[" * 100_000 + b"]" * 100_000 + b"}", Reason.NESTED_TOO_DEEP),
    "a list": (b"[]", Reason.NOT_CLOUDEVENT),
    "a batch": (b"[" + changed() + b"]", Reason.NOT_CLOUDEVENT),
    "an event without envelope": (encode(EVENT), Reason.NOT_CLOUDEVENT),
    "no data": (changed(data=None), Reason.NOT_CLOUDEVENT),
    "no id": (changed(id=None), Reason.NOT_CLOUDEVENT),
    "no source": (changed(source=None), Reason.NOT_CLOUDEVENT),
    "no type": (changed(type=None), Reason.NOT_CLOUDEVENT),
    "no specversion": (changed(specversion=None), Reason.NOT_CLOUDEVENT),
    "specversion 0.3": (changed(specversion="0.3"), Reason.NOT_CLOUDEVENT),
    "specversion as a number": (changed(specversion=1), Reason.NOT_CLOUDEVENT),
    "id as a number": (changed(id=1), Reason.NOT_CLOUDEVENT),
    "time as a number": (changed(time=0), Reason.NOT_CLOUDEVENT),
}


@pytest.mark.parametrize(("line", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_envelope_is_refused_by_the_name_of_its_fault(line: bytes, reason: Reason) -> None:
    refusal = open_envelope(line)

    assert isinstance(refusal, Refusal)
    assert refusal.reason == reason
