"""The examples in the docs say what the commands say: each is run as it stands there, in a shell."""

import os
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from app.books import Books
from app.commands.write import load_preset
from tests.app.test_alibaba import NODES, PODS
from tests.projections.story import told

REPO = Path(__file__).parents[2]
PAGES = ("README.md", "docs/operations.md", "docs/exports.md", "docs/traces.md", "docs/cli.md")
PHILLY = PODS.parents[1] / "gpu_philly_chronus" / "trace_job_Philly_SLO.rows_00000_15469.csv.gz"
# A line of the shell that goes on behind a backslash, and what is shown below it.
EXAMPLE = re.compile(r"^ *\$ (omnisync (?:.*\\\n)*.*[^|\n])\n((?:(?! *\$ | *```| *$).+\n)*)", re.MULTILINE)
# Of a network with stakes, which the trace has not.
OF_THE_STORY = ("omnisync apy", "omnisync epochs", "omnisync rewards", "omnisync statement")
# Needs brokers at that address; needs the map of tests/app/test_traces.py.
NOT_RUN = ("omnisync migrate", "omnisync trace csv")
FIRST = tuple(f"omnisync {verb}" for verb in ("init", "trace alibaba", "ingest", "run --once", "backup", "seal"))


def examples() -> dict[str, list[str]]:
    """Return each command that is shown with what it says, and the lines shown, over all pages."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for page in PAGES:
        for command, shown in EXAMPLE.findall((REPO / page).read_text("utf-8")):
            if shown:
                found[re.sub(r"\s*\\\n\s*", " ", command)] += shown.rstrip().splitlines()
    return found


def check(command: str, shown: list[str], folder: Path) -> None:
    """Run a command; each shown line is among what it says, `…` standing for what is left out."""
    program = shlex.join([sys.executable, "-m", "app"])
    script = f'omnisync() {{ {program} "$@"; }}\n{command}'
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (command, done.stderr)
    said = (done.stdout + done.stderr).splitlines()
    for line in filter("…".__ne__, map(str.strip, shown)):
        beginning, cut, _ = line.partition("…")
        matching = [known for known in map(str.strip, said) if (known.startswith(beginning) if cut else known == line)]
        assert matching, (command, line, said[:20])


def rank(command: str) -> int:
    """Return a command's place among those on which the others rest."""
    return next((number for number, words in enumerate(FIRST) if command.startswith(words)), len(FIRST))


@pytest.mark.slow
def test_what_the_docs_show_of_a_trace_is_so(tmp_path: Path) -> None:
    for name, data in (
        ("openb_pod_list_default.csv.gz", PODS),
        ("openb_node_list_all_node.csv", NODES),
        ("trace_job_Philly_SLO.csv.gz", PHILLY),
    ):
        if not data.exists():
            pytest.skip(f"the trace {data.name} is not beside this checkout (shared/data)")
        (tmp_path / name).symlink_to(data)

    for command, shown in sorted(examples().items(), key=lambda example: rank(example[0])):
        if not command.startswith((*OF_THE_STORY, *NOT_RUN)):
            check(command, shown, tmp_path)


@pytest.mark.slow
def test_what_the_docs_show_of_stakes_is_so(tmp_path: Path) -> None:
    books = Books(tmp_path / "B")
    books.create(load_preset("omnisync"))
    engine = books.engine(writable=True)
    told().project(engine)
    engine.dispose()

    found = {command: shown for command, shown in examples().items() if command.startswith(OF_THE_STORY)}
    assert len(found) == len(OF_THE_STORY)
    for command, shown in found.items():
        check(command, shown, tmp_path)
