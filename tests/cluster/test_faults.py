"""A cluster whose servers and processes fail while facts come in: nothing acknowledged is lost, nothing counts twice.

Three brokers, each topic on all of them, one PostgreSQL on a disk of its own. At the end of each story all that was
told is settled and shown, every log and row verifies, and digests and balances are those of embedded books.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient, TopicPartition

from dev.kafka import KafkaCluster
from dev.postgres import Postgres
from events.brokers import Brokers, connect
from events.killpoints import KILLPOINTS
from events.log import Log, LogDamaged
from events.partition import Partition
from tests.cluster.disk import Disk
from tests.cluster.load import PROJECTING, wait_until
from tests.cluster.story import NODES, Servers, Story, is_led_by
from tests.cluster.tally import FAULTS
from tests.servers import make_folder, remove_folder

pytestmark = pytest.mark.slow

STEPS = [name for name in KILLPOINTS if name.startswith("kafka.")]
FULL = "the database's disk is full: no table grows"
FOREIGN = "a foreign message in the ledger stops its lane"


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Start three brokers and a database, for this module alone."""
    folder = make_folder()
    disk = Disk(folder / "postgres" / "data")
    try:
        servers = Servers(KafkaCluster(folder / "kafka", NODES), Postgres(folder / "postgres"), disk)
        servers.kafka.start()
        servers.postgres.start()
        yield servers
    finally:
        disk.close()
        remove_folder(folder)


Tell = Callable[[Callable[[Story], None]], None]


@pytest.fixture
def tell(servers: Servers, tmp_path: Path, kills: int | None, record_property: Callable[[str, object], None]) -> Tell:
    """Tell a story so many times, each with other books, and note what became of the facts in it."""

    def told(happen: Callable[[Story], None]) -> None:
        for seed in range(kills or 1):
            story = Story(servers, tmp_path, seed)
            try:
                story.load.begin_all()
                happen(story)
                tallies = story.tallies()
            finally:
                story.load.abandon()
            record_property(FAULTS, {name: [*tally] for name, tally in tallies.items()})
            assert all(tally.acknowledged and not (tally.lost or tally.doubled) for tally in tallies.values()), tallies

    return told


def test_processes_die_join_and_leave(tell: Tell) -> None:
    def happen(story: Story) -> None:
        faults: dict[str, Callable[[], None]] = {
            "kill -9 of a process that projects": story.kill_a_worker,
            "a process that projects leaves, another joins": story.replace_a_worker,
            "the projections are rebuilt": story.rebuild,
            "kill -9 of the process that settles": story.kill_settle,
            "a second process settles": story.replace_settle,
            "a second process takes facts in": story.replace_ingest,
            "a foreign transaction in the ledger is aborted": story.abort_foreign,
            "facts are told twice, and ingest is killed": story.tell_twice,
            "garbage in the inbox, and ingest is killed": story.put_garbage,
        }
        for role in ("settle", "ingest"):
            faults |= {f"kill -9 of {role} at {step}": partial(story.die_at, role, step) for step in STEPS}
        story.befall_all(faults)
        story.load.wait_until(story.has_kept_garbage)
        story.finish()

    tell(happen)


def test_servers_die_stand_still_or_are_full(tell: Tell) -> None:
    def happen(story: Story) -> None:
        faults = {
            "kill -9 of one broker of three": story.kill_a_broker,
            "a broker stands still, and goes on": story.cut_a_broker_off,
            "kill -9 of PostgreSQL": story.kill_the_database,
            "the database's disk is full: it ends": story.end_the_database_by_its_disk,
        }
        if not story.servers.disk.refusal:
            faults[FULL] = story.fill_the_disk
        story.befall_all(faults)
        story.finish()

    tell(happen)


def test_a_reader_finds_a_partition_that_moved(servers: Servers) -> None:
    topic = f"moved-{uuid4().hex[:8]}"
    brokers = Brokers(servers.kafka.servers)
    with closing(connect(KafkaAdminClient, brokers)) as admin:
        admin.create_topics({topic: {"assignments": {0: [1, 2]}}}, wait_for_metadata=True)
        with closing(Partition(brokers, topic, 0)) as reader:
            assert reader.end() == 0
            admin.alter_partition_reassignments({TopicPartition(topic, 0): [2, 3]})
            wait_until(lambda: not is_led_by(servers, 1, topic))

            assert reader.end() == 0


def test_the_disk_that_can_be_full_is_there(servers: Servers) -> None:
    """Or it is said why that fault did not happen."""
    if servers.disk.refusal:
        pytest.skip(f"{FULL}: not done, since we may not mount a disk: {servers.disk.refusal}")


def _sound_end(log: Log) -> int:
    """Return the position at which a damaged log's sound records end."""
    ends = [0]
    with pytest.raises(LogDamaged):
        ends.extend(record.end for record in log.read())
    return ends[-1]


def test_a_foreign_message_stops_its_lane_and_nothing_else(tell: Tell) -> None:
    def happen(story: Story) -> None:
        load, deployment = story.load, story.load.deployment

        def ends() -> dict[str, int]:
            with deployment.books() as books:
                return {log.name: log.end() for log in (books.lane(1), books.hub())}

        def alarms(*roles: str) -> int:
            return load.times_said("lane-0 stands still", *roles)

        def put_foreign() -> None:
            before = ends()
            story.put("ledger", 0, b"no record\n")
            load.feed_until(lambda: all(end > before[log] for log, end in ends().items()))
            load.wait_until(lambda: alarms(*PROJECTING) > 0)

        story.befall(FOREIGN, put_foreign)
        after = ends()
        with deployment.books() as books:
            standing = _sound_end(books.lane(0))
        damage = f"lane-0: record at sequence {standing} "
        load.wait_until(lambda: all(load.shown()[log] >= end for log, end in after.items()))
        assert load.shown()["lane-0"] == standing

        # Whoever is left takes the lane up, be it again, and stands there too.
        before = alarms("project-1")
        load.end("project-0")
        load.wait_until(lambda: alarms("project-1") > before)
        ended = load.end("project-1")
        assert (ended.status, f"omnisync: {damage}" in ended.err) == (1, True), ended
        assert load.end("settle").status == 0
        assert deployment.run("balance").status == 0
        asked = (["run", "--once", "--only", "settle"], ["run", "--once", "--only", "project"], ["verify", "--all"])
        for refused in [started.end() for started in [load.start(*command) for command in asked]]:
            said = refused.out + refused.err
            assert (refused.status, damage in said, "Traceback" in said) == (1, True, False), refused

    tell(happen)
