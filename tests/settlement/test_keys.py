"""The key index is a dictionary, whatever runs it keeps inside."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from settlement.keys import RECENT_MAX, KeyIndex, Seen

# Few distinct bytes, so that keys share beginnings and end in zeros, which fixed-width strings drop.
tight = st.lists(st.sampled_from((0, 0, 0, 1, 255)), min_size=16, max_size=16).map(bytes)
loose = st.binary(min_size=16, max_size=16)
digests = st.one_of(tight, loose)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), digests, digests, st.integers(0, 2**62)),
            st.tuples(st.just("find"), st.lists(digests, max_size=8)),
        ),
        max_size=60,
    ),
    st.integers(1, 12),
)
def test_index_answers_as_a_dictionary_does(steps: list[tuple[object, ...]], recent_max: int) -> None:
    index, model = KeyIndex(recent_max), dict[bytes, Seen]()
    for step in steps:
        match step:
            case ("add", bytes(key), bytes(content), int(position)):
                if key not in model:
                    model[key] = Seen(position, content)
                    index.add(key, model[key])
            case ("find", list(wanted)):
                assert index.find(wanted) == {key: model[key] for key in wanted if key in model}
        assert len(index) == len(model)
    assert index.find(model) == model


def test_digests_that_end_in_zero_bytes_come_back_whole() -> None:
    index = KeyIndex(recent_max=4)
    keys = [bytes(16), b"\1" + bytes(15), bytes(15) + b"\1", b"\1" * 8 + bytes(8)]
    for number, key in enumerate(keys):
        index.add(key, Seen(number, key))

    assert index.find(keys) == {key: Seen(number, key) for number, key in enumerate(keys)}
    assert index.find([b"\1" * 15 + b"\0"]) == {}


def test_nothing_is_found_in_an_empty_index_and_nothing_is_asked_of_a_full_one() -> None:
    index = KeyIndex(recent_max=1)
    assert index.find([bytes(16)]) == {}
    assert index.find([]) == {}
    index.add(bytes(16), Seen(1, bytes(16)))
    assert index.find([]) == {}


@pytest.mark.slow
def test_runs_that_were_sealed_and_merged_hide_no_key() -> None:
    random = Random("keys")
    index, model = KeyIndex(), dict[bytes, Seen]()
    total = 5 * RECENT_MAX // 2
    for position in range(total):
        key = random.randbytes(16) if position % 64 else random.randbytes(8) + bytes(8)
        model[key] = Seen(position, random.randbytes(15) + b"\0")
        index.add(key, model[key])
        if position % 50_000 == 0:
            some = random.sample(list(model), min(len(model), 500))
            unknown = [random.randbytes(16) for _ in range(100)]
            assert index.find(some + unknown) == {key: model[key] for key in some}

    assert len(index) == len(model) == total
    assert index.find(model) == model
