"""How many random kills to try, and where they fell: `--kills N`, or OMNISYNC_KILLS."""

import os
from collections import Counter

import pytest

WHERE = "where kills fell"
ALL_PROJECTED = "all projected"
AFTER = "after the end"
MOMENTS = (
    "before the first acknowledgement",
    "between acknowledgements",
    "all acknowledged",
    "settling",
    "projecting",
    ALL_PROJECTED,
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--kills N`; it is known where this folder is named on the command line."""
    parser.addoption("--kills", type=int, metavar="N", help="random kills in each of the random tests")


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int | None:
    """Return how many kills were asked for, if any."""
    asked = request.config.getoption("--kills", default=None) or os.environ.get("OMNISYNC_KILLS")
    return int(asked) if asked else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the histogram; under xdist it arrives with the tests' reports."""
    fell: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, counts in report.user_properties:
            if name == WHERE:
                fell.update(counts)
    late = fell.pop(AFTER, 0)
    if fell:
        terminalreporter.section(f"{fell.total()} random kills: {WHERE}")
        most = max(fell.values())
        for moment in MOMENTS:
            count = fell[moment]
            terminalreporter.write_line(f"{moment:34}{count:5}  {'#' * (40 * count // most)}")
        terminalreporter.write_line(f"{late} more came after the end and are not counted")
