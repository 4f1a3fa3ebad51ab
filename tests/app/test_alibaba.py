"""The Alibaba trace: small made-up CSVs for the rules, the real one (where it is at hand) for the totals."""

import csv
import gzip
import json
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli import cli

REAL = Path(__file__).parents[3] / "shared" / "data" / "gpu_alibaba2023"
PODS, NODES = REAL / "openb_pod_list_default.csv.gz", REAL / "openb_node_list_all_node.csv"
HEADER = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time"
PRICE = 350_000_000


def omnisync(*arguments: object, status: int = 0) -> Result:
    """Run a command in this process; assert its exit status."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == status, (result.output, result.exception)
    return result


def write_trace(folder: Path, *pods: str) -> tuple[Path, Path]:
    """Write pods, and one CPU node between two GPU nodes."""
    (folder / "pods.csv").write_text("\n".join([HEADER, *pods]) + "\n")
    (folder / "nodes.csv").write_text("sn,cpu_milli,memory_mib,gpu,model\nn0,1,1,2,P100\nn1,1,1,0,\nn2,1,1,8,T4\n")
    return folder / "pods.csv", folder / "nodes.csv"


def trace(pods: Path, nodes: Path, price: str = "0.35") -> str:
    """Return a trace's facts as lines."""
    return omnisync("trace", "alibaba", pods, "--nodes", nodes, "--price-per-gpu-hour", price).stdout


def settle(folder: Path, facts: str, name: str = "B") -> dict[str, Any]:
    """Create books, take facts in, settle; return the jobs report's totals and the digests."""
    books, file = folder / name, folder / f"{name}.jsonl"
    file.write_text(facts)
    omnisync("init", "--data", books)
    omnisync("ingest", file, "--data", books)
    omnisync("run", "--once", "--data", books)
    totals = json.loads(omnisync("report", "jobs", "--data", books, "--json").stdout)["totals"]
    verified = json.loads(omnisync("verify", "--all", "--data", books, "--json").stdout)
    assert verified["ok"]
    assert verified["unsettled"] == 0
    return {"totals": totals, "digests": verified["digests"], "books": books, "file": file}


def events(facts: str) -> list[dict[str, Any]]:
    """Return the events within the envelopes."""
    return [json.loads(line)["data"] for line in facts.splitlines()]


def test_pods_end_as_their_phase_says(tmp_path: Path) -> None:
    pods, nodes = write_trace(
        tmp_path,
        "ran,1,1,1,1000,,LS,Running,0,3600,0",
        "done,1,1,2,500,,LS,Succeeded,10,7210,10",
        "lost,1,1,1,1000,,BE,Failed,20,3620,20",
        "never,1,1,1,1000,,BE,Pending,30,90,",
        "cpu,1,1,0,0,,BE,Running,40,90,40",
    )

    totals = settle(tmp_path, trace(pods, nodes))["totals"]

    assert totals == {
        "jobs": 5, "settled": 2, "refunded": 1, "cancelled": 1, "cpu_only": 1,
        "gross": str(PRICE * 3), "burn": str(PRICE * 3 * 2 // 100), "fee": str(PRICE * 3 * 5 // 100),
        "net": str(PRICE * 3 * 93 // 100), "refund": str(PRICE),
    }  # fmt: skip


def test_gpu_seconds_are_floored_once_over_the_whole_product(tmp_path: Path) -> None:
    pods, nodes = write_trace(tmp_path, "p,1,1,1,333,,LS,Running,0,10,0")

    usage = [event for event in events(trace(pods, nodes)) if event["type"] == "UsageMetered"]

    assert [event["data"]["gpu_seconds"] for event in usage] == [3]


def test_a_pod_without_a_deletion_time_ends_with_the_trace(tmp_path: Path) -> None:
    pods, nodes = write_trace(tmp_path, "open,1,1,1,1000,,LS,Running,0,,0", "last,1,1,1,1000,,LS,Running,0,500,100")

    usage = {event["subject"]: event["data"] for event in events(trace(pods, nodes)) if event["type"] == "UsageMetered"}

    assert usage["open"]["gpu_seconds"] == 500


def test_gpu_pods_go_round_the_gpu_nodes_in_the_order_of_the_files(tmp_path: Path) -> None:
    rows = (f"p{number},1,1,{number != 1:d},1000,,LS,Running,0,10,0" for number in range(5))
    pods, nodes = write_trace(tmp_path, *rows)

    placed = {
        event["subject"]: event["data"]["quotes"][0]["node"]
        for event in events(trace(pods, nodes))
        if event["type"] == "JobDispatched"
    }

    assert placed == {"p0": "n0", "p2": "n2", "p3": "n0", "p4": "n2"}


def test_the_refund_of_a_settled_job_is_nothing_or_one_unit(tmp_path: Path) -> None:
    rows = (f"p{seconds},1,1,1,1000,,LS,Running,0,{seconds},0" for seconds in range(1, 60))
    pods, nodes = write_trace(tmp_path, *rows)

    books = settle(tmp_path, trace(pods, nodes))["books"]

    movements = json.loads(omnisync("history", "consumer:alibaba-LS", "--data", books, "--json").stdout)["movements"]
    assert {line["credit"] for line in movements if line["event"] == "JobSettled"} <= {"0", "1"}
    assert movements[-1]["balance"] == str(
        sum(int(line["credit"]) for line in movements if line["event"] == "JobSettled")
    )


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ("p,1,1,x,1000,,LS,Running,0,10,0", "line 2: column num_gpu: 'x'"),
        ("p,1,1,1,-5,,LS,Running,0,10,0", "line 2: column gpu_milli: '-5'"),
        ("p,1,1,1", "line 2: expected 11 cells"),
    ],
)
def test_a_malformed_row_is_named_with_line_and_column(tmp_path: Path, row: str, named: str) -> None:
    pods, nodes = write_trace(tmp_path, row)

    result = CliRunner().invoke(
        cli, ["trace", "alibaba", str(pods), "--nodes", str(nodes), "--price-per-gpu-hour", "1"]
    )

    assert result.exit_code != 0
    assert named in str(result.exception)


