"""A forger who knows the format: edits a log's records and makes every checksum and root of that log anew."""

from collections.abc import Callable

import msgspec

from app.books import Books
from events.filelog import FileLog, frame
from events.merkle import Tree
from events.record import Basis, Record, pack
from tests.faults.scenes import logs_of

__all__ = ["forge", "rest_anew"]

FOLDERS = {"facts/0": "facts/0", "facts/hub": "facts/hub", "lane-0": "ledger/lane-0", "hub": "ledger/hub"}
Edit = Callable[[list[Record]], list[Record]]


def forge(books: Books, name: str, edit: Edit) -> None:
    """Rewrite a log with edited records; frames, counts, sequences and roots all check afterwards."""
    records = edit(list(logs_of(books)[name].read()))
    tree, data = Tree(), b""
    for record in records:
        header = msgspec.structs.replace(record.header, sequence=tree.size, count=len(record.lines), root=None)
        tree.extend(Record(header, record.lines).leaves())
        whole = pack(Record(msgspec.structs.replace(header, root=tree.root().hex()), record.lines))
        data += frame(whole) + whole
    (path,) = (books.folder / FOLDERS[name]).glob("*.log")
    path.write_bytes(data)
    FileLog(path.parent, name).root()  # the forger checks his work: the log by itself is in order


def rest_anew(books: Books, name: str) -> None:
    """Let a ledger log's records rest on what the other logs say now, and make its roots anew."""
    roots = {log.name: {record.end: record.header.root for record in log.read()} for log in logs_of(books).values()}

    def on(basis: Basis) -> Basis:
        return msgspec.structs.replace(basis, root=roots[basis.log][basis.end])

    def edit(records: list[Record]) -> list[Record]:
        return [
            Record(
                msgspec.structs.replace(record.header, basis=tuple(on(basis) for basis in record.header.basis)),
                record.lines,
            )
            for record in records
        ]

    forge(books, name, edit)
