"""Runs on disk are a cache: killed at any step, or damaged, they speak of less, and never wrongly."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from settlement.keys import KeyIndex, KeySet, Seen
from settlement.run_files import RunDamaged

pytestmark = pytest.mark.slow

State = dict[bytes, Seen]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add many"), st.integers(1, 80)),
        st.tuples(st.just("add"), st.integers(1, 6)),
        st.tuples(st.just("seal"), st.integers(0, 2)),
    ),
    max_size=40,
)


class Killed(BaseException):
    """The process ends here."""


@contextmanager
def kill_at(step: int) -> Iterator[None]:
    """Die before or after the n-th time that a file gets its name or is removed; half of what is written is there."""
    left = step

    def dying(effect: Callable[..., object], tear: bool) -> Callable[..., object]:
        def wrapped(path: Path, *rest: object, **more: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                if tear:
                    os.truncate(path, path.stat().st_size // 2)
                raise Killed
            done = effect(path, *rest, **more)
            left -= 1
            if left == 0:
                raise Killed
            return done

        return wrapped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", dying(os.replace, True))
        patch.setattr(Path, "unlink", dying(Path.unlink, False))
        yield


class Story:
    """An index on disk beside a dictionary, and the dictionary as it was at each seal."""

    def __init__(self, folder: Path, seed: int, memory_max: int) -> None:
        self.folder = folder
        self.random = Random(seed)
        self.memory_max = memory_max
        self.sealed: dict[int, State] = {0: {}}
        self.model: State = {}
        self.position = 0
        self.done = 0
        self.index = KeyIndex(folder, recent_max=4, memory_max=memory_max)

    def play(self, script: list[tuple[str, int]]) -> None:
        """Take steps; each looks up what it adds."""
        for what, count in script:
            if what == "seal":
                self.position += count
                self.sealed[self.position] = dict(self.model)
                self.index.seal(self.position, f"root {self.position}")
                self.done = self.position
            else:
                self.add(what, count)

    def add(self, what: str, count: int) -> None:
        """Add new keys of few distinct `hi`, one by one or together."""
        new: State = {}
        while len(new) < count:
            half = bytes([self.random.randrange(3)]) * 8 if self.random.random() < 0.7 else self.random.randbytes(8)
            key = half + self.random.randbytes(2) + bytes(6)
            if key not in self.model and key not in new:
                new[key] = Seen(self.position + len(new), self.random.randbytes(15) + b"\0")
        assert self.index.find(new) == {}
        if what == "add":
            for key, seen in new.items():
                self.index.add(key, seen)
        else:
            contents = np.frombuffer(b"".join(seen.content for seen in new.values()), dtype=np.uint8).reshape(-1, 16)
            keys = np.frombuffer(b"".join(new), dtype=np.uint8).reshape(-1, 16)
            self.index.add_many(keys, contents, np.array([seen.position for seen in new.values()]))
        self.model |= new
        self.position += count

    def reopen(self, until: int | None = None) -> int:
        """Begin again as a later process: what it finds is what was sealed, neither more nor less."""
        everything = {key: seen for state in self.sealed.values() for key, seen in state.items()} | self.model
        self.index = KeyIndex(
            self.folder,
            until=until,
            is_ground=lambda position, ground: ground == f"root {position}",
            recent_max=4,
            memory_max=self.memory_max,
        )
        self.position = self.done = self.index.position
        self.model = dict(self.sealed[self.position])
        self.sealed = {position: state for position, state in self.sealed.items() if position <= self.position}
        assert len(self.index) == len(self.model)
        assert self.index.find(everything) == self.model
        return self.position


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(steps, st.integers(1, 60)), max_size=4), st.integers(0, 99), st.integers(1, 200))
def test_index_killed_at_any_file_step_goes_on_from_a_seal(
    lives: list[tuple[list[tuple[str, int]], int]], seed: int, memory_max: int
) -> None:
    with TemporaryDirectory() as place:
        story = Story(Path(place) / "keys", seed, memory_max)
        for script, step in lives:
            with kill_at(step), suppress(Killed):
                story.play(script)
            assert story.reopen() >= story.done
        story.play([("add many", 50), ("seal", 1)])
        assert story.reopen() == max(story.sealed)
        assert story.index.find(story.model) == story.model


@settings(max_examples=80, deadline=None)
@given(steps, st.data(), st.integers(0, 99), st.integers(1, 200))
def test_damaged_or_missing_file_means_less_and_never_otherwise(
    script: list[tuple[str, int]], data: st.DataObject, seed: int, memory_max: int
) -> None:
    with TemporaryDirectory() as place:
        story = Story(Path(place) / "keys", seed, memory_max)
        story.play([*script, ("add many", 40), ("seal", 1)])
        path = data.draw(st.sampled_from(sorted(story.folder.iterdir())))
        held = path.read_bytes()
        at = data.draw(st.integers(0, len(held) - 1))
        match data.draw(st.sampled_from(("flip", "cut", "append", "remove", "swap"))):
            case "flip":
                path.write_bytes(held[:at] + bytes([held[at] ^ (1 << data.draw(st.integers(0, 7)))]) + held[at + 1 :])
            case "cut":
                path.write_bytes(held[:at])
            case "append":
                path.write_bytes(held + held[:40])
            case "remove":
                path.unlink()
            case _:
                path.write_bytes(data.draw(st.sampled_from(sorted(story.folder.iterdir()))).read_bytes())
        story.reopen()
        story.play([*script, ("add many", 40), ("seal", 1)])
        assert story.reopen() == max(story.sealed)


@settings(max_examples=40, deadline=None)
@given(steps, steps, st.integers(0, 99), st.integers(1, 20))
def test_the_seal_before_the_last_one_can_be_gone_back_to(
    before: list[tuple[str, int]], script: list[tuple[str, int]], seed: int, step: int
) -> None:
    with TemporaryDirectory() as place:
        story = Story(Path(place) / "keys", seed, 30)
        adds = [step for step in script if step[0] != "seal"]
        story.play([*before, ("add", 3), ("seal", 0)])
        earlier = story.position
        story.play([*adds, ("add many", 5), ("seal", 0), *adds])
        assert story.reopen(until=story.position) > earlier
        with kill_at(step), suppress(Killed):
            story.reopen(until=earlier)
        assert story.reopen(until=earlier) == earlier
        story.play([*adds, ("add many", 5), ("seal", 0)])
        assert story.reopen() > earlier
        assert story.reopen(until=0) == 0


def test_other_ground_or_other_rows_are_not_gone_on_from(tmp_path: Path) -> None:
    index = KeyIndex(tmp_path)
    index.add(bytes(16), Seen(0, bytes(16)))
    index.seal(1, "one root")
    asked: list[tuple[int, str]] = []

    def deny(position: int, ground: str) -> bool:
        asked.append((position, ground))
        return False

    assert KeyIndex(tmp_path, is_ground=deny).position == 0
    assert asked == [(1, "one root")]
    assert list(tmp_path.iterdir()) == []
    index = KeyIndex(tmp_path)
    index.add(bytes(16), Seen(0, bytes(16)))
    index.seal(1)
    assert (KeySet(tmp_path).position, list(tmp_path.iterdir())) == (0, [])


def test_a_seal_that_was_rewritten_is_not_believed(tmp_path: Path) -> None:
    index = KeyIndex(tmp_path)
    index.add(bytes(16), Seen(0, bytes(16)))
    index.seal(1, "root 1")
    [path] = tmp_path.glob("sealed-*")
    path.write_bytes(path.read_bytes().replace(b"root 1", b"root 2"))
    assert KeyIndex(tmp_path, is_ground=lambda _, ground: ground == "root 2").position == 0


def test_set_goes_on_from_its_folder(tmp_path: Path) -> None:
    random, model = Random("set"), set[bytes]()
    for position in range(1, 14):
        keys = KeySet(tmp_path, recent_max=8, memory_max=64)
        assert keys.position == position - 1
        assert len(keys) == len(model)
        assert all(map(keys.has, model))
        new = [random.randbytes(8) + bytes(8) for _ in range(40)]
        assert not any(map(keys.has, new))
        for key in new[:10]:
            keys.add(key)
        keys.add_many(np.frombuffer(b"".join(new[10:]), dtype=np.uint8).reshape(-1, 16))
        model |= set(new)
        assert keys.has_many(np.frombuffer(b"".join(model), dtype=np.uint8).reshape(-1, 16)).all()
        keys.seal(position)
    # Two seals, and the runs of like size that they name.
    assert len(list(tmp_path.iterdir())) < 20


def test_a_full_disk_hides_no_key(tmp_path: Path) -> None:
    random = Random("full")
    index, model = KeyIndex(tmp_path, recent_max=8, memory_max=64), dict[bytes, Seen]()

    def refuse(_source: Path, _target: Path) -> None:
        raise OSError("no space")

    for position in range(200):
        key = random.randbytes(16)
        model[key] = Seen(position, key)
        with pytest.MonkeyPatch.context() as patch, suppress(OSError):
            if position % 3:
                patch.setattr(os, "replace", refuse)
            index.add(key, model[key])
        assert index.find(model) == model
    assert len(index) == len(model)


@pytest.mark.parametrize("kept", [0, 100])
def test_a_file_that_is_cut_under_its_reader_is_named(tmp_path: Path, kept: int) -> None:
    random = Random("cut")
    index = KeyIndex(tmp_path, memory_max=64)
    keys = [random.randbytes(16) for _ in range(64)]
    index.add_many(
        np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, 16), np.zeros((64, 16), dtype=np.uint8), np.arange(64)
    )
    [path] = tmp_path.iterdir()
    os.truncate(path, kept)
    with pytest.raises(RunDamaged, match=path.name):
        index.find(keys)


def test_bytes_that_change_under_a_reader_are_not_carried_on_into_a_merge(tmp_path: Path) -> None:
    random = Random("change")
    index = KeyIndex(tmp_path, memory_max=16)

    def add(start: int) -> None:
        keys = np.frombuffer(random.randbytes(16 * 16), dtype=np.uint8).reshape(-1, 16)
        index.add_many(keys, np.zeros((16, 16), dtype=np.uint8), np.arange(start, start + 16))

    add(0)
    [path] = tmp_path.iterdir()
    held = bytearray(path.read_bytes())
    held[-1] ^= 1
    path.write_bytes(held)
    for start in range(16, 7 * 16, 16):
        add(start)
    with pytest.raises(RunDamaged, match=path.name):
        add(7 * 16)
