"""Backup of books, while others go on writing them; that of a cluster is in the form of embedded books too.

logs/…           the logs' files up to the last commit, and all facts that were acknowledged; in the form of the books
manifest.json    up to where, with which roots and which balances; each file's length and SHA-256
backup.lock      one writer

    backup:   1 files copied and synced   2 manifest written, by renaming
    restore:  1 files copied and synced   2 put in place, by renaming

Logs only grow, so a backup into the same folder appends what is new. Whatever lies behind the lengths in the manifest
belongs to no backup: one that was broken off leaves the one before it whole. Projections, segments and caches are not
kept, since they are derived.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, BinaryIO, NamedTuple

import msgspec

from app.anybooks import AnyBooks
from app.books import Books
from app.clock import now
from app.copying import copy_logs
from app.locks import hold
from app.synced import read_synced, sync_folder, write_synced
from events.filelog import FileLog
from events.killpoints import reach
from events.log import LogDamaged
from ledger.parameters import parameters_hash, parameters_json
from projections.past import Past
from projections.replay import replay
from settlement.commit import find_unfounded
from settlement.verify import Finding, Progress, Verdict, fold_books, verify_logs

__all__ = ["Backup", "BackupRefused", "Made", "Manifest", "Verified"]

_FORMAT = 1
# Of what a manifest names nothing is written elsewhere than in a log's folder.
_PATH = r"^(facts/([0-9]+|hub)|ledger/(lane-[0-9]+|hub))/[0-9]{20}\.log$"
_CHUNK_BYTES = 4 * 1024 * 1024
_DAMAGED = "the backup is damaged, make another in an empty folder"
_OURS = {"backup.lock", "logs", "manifest.json", "manifest.new"}


class BackupRefused(Exception):
    """There is no whole backup in the folder, or it is of other books, or there is something in the way."""


class KeptLog(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of a log is kept, and its root there; an empty log has none."""

    name: str
    position: int
    root: str | None


class KeptFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of a file is kept, and the digest of that; `path` counts from the folder of the logs."""

    path: Annotated[str, msgspec.Meta(pattern=_PATH)]
    bytes: Annotated[int, msgspec.Meta(ge=0)]
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup holds. `balances` is the digest of all balances at its position (`ledger.balances`)."""

    format: int
    network: str
    params_hash: str
    made_at: str
    balances: str
    logs: tuple[KeptLog, ...]
    files: tuple[KeptFile, ...]

    @property
    def positions(self) -> dict[str, int]:
        """How much of each log is kept."""
        return {log.name: log.position for log in self.logs}


class Made(NamedTuple):
    """What a backup did: its manifest, and how many bytes were new."""

    manifest: Manifest
    copied: int


class Verified(NamedTuple):
    """What was checked of a backup."""

    manifest: Manifest
    verdict: Verdict


class _Extent(NamedTuple):
    """A log up to a position: its root there, and how much of which files that is."""

    log: FileLog
    position: int
    root: str | None
    files: Sequence[tuple[Path, int]]