@pytest.mark.parametrize("price", ["-1", "1e3", "0.0000000001", ".5", "1,5", "NaN", ""])
def test_a_price_is_decimal_text_of_the_asset(tmp_path: Path, price: str) -> None:
    pods, nodes = write_trace(tmp_path)

    omnisync("trace", "alibaba", pods, "--nodes", nodes, "--price-per-gpu-hour", price, status=2)


# --- the real trace ---


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settle the real trace once."""
    if not PODS.exists():
        pytest.skip("the Alibaba trace is not beside this checkout (shared/data/gpu_alibaba2023)")
    folder = tmp_path_factory.mktemp("alibaba")
    facts = trace(PODS, NODES)
    return settle(folder, facts) | {"facts": facts, "folder": folder}


@pytest.mark.slow
def test_totals_equal_an_independent_sum_over_the_csv(real: dict[str, Any]) -> None:
    expected: defaultdict[str, int] = defaultdict(int)
    with gzip.open(PODS, "rt") as file:
        for row in csv.DictReader(file):
            expected["jobs"] += 1
            if row["num_gpu"] == "0":
                expected["cpu_only"] += 1
            elif not row["scheduled_time"]:
                expected["cancelled"] += 1
            else:
                lasted = int(row["deletion_time"]) - int(row["scheduled_time"])
                seconds = int(row["num_gpu"]) * int(row["gpu_milli"]) * lasted // 1000
                hold = (PRICE * seconds + 3_599) // 3_600
                gross = 0 if row["pod_phase"] == "Failed" else PRICE * seconds // 3_600
                expected["refunded" if row["pod_phase"] == "Failed" else "settled"] += 1
                expected["gross"] += gross
                expected["burn"] += gross * 2 // 100
                expected["fee"] += gross * 5 // 100
                expected["net"] += gross - gross * 2 // 100 - gross * 5 // 100
                expected["refund"] += hold - gross

    assert {name: int(value) for name, value in real["totals"].items()} == dict(expected)


@pytest.mark.slow
def test_taking_the_trace_in_twice_changes_nothing(real: dict[str, Any]) -> None:
    again = json.loads(omnisync("ingest", real["file"], "--data", real["books"], "--json").stdout)
    assert (again["accepted"], again["duplicates"]) == (0, again["lines"])
    omnisync("run", "--once", "--data", real["books"])

    verified = json.loads(omnisync("verify", "--all", "--data", real["books"], "--json").stdout)

    assert verified["digests"] == real["digests"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_whole_jobs_shuffled_between_marks_give_the_same_books(real: dict[str, Any], seed: int) -> None:
    shuffled = settle(real["folder"], shuffle_jobs(real["facts"], Random(seed)), f"shuffled-{seed}")

    assert shuffled["digests"] == real["digests"]
    assert shuffled["totals"] == real["totals"]


def shuffle_jobs(facts: str, random: Random) -> str:
    """Shuffle the jobs between each two marks; a job's own facts keep their order."""
    told: list[str] = []
    jobs: dict[str, list[str]] = {}

    def flush() -> None:
        order = [subject for subject, lines in jobs.items() for _ in lines]
        random.shuffle(order)
        rest = {subject: iter(lines) for subject, lines in jobs.items()}
        told.extend(next(rest[subject]) for subject in order)
        jobs.clear()

    for line in facts.splitlines():
        event = json.loads(line)["data"]
        if event["type"].startswith(("Job", "Usage")):
            jobs.setdefault(event["subject"], []).append(line)
        else:
            flush()
            told.append(line)
    flush()
    return "\n".join(told) + "\n"
