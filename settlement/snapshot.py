"""Snapshots: all settlers of a process as they stood at a commit, so that a start decides again only what follows.

    name   = "snapshot-" N             N: the sum of all logs' positions in it
    file  := header LF body digest     header: the code that wrote it, and of each log a position and the root there
                                       body: the settlers' states, pickled     digest: SHA-256 of all before it, in hex
    used   = the newest that is whole, was written by this very code, and whose roots the logs have at those positions;
             none: the settlers begin at the first fact

A snapshot is a cache of this process in its own folder, and trusted as that: its body is read only behind those checks,
and makes objects of the classes named here and in our packages, no others. Whoever can write into the folder can write
a snapshot that passes; `verify` uses none. Keys stay in their run files, sealed under the snapshot's own number (see
`settlement.keys`). It may be deleted at any time.
"""

import logging
import os
import pickle
import platform
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import MethodType
from typing import IO, Any, NamedTuple

import msgspec
import numpy as np
import pydantic

from events.codec import encode_json
from events.event import Count, Data, Digest, Key
from events.killpoints import reach
from events.log import Log
from settlement.keys import KeyIndex, KeySet
from settlement.remembered import root_at
from settlement.run_files import RunDamaged, Seal

__all__ = ["AT_REST", "WHILE_RUNNING", "Mark", "Snapshots", "State"]

# A snapshot is due after so many facts and decisions, about a second of work: while there is more to do, and at rest.
WHILE_RUNNING = 400_000
AT_REST = 40_000
# And that many more for each such part of its size, so that writing it stays a tenth of that work.
_PART_BYTES = 16 * 1024 * 1024
# The one before the last stays for whoever finds the last one damaged.
_KEPT = 2
_PREFIX = "snapshot-"
_HEX_BYTES = 64
_PACKAGES = ("events", "ledger", "chain", "settlement")
_OTHERS = {
    ("builtins", "dict"),
    ("builtins", "frozenset"),
    ("builtins", "set"),
    ("collections", "defaultdict"),
    ("collections", "deque"),
    ("msgspec._utils", "rebuild"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.numeric", "_frombuffer"),
}
_LOG = logging.getLogger(__name__)
State = Mapping[str, Any]


class Mark(Data, frozen=True):
    """How far a log was taken into account, and its root there."""

    log: Key
    end: Count
    root: Digest


class _Header(Data, frozen=True):
    code: Digest
    logs: tuple[Mark, ...]


_header_decoder = msgspec.json.Decoder(_Header)


class _Unfit(Exception):
    """A snapshot cannot be used; the message says why."""


class Snapshots:
    """The snapshots of the settlers of some logs, in a folder that is theirs alone."""

    def __init__(self, folder: Path, logs: Sequence[Log]) -> None:
        """Name the folder, and all partitions of facts and ledger logs."""
        self._folder = folder
        self._logs = {log.name: log for log in logs}
        self._last = 0
        self._size = 0

    def load(self) -> dict[str, State]:
        """Return the states of the newest snapshot that can be used, by ledger log; none: an empty dictionary.

        Those that cannot be used are removed. Raises: OSError, LogDamaged.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.glob(f"{_PREFIX}*.part"):
            path.unlink()
        for path in self._newest():
            try:
                states = self._read(path)
            except (_Unfit, RunDamaged, pickle.UnpicklingError) as error:
                _LOG.warning("%s: not used: %s", path.name, error)
                path.unlink()
                continue
            self._last, self._size = int(path.name.removeprefix(_PREFIX)), path.stat().st_size
            return states
        return {}

    def forget(self) -> None:
        """Remove all."""
        for path in self._newest():
            path.unlink()

    def is_due(self, number: int, least: int) -> bool:
        """Tell whether so much was done since the last one that another is worth writing."""
        return number - self._last >= least * (1 + self._size // _PART_BYTES)

    def keep(self, marks: Sequence[Mark], states: Mapping[str, State]) -> None:
        """Write a snapshot: 1 keys sealed 2 written aside, durably 3 in place; then remove those before the last two.

        All of `marks` is committed. Where there is no room for it nothing is lost but time at the next start.
        """
        number = sum(mark.end for mark in marks)
        path = self._folder / f"{_PREFIX}{number:020}"
        part = path.with_suffix(".part")
        try:
            with part.open("wb") as file:
                hashed = _Hashed(file)
                hashed.write(encode_json(_Header(code=code_digest(), logs=tuple(marks))) + b"\n")
                _Pickler(hashed, self._folder, number).dump(dict(states))
                reach("snapshot.1-sealed")
                file.write(hashed.digest.hexdigest().encode())
                file.flush()
                os.fsync(file.fileno())
            reach("snapshot.2-written")
            os.replace(part, path)
            reach("snapshot.3-in-place")
            self._size = path.stat().st_size
            for old in self._newest()[_KEPT:]:
                old.unlink()
        except OSError as error:
            _LOG.warning("%s: no snapshot was written: %s; the next start takes longer", self._folder, error.strerror)
        self._last = number

    def _newest(self) -> list[Path]:
        return sorted((path for path in self._folder.glob(f"{_PREFIX}*") if not path.suffix), reverse=True)

    def _read(self, path: Path) -> dict[str, State]:
        """Check a snapshot, then read it. Raises: _Unfit, RunDamaged, UnpicklingError, OSError, LogDamaged."""
        with path.open("rb") as file:
            _check_digest(file)
            file.seek(0)
            try:
                header = _header_decoder.decode(file.readline())
            except msgspec.MsgspecError as error:
                raise _Unfit(f"header: {error}") from error
            if header.code != code_digest():
                raise _Unfit("other code wrote it")
            for mark in header.logs:
                log = self._logs.get(mark.log)
                if log is None or root_at(log, mark.end) != mark.root:
                    raise _Unfit(f"{mark.log} has another root at {mark.end}, or ends before")
            states: dict[str, State] = _Unpickler(file, self._folder).load()
            return states


def _check_digest(file: IO[bytes]) -> None:
    """Check a file against the digest at its end. Raises: _Unfit."""
    end = file.seek(0, os.SEEK_END) - _HEX_BYTES
    digest, left = sha256(), file.seek(0) or end
    while left > 0 and (piece := file.read(min(left, 1 << 20))):
        digest.update(piece)
        left -= len(piece)
    if left or file.read() != digest.hexdigest().encode():
        raise _Unfit("its digest differs")


@cache
def code_digest() -> str:
    """Return the SHA-256 over the sources that decide, and over what reads and writes their objects."""
    digest = sha256(f"{platform.python_version()} {np.__version__} {msgspec.__version__} {pydantic.VERSION}".encode())
    for name in _PACKAGES:
        (folder,) = import_module(name).__path__
        for path in sorted(Path(folder).rglob("*.py")):
            source = path.read_bytes()
            digest.update(f"{name}/{path.relative_to(folder).as_posix()} {len(source)}\n".encode() + source)
    return digest.hexdigest()


class _Hashed:
    """A file that is hashed as it is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.digest = sha256()
        self._file = file

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)


