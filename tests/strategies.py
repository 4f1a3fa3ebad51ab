"""Hypothesis strategies for every event, read off the types that decode them; integers lean to the edges.

A new member or a new event type needs nothing here, unless it brings a pattern of its own.
"""

from typing import Any

from hypothesis import strategies as st
from msgspec import inspect

from events.catalogue import DECISIONS, FACTS
from events.event import AccountName, Amount, Digest, Event, Instant, Key, Name, PublicKey, Signature, VaultName

__all__ = ["AMOUNT_MAX", "EDGES", "any_events", "events_of", "instants", "integers", "texts"]

EDGES = (0, 1, 2**63 - 1, 2**63, 2**64 - 1)
AMOUNT_MAX = 10**39 - 1
UPPER, LOWER, DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789"
IN_NAME = UPPER + LOWER + DIGITS + "._-"
IN_BASE58 = "".join(letter for letter in DIGITS + UPPER + LOWER if letter not in "0OIl")


def integers(low: int = 0, high: int = AMOUNT_MAX) -> st.SearchStrategy[int]:
    """Draw from [low, high], every other time one of the edges within."""
    edges = sorted({edge for edge in (*EDGES, low, high) if low <= edge <= high})
    return st.sampled_from(edges) | st.integers(low, high)


def spelled(alphabet: str, longest: int, shortest: int = 1) -> st.SearchStrategy[str]:
    """Draw a word near the shortest or one of the greatest length."""
    word = st.text(alphabet, min_size=shortest, max_size=min(longest, shortest + 8))
    return word | st.sampled_from(alphabet).map(lambda letter: letter * longest)


def texts(longest: int = 40) -> st.SearchStrategy[str]:
    """Draw any text that UTF-8 can write."""
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=longest)


instants = st.datetimes().map(lambda moment: moment.isoformat(timespec="microseconds") + "Z")


def _pattern(annotated: Any) -> str:
    return str(annotated.__metadata__[0].pattern)


BY_PATTERN: dict[str, st.SearchStrategy[str]] = {
    _pattern(Digest): st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}"),
    _pattern(Name): spelled(IN_NAME, 88),
    _pattern(Key): spelled(IN_NAME + ":/", 200),
    _pattern(Instant): instants,
    _pattern(Amount): integers().map(str),
    _pattern(PublicKey): spelled(IN_BASE58, 44, shortest=32),
    _pattern(Signature): spelled(IN_BASE58, 88, shortest=64),
    _pattern(VaultName): spelled(LOWER, 20, shortest=0),
    _pattern(AccountName): st.builds(str.__add__, st.sampled_from(LOWER), spelled(IN_NAME + ":", 299, shortest=0)),
}


def _of_type(kind: Any) -> st.SearchStrategy[Any]:
    """Build the strategy of one member's type."""
    match kind:
        case inspect.Metadata(type=inner):
            return _of_type(inner)
        case inspect.StrType(pattern=str(pattern)):
            return BY_PATTERN[pattern]
        case inspect.StrType(max_length=longest):
            return texts(min(longest or 40, 40))
        case inspect.IntType(ge=low, le=high):
            assert low is not None, "an integer without bounds"
            assert high is not None, "an integer without bounds"
            return integers(low, high)
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.LiteralType(values=values):
            return st.sampled_from(list(values))
        case inspect.UnionType(types=types):
            return st.one_of(*map(_of_type, types))
        case inspect.VarTupleType(item_type=item, min_length=least):
            return st.lists(_of_type(item), min_size=least or 0, max_size=(least or 0) + 3).map(tuple)
        case inspect.StructType(cls=struct, fields=fields):
            return st.builds(struct, **{field.name: _of_type(field.type) for field in fields})
    raise NotImplementedError(f"no strategy for {kind}")


def events_of(kind: type[Event]) -> st.SearchStrategy[Any]:
    """Draw events of one type, in the version that is written today."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    members = {field.name: _of_type(field.type) for field in info.fields}
    return st.builds(kind, **(members | {"schema_version": st.just(kind.VERSION)}))


any_events: st.SearchStrategy[Event] = st.one_of(*map(events_of, FACTS + DECISIONS))
