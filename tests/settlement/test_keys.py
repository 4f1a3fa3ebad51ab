"""The key index is a dictionary and the key set a set, whatever runs they keep inside."""

from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from settlement.keys import RECENT_MAX, KeyIndex, KeySet, Seen

pytestmark = pytest.mark.slow

Digests = npt.NDArray[np.uint8]
# Few distinct bytes, so that keys share halves and end in zeros; what differs may be a single bit of either half.
tight = st.lists(st.sampled_from((0, 0, 0, 1, 255)), min_size=16, max_size=16).map(bytes)
same_hi = st.tuples(st.sampled_from((bytes(8), b"\xff" * 8, b"\1" * 8)), st.binary(min_size=8, max_size=8)).map(
    b"".join
)
loose = st.binary(min_size=16, max_size=16)
digests = st.one_of(tight, same_hi, loose)
seen = st.builds(Seen, st.integers(0, 2**63 - 1), digests)
batches = st.dictionaries(digests, seen, max_size=12)


def matrix(keys: list[bytes]) -> Digests:
    return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, 16)


def find_many(index: KeyIndex, keys: list[bytes]) -> dict[bytes, Seen]:
    """Ask for a batch; return the answer as `find` would."""
    found = index.find_many(matrix(keys))
    assert found.at.shape == (len(keys),)
    assert found.content.shape == (len(keys), 16)
    return {
        key: Seen(int(at), content.tobytes())
        for key, at, content in zip(keys, found.at, found.content, strict=True)
        if at >= 0
    }


def add_many(index: KeyIndex, batch: dict[bytes, Seen]) -> None:
    """Add what a dictionary holds as one batch."""
    contents = matrix([each.content for each in batch.values()])
    index.add_many(matrix(list(batch)), contents, np.array([each.position for each in batch.values()], dtype=np.int64))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), batches),
            st.tuples(st.just("add many"), batches),
            st.tuples(st.just("find"), st.lists(digests, max_size=8)),
            st.tuples(st.just("find many"), st.lists(digests, max_size=8)),
        ),
        max_size=60,
    ),
    st.integers(1, 12),
)
def test_index_answers_as_a_dictionary_does(steps: list[tuple[object, ...]], recent_max: int) -> None:
    index, model = KeyIndex(recent_max=recent_max), dict[bytes, Seen]()
    for step in steps:
        match step:
            case (str(how), dict(batch)):
                new = {key: value for key, value in batch.items() if key not in model}
                model |= new
                if how == "add many":
                    add_many(index, new)
                else:
                    for key, value in new.items():
                        index.add(key, value)
                assert index.find(new) == new
            case (str(how), list(wanted)):
                ask = find_many if how == "find many" else KeyIndex.find
                assert ask(index, wanted) == {key: model[key] for key in wanted if key in model}
        assert len(index) == len(model)
    assert index.find(model) == find_many(index, list(model)) == model


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(("add", "add many", "has", "has many")), st.lists(digests, max_size=12))),
    st.integers(1, 12),
)
def test_set_answers_as_a_set_does(steps: list[tuple[str, list[bytes]]], recent_max: int) -> None:
    keys, model = KeySet(recent_max=recent_max), set[bytes]()
    for how, some in steps:
        match how:
            case "add":
                for key in some:
                    keys.add(key)
                model |= set(some)
            case "add many":
                keys.add_many(matrix(sorted(set(some) - model)))
                model |= set(some)
            case "has":
                assert [keys.has(key) for key in some] == [key in model for key in some]
            case _:
                assert keys.has_many(matrix(some)).tolist() == [key in model for key in some]
        assert len(keys) == len(model)
    assert all(keys.has(key) for key in model)
    assert keys.has_many(matrix(sorted(model))).all()


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
    assert find_many(index, []) == {}


def test_a_seal_without_a_folder_is_kept_in_mind_and_does_not_go_back() -> None:
    index = KeyIndex()
    assert index.position == 0
    index.seal(7)
    assert index.position == 7
    with pytest.raises(ValueError, match="sealed as of 7, not of 6"):
        index.seal(6)


def test_runs_that_were_sealed_and_merged_hide_no_key() -> None:
    random = Random("keys")
    index, model = KeyIndex(), dict[bytes, Seen]()
    total = 100 * RECENT_MAX
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
