"""Work that is done behind the caller: in order, never more than one piece behind, and an error ends both."""

from threading import Event, active_count, get_ident

import pytest

from projections.behind import open_behind


def test_pieces_are_done_in_order_in_another_thread() -> None:
    done = list[tuple[int, int]]()
    with open_behind() as behind:
        for number in range(5):
            behind.put(lambda number=number: done.append((number, get_ident())))  # type: ignore[misc]

    assert [number for number, _ in done] == list(range(5))
    assert {thread for _, thread in done}.isdisjoint({get_ident()})


def test_the_caller_goes_on_while_a_piece_is_done() -> None:
    goes_on = Event()
    with open_behind() as behind:
        behind.put(lambda: _wait_for(goes_on))
        goes_on.set()
        behind.wait()


def _wait_for(event: Event) -> None:
    assert event.wait(60)


def _fail() -> None:
    raise ValueError("the piece")


def test_a_piece_that_fails_is_the_last() -> None:
    done = list[int]()

    def put_another() -> None:
        with open_behind() as behind:
            behind.put(_fail)
            behind.put(lambda: done.append(1))

    with pytest.raises(ValueError, match="the piece"):
        put_another()
    assert not done


def test_the_last_piece_fails_behind_the_block() -> None:
    with pytest.raises(ValueError, match="the piece"), open_behind() as behind:
        behind.put(_fail)


def test_a_piece_that_is_under_way_ends_before_the_block_fails() -> None:
    threads, done, fails = active_count(), list[int](), Event()

    def finish() -> None:
        _wait_for(fails)
        done.append(1)

    def fail_meanwhile() -> None:
        with open_behind() as behind:
            behind.put(finish)
            fails.set()
            raise KeyError

    with pytest.raises(KeyError):
        fail_meanwhile()
    assert done == [1]
    assert active_count() == threads


def test_where_both_fail_the_piece_came_first() -> None:
    def fail_both() -> None:
        with open_behind() as behind:
            behind.put(_fail)
            raise KeyError

    with pytest.raises(ValueError, match="the piece") as raised:
        fail_both()
    assert isinstance(raised.value.__context__, KeyError)