def _bind(owner: object, name: str) -> MethodType:
    """Return a method of an object of ours."""
    function = vars(type(owner)).get(name)
    if type(owner).__module__.partition(".")[0] not in _PACKAGES or not callable(function):
        raise pickle.UnpicklingError(f"{type(owner).__name__} has no method {name}")
    return MethodType(function, owner)


def _unbind(method: MethodType) -> tuple[Callable[..., object], tuple[object, str]]:
    return _bind, (method.__self__, method.__func__.__name__)


class _SealedKeys(NamedTuple):
    """Stands in a snapshot for keys, which `_Unpickler` opens in its place."""

    kind: type[KeyIndex | KeySet]
    name: str
    seal: Seal | None


def _seal(folder: Path, number: int, keys: KeyIndex | KeySet) -> tuple[Callable[..., object], tuple[object, ...]]:
    assert keys.folder is not None
    return _SealedKeys, (type(keys), keys.folder.relative_to(folder).as_posix(), keys.seal(number))


class _Pickler(pickle.Pickler):
    """Writes states; seals the keys that it meets, and names their seals."""

    def __init__(self, file: _Hashed, folder: Path, number: int) -> None:
        super().__init__(file, protocol=5)
        # It must not refer to itself: it has all that was written, and would go with the next collection only.
        seal = partial(_seal, folder, number)
        self.dispatch_table = {MethodType: _unbind, KeyIndex: seal, KeySet: seal}


class _Unpickler(pickle.Unpickler):
    """Reads states; opens keys as of their seals. Raises: UnpicklingError, RunDamaged, OSError."""

    def __init__(self, file: IO[bytes], folder: Path) -> None:
        super().__init__(file)
        self._folder = folder

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == (__name__, _SealedKeys.__name__):
            return self.open_keys
        if (module, name) in _OTHERS or (module, name) == (__name__, _bind.__name__):
            return super().find_class(module, name)
        if module.partition(".")[0] in _PACKAGES:
            found = vars(import_module(module)).get(name)
            if isinstance(found, type) and found.__module__ == module:
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a state")

    def open_keys(self, kind: type[KeyIndex | KeySet], name: str, seal: Seal | None) -> KeyIndex | KeySet:
        """Open keys as of their seal."""
        return kind(self._folder / name, seal=seal)
