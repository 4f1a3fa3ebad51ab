"""What doctor looks at in a cluster: brokers, topics, the database, and how far each stage has come."""

from collections.abc import Iterator

from sqlalchemy.exc import DatabaseError

from app.anybooks import BooksMissing
from app.cluster import ClusterBooks
from app.doctor import FAULT, NOTE, OK, Told, tell_lags
from app.standing import Surveyor
from events.log import LogDamaged, LogFault
from events.topics import TopicsDiffer
from projections.database import REVISION, DatabaseUnreachable, SchemaOutdated

__all__ = ["check_cluster"]

_SETTLER = "`omnisync run --only settle`, unless it runs"
_WORKERS = "`omnisync run --only project`, unless as many workers run as are wanted"


def check_cluster(books: ClusterBooks) -> Iterator[Told]:
    """Look at each server, and where both are there at the books that they hold."""
    brokers, database = list(_check_brokers(books)), list(_check_database(books))
    yield from brokers
    yield from database
    if not any(told.level == FAULT for told in (*brokers, *database)):
        yield from _check_stages(books)


def _check_brokers(books: ClusterBooks) -> Iterator[Told]:
    try:
        books.check_ends()
        parameters = books.parameters()
    except BooksMissing as error:
        yield Told("books", FAULT, str(error))
    except TopicsDiffer as error:
        for difference in error.differences:
            found = f"{difference.topic}: {difference.setting} is {difference.found}, must be {difference.wanted}"
            yield Told("topics", FAULT, found, difference.fix)
    except LogFault as error:
        yield Told("brokers", FAULT, str(error), "start the brokers, or mend [kafka] of the settings")
    else:
        yield Told("books", OK, f"{parameters.network}: {books.place}, lanes: {books.count_lanes()}")


def _check_database(books: ClusterBooks) -> Iterator[Told]:
    if not books.is_projected():
        yield Told("database", NOTE, "the settings name none", "[postgres] for who asks or projects")
        return
    engine = books.engine()
    try:
        with engine.connect():
            yield Told("database", OK, f"revision {REVISION}")
    except DatabaseUnreachable as error:
        yield Told("database", FAULT, str(error), "start PostgreSQL, or mend [postgres] of the settings")
    except SchemaOutdated as error:
        yield Told("database", FAULT, str(error))
    finally:
        engine.dispose()


def _check_stages(books: ClusterBooks) -> Iterator[Told]:
    try:
        survey = Surveyor(books).look()
    except (LogDamaged, LogFault) as error:
        yield Told("logs", FAULT, str(error), "`omnisync verify --all` says how far the books hold")
        return
    except DatabaseError as error:
        yield Told("database", FAULT, f"the projections cannot be read: {error.orig}", "`omnisync rebuild`")
        return
    yield Told("projections", OK, f"network time {survey.network_time or 'none yet'}")
    yield from tell_lags(survey, lambda stage: _SETTLER if stage == "settled" else _WORKERS)
