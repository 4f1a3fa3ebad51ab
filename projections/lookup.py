"""One account's balance, now or at a past position, for callers who ask often: a connection and segments held open.

    BalanceReader = read_balances        for one account's name; the same answer, without building a query each time

Up to where a log is sealed its segments are asked, behind that the rows of its history. On PostgreSQL, where nothing is
sealed and each question is a journey, one statement asks all.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Engine

from ledger.accounts import Key
from projections.movements import rows_missing
from projections.past import Past
from projections.position import AtRefused, format_position, history_of, rows_of
from projections.read import AccountUnknown, Balance
from projections.segments import SegmentUnusable, hash_name, join_key

__all__ = ["BalanceReader", "Standing"]

_POSITIONS = "SELECT log, position FROM checkpoint"
# In one statement, so that both are of the same moment.
_NOW = (
    "SELECT NULL, log, position, NULL FROM checkpoint UNION ALL "
    "SELECT a.asset, a.vault, b.debits, b.credits FROM account AS a JOIN balance AS b ON b.account_id = a.id "
    "WHERE a.account = ?"
)
# Logs and sizes one by one: the driver writes arrays in Python, which took a third of a question.
_AT = (
    "SELECT NULL, log, position, NULL FROM checkpoint UNION ALL SELECT a.asset, a.vault, h.debits, h.credits "
    "FROM account AS a CROSS JOIN (VALUES {wanted}) AS wanted (log, size) CROSS JOIN LATERAL ("
    "SELECT debits, credits FROM history WHERE account_id = a.id AND log = wanted.log AND sequence < wanted.size "
    "ORDER BY sequence DESC LIMIT 1) AS h WHERE a.account = ?"
)
_KEYS = "SELECT id, asset, vault FROM account WHERE account = ? ORDER BY asset, vault"
_REACHED = (
    "SELECT debits, credits FROM history WHERE account_id = ? AND log = ? AND sequence >= ? AND sequence < ? "
    "ORDER BY sequence DESC LIMIT 1"
)
# The accounts of so many names are remembered.
_KEYS_KEPT = 65_536


class Standing(NamedTuple):
    """Balances, and the position that they stand on."""

    position: dict[str, int]
    balances: list[Balance]


class BalanceReader:
    """Balances of accounts by name, from one held connection."""

    def __init__(self, engine: Engine, past: Past) -> None:
        """Connect. Raises: SchemaOutdated."""
        self._past = past
        self._is_embedded = engine.dialect.name == "sqlite"
        self._held = engine.connect()
        if not self._is_embedded:
            # Each statement sees one moment, and needs no transaction around it. It is planned once, and by the keys:
            # of tables that have just been filled the planner knows nothing yet, and would read all of them.
            self._held = self._held.execution_options(isolation_level="AUTOCOMMIT")
            self._held.exec_driver_sql("SET plan_cache_mode = force_generic_plan")
            self._held.exec_driver_sql("SET enable_seqscan = off")
            # Nobody is given it behind us.
            self._held.detach()
        self._connection: Any = self._held.connection
        self._cursor: Any = self._connection.cursor()
        self._keys: dict[str, list[tuple[int, Key, bytes, int]]] = {}
        self._cover(dict(self._read(_POSITIONS)))

    def close(self) -> None:
        """Give back the connection."""
        self._held.close()

    def now(self, name: str) -> Standing:
        """Return an account's balances as they stand. Raises: AccountUnknown."""
        places, found = self._ask(name, _NOW, name)
        position = {log: size for log, size in places.items() if "/" not in log}
        return Standing(position, _known(name, position, found))

    def at(self, name: str, position: dict[str, int]) -> list[Balance]:
        """Return an account's balances at a position of records' ends. Raises: AccountUnknown, AtRefused."""
        if self._is_embedded:
            return _known(name, position, self._at_some_sealed(name, position))
        # As text, since a number's type, and with it the statement, would follow from how large it is.
        wanted = [text for log, size in position.items() for text in (log, str(size))]
        places, found = self._ask(name, _at(len(position)), *wanted, name)
        for log, size in position.items():
            _check_reached(log, size, places)
        return _known(name, position, found)

    def _ask(self, name: str, statement: str, *values: Any) -> tuple[dict[str, int], list[Balance]]:
        """Return all checkpoints, and an account's balances; both are of the same moment."""
        places: dict[str, int] = {}
        sums: dict[tuple[str, str], tuple[int, int]] = {}
        for asset, place, debits, credits in self._read(statement, *values):
            if asset is None:
                places[place] = int(debits)
                continue
            before = sums.get((asset, place), (0, 0))
            sums[asset, place] = before[0] + int(debits), before[1] + int(credits)
        return places, [Balance(Key(asset, name, vault), *sums[asset, vault]) for asset, vault in sorted(sums)]

    def _at_some_sealed(self, name: str, position: dict[str, int]) -> list[Balance]:
        lost = False
        while True:
            try:
                return self._at(name, position, lost)
            except SegmentUnusable:
                # The past has lost it, and ends before it.
                lost = True

    def _at(self, name: str, position: dict[str, int], lost: bool) -> list[Balance]:
        if all(size <= self._past.end(log) for log, size in position.items()):
            # All accounts that are sealed are known since the tables have come so far; behind it there may be new ones.
            keys = self._keys.get(name)
            return self._add_up(self._find_keys(name) if keys is None else keys, position)
        # A transaction, so that where rows begin, and the rows, are of one moment.
        self._cursor.execute("SAVEPOINT here")
        try:
            self._check_rows(position, lost)
            return self._add_up(self._find_keys(name), position)
        finally:
            self._connection.rollback()

    def _add_up(self, keys: list[tuple[int, Key, bytes, int]], position: dict[str, int]) -> list[Balance]:
        past = self._past
        ends = [(log, size, past.end(log)) for log, size in position.items()]
        found = []
        for number, key, text, hashed in keys:
            debits = credits = 0
            for log, size, sealed in ends:
                rows = self._read(_REACHED, number, log, sealed, size) if size > sealed else []
                more = (
                    (int(rows[0][0]), int(rows[0][1])) if rows else past.find_sums(log, text, hashed, min(size, sealed))
                )
                debits, credits = debits + more[0], credits + more[1]
            if debits or credits:
                found.append(Balance(key, debits, credits))
        return found

    def _find_keys(self, name: str) -> list[tuple[int, Key, bytes, int]]:
        """Return the number, key, name in segments and its hash of each account of a name, in order."""
        keys = []
        for number, asset, vault in self._read(_KEYS, name):
            key = Key(asset, name, vault)
            text = join_key(key)
            keys.append((number, key, text, hash_name(text)))
        if self._covered:
            if len(self._keys) >= _KEYS_KEPT:
                self._keys.clear()
            self._keys[name] = keys
        return keys

    def _check_rows(self, position: dict[str, int], lost: bool) -> None:
        """Assert that what is not sealed is in rows; unless a segment was lost just now, look for new ones before.

        Raises: AtRefused.
        """
        places = dict(self._read(_POSITIONS))
        for log, size in position.items():
            begin = places.get(rows_of(log), 0)
            if size > self._past.end(log):
                _check_reached(log, size, places)
            if begin > self._past.end(log) and not lost:
                self._past.refresh()
                self._cover(places)
            if min(begin, size) > self._past.end(log):
                raise rows_missing(log, begin, self._past)

    def _cover(self, places: dict[str, int]) -> None:
        """Tell whether the tables know all accounts that are sealed; then what is found of them stays so."""
        sealed = {log.name: self._past.end(log.name) for log in self._past.logs()}
        self._covered = all(places.get(log, 0) >= end for log, end in sealed.items())
        self._keys.clear()

    def _read(self, statement: str, *values: Any) -> Sequence[Any]:
        self._cursor.execute(statement if self._is_embedded else statement.replace("?", "%s"), values)
        rows: Sequence[Any] = self._cursor.fetchall()
        return rows


@cache
def _at(logs: int) -> str:
    return _AT.format(wanted=", ".join(["(?::text, ?::bigint)"] * logs))


def _check_reached(log: str, size: int, places: dict[str, int]) -> None:
    reached = places.get(history_of(log), 0)
    if size > reached:
        raise AtRefused(f"the history of {log} is written up to {log}:{reached}, not to {log}:{size} yet")


def _known(name: str, position: dict[str, int], found: list[Balance]) -> list[Balance]:
    if not found:
        raise AccountUnknown(f"nothing has moved {name} up to {format_position(position)}")
    return found
