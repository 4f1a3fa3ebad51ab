"""The codec on good events: one form of bytes per event, and that form is the stated one."""

import json
import re
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.catalogue import DECISIONS, FACTS, get_version
from events.codec import INTEGER_MAX, canonicalise, decode, encode, encode_json, type_name
from events.event import Event, decision_id, decision_key, fact_id
from events.refusal import Refusal
from tests.events.samples import SAMPLES
from tests.strategies import any_events, events_of, texts


def written_plainly(line: bytes) -> bytes:
    """Bring a line into canonical form with nothing but the standard library."""
    return json.dumps(json.loads(line), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.mark.parametrize("kind", FACTS + DECISIONS)
@settings(max_examples=8)
@given(data=st.data())
def test_what_is_encoded_is_decoded_alike(kind: type[Event], data: st.DataObject) -> None:
    event = data.draw(events_of(kind))

    assert decode(encode(event)) == event


@pytest.mark.slow
@pytest.mark.parametrize("kind", FACTS + DECISIONS)
@settings(max_examples=25)
@given(data=st.data())
def test_much_that_is_encoded_is_decoded_alike(kind: type[Event], data: st.DataObject) -> None:
    event = data.draw(events_of(kind))

    assert decode(encode(event)) == event


@given(any_events)
def test_canonical_form_is_sorted_compact_utf8(event: Event) -> None:
    line = encode(event)

    assert line == written_plainly(line)


@given(any_events)
def test_absent_members_are_left_out(event: Event) -> None:
    line = encode(event)

    assert b":null" not in line
    assert b'"late":false' not in line


@given(texts())
def test_text_is_written_as_the_standard_library_writes_it(text: str) -> None:
    assert encode_json({"text": text}) == json.dumps({"text": text}, separators=(",", ":"), ensure_ascii=False).encode()


@given(st.integers(-INTEGER_MAX, INTEGER_MAX))
def test_integers_up_to_the_53rd_bit_keep_their_value(number: int) -> None:
    assert canonicalise(str(number).encode()) == str(number).encode()


@pytest.mark.parametrize("number", [INTEGER_MAX + 1, -INTEGER_MAX - 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**400])
def test_integers_beyond_the_53rd_bit_are_refused(number: int) -> None:
    assert isinstance(canonicalise(str(number).encode()), Refusal)


def _loosen(members: Any, draw: st.DataObject) -> str:
    """Write JSON with members in any order and white space anywhere."""
    gap = draw.draw(st.sampled_from(["", "", " ", "\n", "\t \r\n"]))
    if isinstance(members, dict):
        pairs = draw.draw(st.permutations(list(members.items())))
        inner = ",".join(f"{gap}{json.dumps(name)}{gap}:{_loosen(value, draw)}" for name, value in pairs)
        return f"{{{inner}{gap}}}"
    if isinstance(members, list):
        return f"[{','.join(_loosen(value, draw) for value in members)}{gap}]"
    return gap + json.dumps(members) + gap


@settings(max_examples=60)
@given(any_events, st.data())
def test_order_white_space_and_escapes_do_not_outlast_canonicalising(event: Event, data: st.DataObject) -> None:
    line = encode(event)

    loose = _loosen(json.loads(line), data).encode()

    assert canonicalise(loose) == line


@given(any_events)
def test_canonicalising_twice_changes_nothing(event: Event) -> None:
    assert canonicalise(encode(event)) == encode(event)


@pytest.mark.parametrize("event", SAMPLES)
def test_type_on_the_wire_is_the_name_of_the_struct(event: Event) -> None:
    assert json.loads(encode(event))["type"] == type_name(event) == type(event).__name__
    assert get_version(type_name(event)) == event.VERSION


def test_version_of_an_unknown_type_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        get_version("JobDreamt")


def test_id_of_a_fact_hashes_its_source_and_key() -> None:
    # printf 'router-1|job:1' | sha256sum
    assert fact_id("router-1", "job:1") == "61e89d1e2bfc0eef70906e20c5528b425c24624bf0602ddb9063642c7505b824"


def test_id_of_a_decision_hashes_its_type_and_key() -> None:
    # printf 'JobSettled|job:1:1' | sha256sum
    expected = "ad1036f3f83ae7210b069923a1c08b98848038f1957154dd0c260972e57f1b52"
    assert decision_id("JobSettled", "job:1:1") == expected


@given(
    st.lists(st.from_regex(r"[A-Za-z0-9._-]{1,88}", fullmatch=True) | st.just("x" * 88), min_size=1, max_size=4),
    st.integers(0, INTEGER_MAX),
)
def test_a_decision_key_is_its_parts_or_the_hash_of_them_and_always_fits(names: list[str], number: int) -> None:
    joined = ":".join([*names, str(number)])

    key = decision_key(*names, number)

    assert re.fullmatch(r"[A-Za-z0-9._:/-]{1,200}", key)
    assert key == (joined if len(joined) <= 200 else sha256(joined.encode()).hexdigest())


def test_longest_names_of_consumer_and_job_have_a_key() -> None:
    consumer, job, attempt = "c" * 88, "j" * 88, INTEGER_MAX

    assert decision_key(consumer, job, attempt, 1) == f"{consumer}:{job}:{attempt}:1"
    assert len(decision_key(consumer, job, attempt, "redistributed")) == 64
