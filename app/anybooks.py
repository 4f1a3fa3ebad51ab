"""What books can do, wherever they are kept: in a folder (`app.books`) or in a cluster (`app.cluster`)."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from typing import Self

from sqlalchemy import Engine

from app.clock import now
from app.stages import Progress, Stages
from events.codec import decode
from events.event import fact_id
from events.facts import GenesisDeclared, GenesisDeclaredData
from events.log import Log
from ledger.parameters import Parameters, parameters_from_json, parameters_hash, parameters_json
from projections.past import Past
from settlement.ingest import Partitions, Receipt, ingest, ingest_whole
from settlement.lines import Line
from settlement.routing import HUB_PARTITION, partitions_of

__all__ = ["AnyBooks", "BooksExist", "BooksMissing", "declare_genesis"]


class BooksMissing(Exception):
    """There are no books in the place."""


class BooksExist(Exception):
    """There are books in the place already."""


class AnyBooks(ABC):
    """Books: logs of facts, logs of decisions, and the tables that follow them.

    What is opened to be read, logs and engines, is closed with the books: `with books: …`.
    """

    place: str

    def __enter__(self) -> Self:
        """Return the books."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Close what was opened to be read; the books can be used again."""

    # --- logs, to be read ---

    @abstractmethod
    def count_lanes(self) -> int:
        """Count the lanes: as many as there are partitions of facts beside the hub's. Raises: LogFault."""

    @abstractmethod
    def facts(self, name: str) -> Log:
        """Open a partition of the facts, such as `facts/0` or `facts/hub`."""

    @abstractmethod
    def lane(self, number: int = 0) -> Log:
        """Open a lane's ledger log."""

    @abstractmethod
    def hub(self) -> Log:
        """Open the hub's ledger log."""

    def partitions(self) -> Sequence[Log]:
        """Open all partitions of the facts, the hub's last."""
        return [self.facts(name) for name in partitions_of(self.count_lanes())]

    def lanes(self) -> Sequence[Log]:
        """Open all lanes' ledger logs, in order."""
        return [self.lane(number) for number in range(self.count_lanes())]

    def ledgers(self) -> Sequence[Log]:
        """Open all ledger logs, the hub's first: what it allocates is what others spend."""
        return [self.hub(), *self.lanes()]

    def parameters(self) -> Parameters:
        """Read the parameter set out of the genesis. Raises: BooksMissing, LogFault."""
        with closing(self.facts(HUB_PARTITION)) as facts:
            for record in facts.read(0):
                for line in record.lines:
                    event = decode(line)
                    if isinstance(event, GenesisDeclared):
                        return parameters_from_json(event.data.parameters)
        raise BooksMissing(f"no books in {self.place}; create them with `omnisync init --preset omnisync`")

    @abstractmethod
    def committed(self, ledgers: Sequence[Log]) -> Mapping[str, int]:
        """Return how far each ledger log is durable, and how much of each partition of the facts it rests on."""

    @abstractmethod
    def past(self) -> Past | None:
        """Open the sealed segments of all ledger logs; None where none are kept, and all history has rows."""

    @abstractmethod
    def free_bytes(self) -> int | None:
        """Return how much space is left where the logs are kept; None where that is others' to tell."""

    # --- what is done with them ---

    @abstractmethod
    def check_ends(self) -> None:
        """Assert that every log still holds what others rest on. Raises: Finding."""

    @abstractmethod
    def create(self, parameters: Parameters, lanes: int = 1) -> str:
        """Create books with a genesis in each partition; return the parameters' hash. Raises: BooksExist, LogFault."""

    @abstractmethod
    def open_facts(self) -> AbstractContextManager[Partitions]:
        """Hold all partitions open for ingest while the block runs. Raises: LogFault."""

    def ingest(self, chunks: Iterator[Sequence[Line]], source: str) -> Iterator[Receipt]:
        """Append the facts of a source; yield a receipt per durable batch. Raises: LogFault."""
        with self.open_facts() as partitions:
            yield from ingest(chunks, source, partitions, now)

    def ingest_whole(self, chunks: Iterator[Sequence[Line]], source: str) -> Receipt:
        """Append all facts of a source, or none. Raises: LogFault."""
        with self.open_facts() as partitions:
            return ingest_whole(chunks, source, partitions, now)

    @abstractmethod
    def stages(self, only: str | None = None, *, from_start: bool = False) -> AbstractContextManager[Stages]:
        """Hold both stages, or one, while the block settles and projects; `from_start`: from no snapshot.

        Raises: LogFault, LedgerInvariantBroken.
        """

    # --- projections ---

    @abstractmethod
    def is_projected(self) -> bool:
        """Tell whether there are tables."""

    @abstractmethod
    def engine(self, *, writable: bool = False) -> Engine:
        """Open the projections. Raises: BooksMissing, SchemaOutdated."""

    @abstractmethod
    def rebuild(self, on_record: Progress | None = None) -> None:
        """Project everything again beside what is there, then take its place."""


def declare_genesis(parameters: Parameters) -> GenesisDeclared:
    """Build the first fact of every partition."""
    text = parameters_json(parameters)
    key = f"genesis:{parameters.network}"
    return GenesisDeclared(
        id=fact_id("foundation", key),
        source="foundation",
        stream="foundation",
        subject=parameters.network,
        occurred_at=parameters.launched_at,
        key=key,
        schema_version=1,
        data=GenesisDeclaredData(parameters=text, params_hash=parameters_hash(text)),
    )