class Backup:
    """A folder that keeps books."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is opened yet."""
        self.folder = folder
        self.logs = folder / "logs"

    def read_manifest(self) -> Manifest | None:
        """Return what the folder holds; None where no backup was ever made whole. Raises: BackupRefused."""
        try:
            text = (self.folder / "manifest.json").read_bytes()
        except FileNotFoundError:
            return None
        try:
            manifest = msgspec.json.decode(text, type=Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BackupRefused(f"{self.folder / 'manifest.json'} is damaged: {error}") from None
        if manifest.format != _FORMAT:
            raise BackupRefused(f"{self.folder}: the backup has form {manifest.format}, this program reads {_FORMAT}")
        return manifest

    # --- making ---

    def make(self, books: AnyBooks) -> Made:
        """Keep books up to their last commit; only what is new is copied.

        Raises: BooksMissing, BackupRefused, LogBusy, LogDamaged, LogFault.
        """
        parameters = books.parameters()
        self._check_folder()
        with hold(self.folder / "backup.lock", "backup"):
            before = self.read_manifest()
            params_hash = parameters_hash(parameters_json(parameters))
            held = {} if before is None else {file.path: file for file in before.files}
            if isinstance(books, Books):
                extents = _measure(books)
                if before is not None:
                    self._check_same(before, params_hash, extents)
                files = list(self._copy(books.folder, extents, held))
            else:
                if before is not None and before.params_hash != params_hash:
                    raise BackupRefused(f"{self.folder} keeps other books; choose another folder")
                extents = self._mirror(books, held)
                files = list(self._copy(self.logs, extents, held))
            _sync_folders(self.folder)
            reach("backup.1-copied")
            manifest = Manifest(
                _FORMAT,
                parameters.network,
                params_hash,
                now(),
                self._add_up(books if isinstance(books, Books) else Books(self.logs)),
                tuple(KeptLog(extent.log.name, extent.position, extent.root) for extent in extents),
                tuple(files),
            )
            self._write_manifest(manifest)
            reach("backup.2-manifest-written")
        return Made(manifest, sum(file.bytes - (held[file.path].bytes if file.path in held else 0) for file in files))

    def _check_folder(self) -> None:
        """Assert that the folder is ours or empty: a file in it may be cut. Raises: BackupRefused."""
        strange = sorted(path.name for path in self.folder.glob("*") if path.name not in _OURS)
        if strange:
            raise BackupRefused(f"{self.folder} holds {strange[0]}, which is no backup's; choose another folder")

    def _check_same(self, before: Manifest, params_hash: str, extents: Sequence[_Extent]) -> None:
        """Assert that what is kept is the beginning of the books. Raises: BackupRefused."""
        if before.params_hash != params_hash or [log.name for log in before.logs] != [e.log.name for e in extents]:
            raise BackupRefused(f"{self.folder} keeps other books; choose another folder")
        for kept, extent in zip(before.logs, extents, strict=True):
            if kept.position > extent.position:
                raise BackupRefused(
                    f"{self.folder} keeps {kept.name} up to {kept.position}, the books hold it up to "
                    f"{extent.position}: they have lost what is kept; choose another folder"
                )
            if kept.position:
                record = next(extent.log.read(kept.position - 1))
                if (record.end, record.header.root) != (kept.position, kept.root):
                    raise BackupRefused(f"{self.folder} keeps another {kept.name} up to {kept.position}")

    def _mirror(self, books: AnyBooks, held: Mapping[str, KeptFile]) -> list[_Extent]:
        """Append what is new of books' logs to those that are kept, record by record. Raises: CopyRefused, LogFault."""
        kept = Books(self.logs)
        for path in self.logs.rglob("*.log"):
            file = held.get(path.relative_to(self.logs).as_posix())
            if file is None:
                path.unlink()
            else:
                os.truncate(path, file.bytes)
        facts = [kept.facts(log.name, writable=True) for log in books.partitions()]
        ledgers = [*(kept.lane(number, writable=True) for number in range(len(facts) - 1)), kept.hub(writable=True)]
        before = {log.name: log.end() for log in (*facts, *ledgers)}

        def sync() -> None:
            for log in ledgers:
                log.sync()

        # What ledgers rest on was there before them, and of a commit that is just being made only a part may be.
        for _ in copy_logs(list(zip([*books.lanes(), books.hub()], ledgers, strict=True)), sync):
            pass
        for _ in copy_logs(list(zip(books.partitions(), facts, strict=True)), sync):
            pass
        cuts = find_unfounded(ledgers, facts, before)
        for log in ledgers:
            if log.name in cuts:
                log.cut_back(cuts[log.name])
        extents = [_find(log, log.end()) for log in (*facts, *ledgers)]
        for log in (*facts, *ledgers):
            log.close()
        return extents

    def _copy(self, source: Path, extents: Sequence[_Extent], held: Mapping[str, KeptFile]) -> Iterator[KeptFile]:
        """Append to each file what is new; yield each as it is kept then. Raises: BackupRefused."""
        sizes = {path.relative_to(source).as_posix(): size for extent in extents for path, size in extent.files}
        for path in self.logs.rglob("*.log"):
            if path.relative_to(self.logs).as_posix() not in sizes:
                # Left by a backup that was broken off.
                path.unlink()
        for name, size in sizes.items():
            kept, target = held.get(name), self.logs / name
            if source == self.logs:
                yield KeptFile(name, size, _digest(target, size))
            elif kept is not None and kept.bytes == size and target.exists() and target.stat().st_size == size:
                yield kept
            else:
                yield KeptFile(name, size, _append(source / name, target, size, kept))

    def _add_up(self, books: Books) -> str:
        """Return the digest of the balances that the copied logs lead to, by the books' segments where they agree."""
        try:
            return replay(Past(books.segments, Books(self.logs).ledgers())).digest()
        except LogDamaged as error:
            raise BackupRefused(f"{self.logs}: {error}; {_DAMAGED}") from error

    def _write_manifest(self, manifest: Manifest) -> None:
        fresh = self.folder / "manifest.new"
        with fresh.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self.folder / "manifest.json")
        sync_folder(self.folder)

    # --- using ---

    def restore(self, books: Books) -> Manifest:
        """Put the books into a folder that is not there, or empty. Raises: BackupRefused."""
        manifest = self._whole()
        if books.folder.exists() and any(books.folder.iterdir()):
            raise BackupRefused(f"{books.folder} is not empty; choose another folder")
        fresh = books.folder.absolute().with_name(books.folder.absolute().name + ".restoring")
        if fresh.exists():
            shutil.rmtree(fresh)
        for file in manifest.files:
            found = _append(self.logs / file.path, fresh / file.path, file.bytes, None)
            _check_digest(file, found)
        (fresh / "ledger").mkdir(parents=True, exist_ok=True)
        write_synced(fresh / "ledger" / "synced", manifest.positions)
        _sync_folders(fresh)
        reach("restore.1-copied")
        os.replace(fresh, books.folder.absolute())
        sync_folder(books.folder.absolute().parent)
        reach("restore.2-put-in-place")
        return manifest

    def verify(self, on_record: Progress | None = None) -> Verified:
        """Derive everything that is kept again, and compare.

        Raises: BackupRefused, LogDamaged, LedgerInvariantBroken, the last two naming what differs.
        """
        manifest = self._whole()
        for file in manifest.files:
            if _digest(self.logs / file.path, file.bytes) != file.sha256:
                raise Finding(f"{file.path}: its first {file.bytes} bytes are not what the manifest says")
        with self._as_books(manifest) as books:
            facts, lanes, hub = books.partitions(), books.lanes(), books.hub()
            found = {(log.name, log.end(), log.root().hex() if log.end() else None) for log in (*facts, *lanes, hub)}
            differing = found ^ {(log.name, log.position, log.root) for log in manifest.logs}
            if differing:
                raise Finding(
                    f"{min(name for name, _, _ in differing)}: the manifest says another end, or another root"
                )
            verdict = verify_logs(facts, lanes, hub, on_record)
            balances = fold_books((*lanes, hub)).balances.digest()
        if balances != manifest.balances:
            raise Finding(f"balances: the manifest says {manifest.balances}, the logs lead to {balances}")
        return Verified(manifest, verdict)

    def _whole(self) -> Manifest:
        manifest = self.read_manifest()
        if manifest is None:
            raise BackupRefused(f"{self.folder} holds no whole backup; make one with `omnisync backup`")
        for file in manifest.files:
            path = self.logs / file.path
            size = path.stat().st_size if path.exists() else 0
            if size < file.bytes:
                raise BackupRefused(f"{path}: {size} bytes, the manifest says {file.bytes}")
        return manifest

    @contextmanager
    def _as_books(self, manifest: Manifest) -> Iterator[Books]:
        """Show what is kept, and nothing behind it, as books to be read."""
        last = {Path(file.path).parent: file for file in manifest.files}
        with TemporaryDirectory(prefix="omnisync-") as folder:
            for file in manifest.files:
                source, target = self.logs.absolute() / file.path, Path(folder) / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                # Behind the length that counts, the last file of a log may hold more, or be growing just now.
                if file is last[target.parent.relative_to(folder)]:
                    _append(source, target, file.bytes, None)
                else:
                    target.symlink_to(source)
            yield Books(Path(folder))


