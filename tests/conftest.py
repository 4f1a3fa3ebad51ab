"""Options of the whole suite, and what it prints at the end."""

import gc
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.cluster.tally import FAULTS, fault_lines
from tests.faults.moments import AFTER, MOMENTS, WHERE
from tests.servers import begin_servers, database, end_servers, kafka, postgres, server_folder, topic_prefix

__all__ = ["database", "kafka", "postgres", "server_folder", "topic_prefix"]

SERVERS = frozenset({"kafka", "postgres", "server_folder"})

# A slow machine is not a failed property; a failure prints what repeats it.
settings.register_profile("suite", deadline=None, print_blob=True)
settings.register_profile("quick", settings.get_profile("suite"), max_examples=10)
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--update-golden`, the only way in which golden files change, and `--kills`."""
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files; review the diff")
    parser.addoption("--kills", type=int, metavar="N", help="random kills in each of the random tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Count as slow what needs a server."""
    for item in items:
        if SERVERS.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what was imported: it stays, and looking at it took a tenth of the time."""
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    """Prepare for servers, in the process that was started and not in its workers."""
    if not hasattr(config, "workerinput"):
        begin_servers()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers, if a test started any."""
    if not hasattr(config, "workerinput"):
        end_servers()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Fail a test that leaves a thread, such as that of a Kafka client which was not closed.

    It would draw from `random` beside other tests' properties, which must then fail.
    """
    before = set(threading.enumerate())
    yield
    left = [thread.name for thread in threading.enumerate() if thread not in before and "kafka" in thread.name]
    assert not left, f"threads are left: {', '.join(left)}"


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Tell whether golden files are to be rewritten."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int | None:
    """Return how many random kills were asked for, if any."""
    asked: int | None = request.config.getoption("--kills")
    return asked


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests of faults have told; with several workers it arrives with the tests' reports."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    told = [property for report in reports for property in report.user_properties]
    _print_kills(terminalreporter, [value for name, value in told if name == WHERE])
    faults = [value for name, value in told if name == FAULTS]
    if faults:
        terminalreporter.section(FAULTS)
        for line in fault_lines(faults):
            terminalreporter.write_line(line)


def _print_kills(terminalreporter: pytest.TerminalReporter, told: list[dict[str, int]]) -> None:
    """Print where random kills fell."""
    fell = sum(map(Counter, told), Counter[str]())
    late = fell.pop(AFTER, 0)
    if fell:
        terminalreporter.section(f"{fell.total()} random kills: {WHERE}")
        most = max(fell.values())
        for moment in MOMENTS:
            count = fell[moment]
            terminalreporter.write_line(f"{moment:34}{count:5}  {'#' * (40 * count // most)}")
        terminalreporter.write_line(f"{late} more came after the end and are not counted")
