"""One measurement in a process of its own, so that its memory is its own; prints the result as JSON."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.systems import System, named
from benchmarks.task import Result, Task

__all__ = ["measure"]

SECONDS_MAX = 3_600


def measure(system: System, task: Task) -> Result:
    """Run a system on a task in a new process. Raises: RuntimeError where it fails."""
    paths = (task.stream, task.parameters, task.folder)
    arguments = [system.name, task.name, str(task.settlements), str(task.facts), *map(str, paths)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.measure", *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        cwd=Path(__file__).resolve().parents[1],
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{system.name}: {done.stderr[-2000:]}")
    return Result(**json.loads(done.stdout.splitlines()[-1]))


def main(arguments: list[str]) -> None:
    """Measure in this process."""
    name, task_name, settlements, facts, stream, parameters, folder = arguments
    task = Task(task_name, int(settlements), int(facts), Path(stream), Path(parameters), Path(folder))
    work = Path(tempfile.mkdtemp(prefix="run-", dir=folder))
    try:
        print(named(name).load()(task, work).to_json())
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main(sys.argv[1:])