def _measure(books: Books) -> list[_Extent]:
    """Find how much of the books is durable: ledgers as committed, and all facts. Raises: LogDamaged, BackupRefused."""
    committed = read_synced(books.synced) or {}
    extents = []
    for log in books.partitions():
        position = committed.get(log.name, 0)
        for record in log.read(position):
            position = record.end
        # A writer that was killed may have left a whole record unsynced.
        log.sync()
        extents.append(_find(log, position))
    return [*extents, *(_find(log, committed.get(log.name, 0)) for log in (*books.lanes(), books.hub()))]


def _find(log: FileLog, position: int) -> _Extent:
    """Find the bytes before a position; files but the last one are full."""
    files = [path for path in log.files() if int(path.stem) < position]
    if not files:
        return _Extent(log, 0, None, [])
    reached = 0
    for record, behind in log.read_file(files[-1]):
        reached = record.end
        if reached == position:
            sizes = [(path, path.stat().st_size) for path in files[:-1]]
            return _Extent(log, position, record.header.root, [*sizes, (files[-1], behind)])
    raise BackupRefused(f"{log.name}: ends at {reached}, and was durable up to {position}; see `omnisync doctor`")


def _append(source: Path, target: Path, size: int, kept: KeptFile | None) -> str:
    """Make `target` the first `size` bytes of `source`, durably, behind what it keeps; return its SHA-256.

    Raises: BackupRefused, where what it keeps is not what the manifest says.
    """
    digest, held = sha256(), 0 if kept is None else kept.bytes
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as old, target.open("r+b" if target.exists() else "w+b") as new:
        if kept is not None:
            for part in _chunks(new, held):
                digest.update(part)
            _check_digest(kept, digest.hexdigest())
        new.seek(held)
        old.seek(held)
        for part in _chunks(old, size - held):
            digest.update(part)
            new.write(part)
        new.truncate()
        new.flush()
        os.fsync(new.fileno())
    return digest.hexdigest()


def _digest(path: Path, size: int) -> str:
    digest = sha256()
    with path.open("rb") as file:
        for part in _chunks(file, size):
            digest.update(part)
    return digest.hexdigest()


def _check_digest(kept: KeptFile, found: str) -> None:
    if found != kept.sha256:
        raise BackupRefused(f"logs/{kept.path}: its first {kept.bytes} bytes are not those of the manifest; {_DAMAGED}")


def _chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the next bytes of a file, as many as there are up to `size`."""
    while size and (part := file.read(min(size, _CHUNK_BYTES))):
        size -= len(part)
        yield part


def _sync_folders(folder: Path) -> None:
    """Make durable which files there are in a folder and below."""
    for path, _, _ in os.walk(folder):
        sync_folder(Path(path))
