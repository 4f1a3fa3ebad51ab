"""The snapshot of an epoch: canonical lines, one root, in the order of validators."""

from hashlib import sha256
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from events.merkle import EMPTY_ROOT
from ledger.snapshot import SnapshotLine, line_bytes, snapshot_root
from tests.events.naive_merkle import naive_leaf, naive_root
from tests.strategies import integers

lines = st.builds(
    SnapshotLine,
    validator=st.text("abcV129", min_size=1, max_size=4),
    weight=integers(0, 2**128),
    assigned=st.integers(0, 2**53 - 1),
    answered=st.integers(0, 2**53 - 1),
    reason=st.none() | st.sampled_from(["no_weight", "case_upheld"]),
    case=st.none() | st.just("c" * 32),
)
V1 = SnapshotLine("V1", 2**64, 10, 9, None, None)
V2 = SnapshotLine("V2", 0, 0, 0, "not_active_all_epoch", None)


def test_line_is_canonical_and_says_what_there_is_none_of() -> None:
    assert line_bytes(V1) == (
        b'{"answered":9,"assigned":10,"case":null,"reason":null,"validator":"V1","weight":"18446744073709551616"}'
    )
    assert line_bytes(V2._replace(case="c")) == (
        b'{"answered":0,"assigned":0,"case":"c","reason":"not_active_all_epoch","validator":"V2","weight":"0"}'
    )


def test_root_of_two_is_worked_through() -> None:
    leaves = [sha256(b"\x00" + line_bytes(line)).digest() for line in (V1, V2)]

    assert snapshot_root([V2, V1]) == sha256(b"\x01" + leaves[0] + leaves[1]).hexdigest()
    assert snapshot_root([]) == EMPTY_ROOT.hex()


@given(st.lists(lines, unique_by=lambda line: line.validator, max_size=9), st.randoms(use_true_random=False))
def test_root_is_that_of_the_sorted_lines(drawn: list[SnapshotLine], random: Random) -> None:
    shuffled = list(drawn)
    random.shuffle(shuffled)
    ordered = [naive_leaf(line_bytes(line)) for line in sorted(drawn, key=lambda line: line.validator)]

    assert snapshot_root(shuffled) == snapshot_root(drawn) == naive_root(ordered).hex()
