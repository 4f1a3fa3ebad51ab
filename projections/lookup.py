"""One account's balance, now or at a past position, for callers who ask often: a connection and segments held open.

    BalanceReader = read_balances        for one account's name; the same answer, without building a query each time

Up to where a log is sealed its segments are asked, behind that the rows of its history.
"""

from collections.abc import Sequence
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
        self._connection: Any = engine.raw_connection()
        self._cursor: Any = self._connection.cursor()
        self._mark = "?" if engine.dialect.name == "sqlite" else "%s"
        # On PostgreSQL others may take the tables' place between two questions, with other ids.
        self._can_keep = engine.dialect.name == "sqlite"
        self._keys: dict[str, list[tuple[int, Key, bytes, int]]] = {}
        self._cover(dict(self._read(_POSITIONS)))
        self._connection.rollback()

    def close(self) -> None:
        """Give back the connection."""
        self._connection.close()

    def now(self, name: str) -> Standing:
        """Return an account's balances as they stand. Raises: AccountUnknown."""
        position: dict[str, int] = {}
        sums: dict[tuple[str, str], tuple[int, int]] = {}
        rows = self._read(_NOW, name)
        self._connection.rollback()
        for asset, place, debits, credits in rows:
            if asset is None:
                if "/" not in place:
                    position[place] = int(debits)
                continue
            before = sums.get((asset, place), (0, 0))
            sums[asset, place] = before[0] + int(debits), before[1] + int(credits)
        if not sums:
            raise AccountUnknown(f"nothing has moved {name} up to {format_position(position)}")
        return Standing(
            position, [Balance(Key(asset, name, vault), *sums[asset, vault]) for asset, vault in sorted(sums)]
        )

    def at(self, name: str, position: dict[str, int]) -> list[Balance]:
        """Return an account's balances at a position of records' ends. Raises: AccountUnknown, AtRefused."""
        lost = False
        while True:
            try:
                found = self._at(name, position, lost)
            except SegmentUnusable:
                # The past has lost it, and ends before it.
                lost = True
                continue
            finally:
                self._connection.rollback()
            if not found:
                raise AccountUnknown(f"nothing has moved {name} up to {format_position(position)}")
            return found

    def _at(self, name: str, position: dict[str, int], lost: bool) -> list[Balance]:
        if all(size <= self._past.end(log) for log, size in position.items()):
            # All accounts that are sealed are known since the tables have come so far; behind it there may be new ones.
            keys = self._keys.get(name)
            return self._add_up(self._find_keys(name) if keys is None else keys, position)
        # A transaction, so that where rows begin, and the rows, are of one moment.
        self._cursor.execute("SAVEPOINT here")
        self._check_rows(position, lost)
        return self._add_up(self._find_keys(name), position)

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
            reached, begin = places.get(history_of(log), 0), places.get(rows_of(log), 0)
            if size > max(reached, self._past.end(log)):
                raise AtRefused(f"the history of {log} is written up to {log}:{reached}, not to {log}:{size} yet")
            if begin > self._past.end(log) and not lost:
                self._past.refresh()
                self._cover(places)
            if min(begin, size) > self._past.end(log):
                raise rows_missing(log, begin, self._past)

    def _cover(self, places: dict[str, int]) -> None:
        """Tell whether the tables know all accounts that are sealed; then what is found of them stays so."""
        sealed = {log.name: self._past.end(log.name) for log in self._past.logs()}
        self._covered = self._can_keep and all(places.get(log, 0) >= end for log, end in sealed.items())
        self._keys.clear()

    def _read(self, statement: str, *values: Any) -> Sequence[Any]:
        self._cursor.execute(statement.replace("?", self._mark), values)
        rows: Sequence[Any] = self._cursor.fetchall()
        return rows
