"""Traces read through a map: small made-up CSVs for each rule and each fault, the Philly-derived one for the totals."""

import csv
import gzip
import json
import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.commands.trace import MAPS
from app.traces.jobs import Job, Node, Outcome, Trace, tell
from app.traces.mapping import Clock, MapInvalid, read_map
from app.traces.names import name_of
from app.traces.rows import TraceMalformed
from app.traces.table import read_table
from app.traces.times import parse_time
from tests.app.test_alibaba import events, omnisync, settle

REAL = Path(__file__).parents[3] / "shared" / "data" / "gpu_philly_chronus"
PHILLY = REAL / "trace_job_Philly_SLO.rows_00000_15469.csv.gz"
PRICE = 350_000_000
START = "2026-10-01T00:00:00.000000Z"

COLUMNS = {
    "job": "id", "consumer": "user", "submit": "submitted", "start": "started", "end": "ended", "gpus": "gpus",
    "gpu_milli": "milli", "status": "state",
}  # fmt: skip
HEADER = "id,user,submitted,started,ended,gpus,milli,state"
MAP: dict[str, Any] = {
    "name": "ours",
    "time": "seconds",
    "origin": "zero",
    "columns": COLUMNS,
    "status": {"done": ["OK"], "failed": ["BAD"], "cancelled": ["STOP", "QUIT"]},
    "nodes": {"count": 2, "prefix": "n"},
}


def toml(members: dict[str, Any]) -> str:
    """Write a map of plain values and tables of them; JSON's texts, numbers and lists are TOML's too."""
    plain = "".join(f"{key} = {json.dumps(v)}\n" for key, v in members.items() if not isinstance(v, dict))
    tables = ((key, v) for key, v in members.items() if isinstance(v, dict))
    return plain + "".join(f"[{key}]\n{toml(v)}" for key, v in tables)


def write(folder: Path, *rows: str, header: str = HEADER, **changes: Any) -> tuple[Path, Path]:
    """Write a trace and its map; a change to None leaves a key out."""
    members = {key: value for key, value in (MAP | changes).items() if value is not None}
    (folder / "jobs.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "map.toml").write_text(toml(members))
    return folder / "jobs.csv", folder / "map.toml"


def without(*names: str, **columns: str) -> dict[str, str]:
    """Return the columns without some, and with others."""
    return {key: value for key, value in COLUMNS.items() if key not in names} | columns


def trace(file: Path, mapping: Path, *options: str) -> str:
    """Return a trace's facts as lines."""
    return omnisync("trace", "csv", file, "--map", mapping, "--price-per-gpu-hour", "0.35", *options).stdout


def told(facts: str, kind: str) -> dict[str, Any]:
    """Return the events of a type by subject."""
    return {event["subject"]: event for event in events(facts) if event["type"] == kind}


def read(folder: Path, *rows: str, **changes: Any) -> Trace:
    """Read a made-up trace."""
    file, mapping = write(folder, *rows, **changes)
    return read_table(file, read_map(mapping))


def refusal(folder: Path, *rows: str, **changes: Any) -> str:
    """Return what a trace is refused with."""
    with pytest.raises(TraceMalformed) as refused:
        read(folder, *rows, **changes)
    return str(refused.value)


# --- what becomes of a job ---


def test_jobs_end_as_the_map_says_and_the_totals_are_an_independent_sum(tmp_path: Path) -> None:
    file, mapping = write(
        tmp_path,
        "done,ann,0,0,3600,1,1000,OK",
        "half,ann,10,20,7220,2,250,OK",
        "odd,ann,10,20,21,1,1,OK",
        "lost,bob,20,30,3630,1,1000,BAD",
        "stopped,bob,30,40,50,1,1000,STOP",
        "never,bob,30,,90,1,1000,OK",
        "cpu,cat,40,40,90,0,1000,OK",
    )

    totals = settle(tmp_path, trace(file, mapping))["totals"]

    assert totals == {
        "jobs": 7, "settled": 3, "refunded": 1, "cancelled": 2, "cpu_only": 1,
        "gross": str(PRICE * 2), "burn": str(PRICE * 2 * 2 // 100), "fee": str(PRICE * 2 * 5 // 100),
        "net": str(PRICE * 2 * 93 // 100), "refund": str(PRICE),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "kinds", "reason"),
    [
        ("j,u,0,5,9,1,1000,OK", ["JobSubmitted", "JobDispatched", "UsageMetered"], None),
        ("j,u,0,5,9,1,1000,BAD", ["JobSubmitted", "JobDispatched", "JobFailed"], "job_failed"),
        ("j,u,0,5,9,1,1000,QUIT", ["JobSubmitted", "JobCancelled"], "cancelled"),
        ("j,u,0,,9,1,1000,STOP", ["JobSubmitted", "JobCancelled"], "cancelled"),
        ("j,u,0,,9,1,1000,BAD", ["JobSubmitted", "JobCancelled"], "never_scheduled"),
        ("j,u,0,5,9,0,1000,BAD", ["JobSubmitted", "JobCancelled"], "cpu_only"),
        ("j,u,0,,9,1,0,STOP", ["JobSubmitted", "JobCancelled"], "cpu_only"),
    ],
)
def test_each_outcome_has_its_facts(tmp_path: Path, row: str, kinds: list[str], reason: str | None) -> None:
    jobs = [event for event in events(trace(*write(tmp_path, row))) if event["subject"] == "j"]

    assert [event["type"] for event in jobs] == kinds
    assert jobs[-1]["data"].get("reason") == reason


def test_without_a_status_column_each_job_is_done(tmp_path: Path) -> None:
    assert [
        job.outcome for job in read(tmp_path, "j,u,0,1,2,1,1000,?", columns=without("status"), status=None).jobs
    ] == [Outcome.DONE]


def test_without_a_start_column_a_job_starts_when_it_is_submitted(tmp_path: Path) -> None:
    facts = trace(*write(tmp_path, "j,u,7,,9,1,1000,OK", columns=without("start")))

    assert told(facts, "JobDispatched")["j"]["occurred_at"] == "2026-10-01T00:00:07.000000Z"
    assert told(facts, "UsageMetered")["j"]["data"]["gpu_seconds"] == 2


def test_a_duration_counts_from_the_start(tmp_path: Path) -> None:
    columns = without("end", duration="ended")
    facts = trace(*write(tmp_path, "j,u,7,10,2.5,4,1000,OK", "k,u,7,,2,1,1000,OK", columns=columns))

    assert told(facts, "UsageMetered")["j"]["occurred_at"] == "2026-10-01T00:00:12.500000Z"
    assert told(facts, "UsageMetered")["j"]["data"]["gpu_seconds"] == 10
    assert told(facts, "JobCancelled")["k"]["occurred_at"] == "2026-10-01T00:00:12.500000Z"


def test_a_job_without_an_end_lasts_as_long_as_the_trace(tmp_path: Path) -> None:
    rows = ("open,u,0,100,-,1,500,OK", "never,u,0,-,-,1,500,OK", "last,u,0,1,501,1,1,OK")
    first, never, last = read(tmp_path, *rows, absent=["-"]).jobs

    assert (first.gpu_seconds, first.ended, never.ended) == (200, last.ended, last.ended)


def test_an_unused_hour_costs_nothing_and_is_settled(tmp_path: Path) -> None:
    totals = settle(tmp_path, trace(*write(tmp_path, "j,u,5,5,5,1,1000,OK")))["totals"]

    assert (totals["settled"], totals["gross"], totals["refund"]) == (1, "0", "0")


def test_gpu_jobs_go_round_the_nodes_in_the_order_of_the_file(tmp_path: Path) -> None:
    rows = (f"j{number},u,{9 - number},9,10,{number != 1:d},1000,OK" for number in range(5))

    placed = told(trace(*write(tmp_path, *rows, nodes={"count": 3})), "JobDispatched")

    assert {job: event["data"]["quotes"][0]["node"] for job, event in placed.items()} == {
        "j0": "ours-node-0", "j2": "ours-node-1", "j3": "ours-node-2", "j4": "ours-node-0",
    }  # fmt: skip
    assert {event["data"]["quotes"][0]["minimum"] for event in placed.values()} == {"0"}


def test_each_consumer_deposits_what_its_jobs_will_hold_before_the_first(tmp_path: Path) -> None:
    rows = ("a,ann,0,0,1,1,1000,OK", "b,ann,0,0,1,1,1000,BAD", "c,bob,0,0,9,1,1000,STOP", "d,cat,0,0,9,0,1000,OK")
    lines = events(trace(*write(tmp_path, *rows, prefix={"consumer": "team-"})))

    types = [event["type"] for event in lines]
    deposits = {e["subject"]: e["data"]["amount"] for e in lines if e["type"] == "ChainFactDeclared"}
    assert deposits == {"team-ann": str(2 * -(-PRICE // 3_600))}
    assert types.index("ChainFactDeclared") < types.index("JobSubmitted")


# --- order, marks, names ---


def test_a_mark_stands_at_each_midnight_and_one_day_behind_the_end(tmp_path: Path) -> None:
    facts = events(trace(*write(tmp_path, "j,u,0,1,172800,1,1000,OK")))

    marks = [event["data"]["until"][:10] for event in facts if event["type"] == "StreamMarked"]
    assert marks == ["2026-10-02", "2026-10-03", "2026-10-04", "2026-10-05"]
    assert facts[0]["type"] == "StreamRegistered"
    assert {(event["source"], event["stream"]) for event in facts} == {("trace-ours", "trace-ours")}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_facts_are_told_by_time_then_by_the_order_of_the_file(times: list[tuple[int, int, int]]) -> None:
    jobs = [Job(f"j{n}", "u", "n", Outcome.DONE, 1, *map(int, moments)) for n, moments in enumerate(times)]
    expected = sorted((t, n, step, f"j{n}") for n, moments in enumerate(times) for step, t in enumerate(moments))

    facts = tell(Trace("trace-x", [Node("n", 1, "")], jobs), 1, "OMNI", 0)

    seen = [fact.subject for fact in facts if type(fact).__name__ in {"JobSubmitted", "JobDispatched", "UsageMetered"}]
    assert seen == [subject for *_, subject in expected]


texts = st.text(st.sampled_from("_xX2F5/a.") | st.characters(exclude_categories=["Cs"]), max_size=12)


def decode(name: str) -> str:
    """Read a name from the left: `_x` begins an escape, anything else stands for itself."""
    return re.sub(r"_x([0-9A-F]+)_|(.)", lambda match: chr(int(match[1], 16)) if match[1] else match[2], name)


@given(texts)
@example("_x2F_")
@example("/x2F_")
@example("_x2F/")
@example("_/x")
@example("__x")
def test_a_name_is_safe_and_gives_its_text_back(text: str) -> None:
    name = name_of(text)

    assert re.fullmatch(r"[A-Za-z0-9._-]*", name)
    assert decode(name) == text


@given(st.lists(texts, unique=True, max_size=30))
def test_two_ids_never_become_one_name(ids: list[str]) -> None:
    assert len({name_of(text) for text in ids}) == len(ids)


def test_names_are_escaped_only_where_they_must_be() -> None:
    assert name_of("vc_103959.a-B") == "vc_103959.a-B"
    assert name_of("a/b é") == "a_x2F_b_x20__xE9_"
    assert name_of("_x2F_") == "_x5F_x2F_"


def test_fractions_of_seconds_are_exact_and_floored_once_over_the_whole_product(tmp_path: Path) -> None:
    # With floats 3 × (0.3 − 0.1) × 5 is 2.9999999999999996 and would lose a GPU-second.
    jobs = read(tmp_path, "a,u,0,0.1,0.3,15,1000,OK", "b,u,0,0.1,10.0999999999999999999999999999,1,1000,OK").jobs

    assert [job.gpu_seconds for job in jobs] == [3, 9]


@given(st.decimals(0, 10**6, places=6), st.decimals(0, 10**6, places=6), st.integers(1, 64), st.integers(1, 1000))
def test_gpu_seconds_are_the_floor_of_the_exact_product(
    tmp_path_factory: pytest.TempPathFactory, start: Decimal, lasts: Decimal, gpus: int, milli: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    (job,) = read(folder, f"j,u,0,{start},{lasts},{gpus},{milli},OK", columns=without("end", duration="ended")).jobs

    assert job.gpu_seconds == gpus * milli * Fraction(lasts) // 1000
    assert job.started == Fraction(start) * 10**6


@pytest.mark.parametrize(
    ("time", "cells"),
    [
        ("seconds", ("1000.25", "1001.25", "1002.75")),
        ("milliseconds", ("1000250", "1001250.0", "1002750")),
        ("rfc3339", ("2020-02-29T23:59:59.25Z", "2020-03-01 00:00:00.25", "2020-03-01T01:00:01.750+01:00")),
    ],
)
def test_times_are_read_in_each_unit_from_the_first_one_on(tmp_path: Path, time: str, cells: tuple[str, ...]) -> None:
    facts = trace(*write(tmp_path, f"j,u,{','.join(cells)},2.0,1000,OK", time=time, origin="first"), "--start", START)

    assert told(facts, "JobSubmitted")["j"]["occurred_at"] == START
    assert told(facts, "JobDispatched")["j"]["occurred_at"] == "2026-10-01T00:00:01.000000Z"
    assert told(facts, "UsageMetered")["j"]["occurred_at"] == "2026-10-01T00:00:02.500000Z"
    assert told(facts, "UsageMetered")["j"]["data"]["gpu_seconds"] == 3


def test_origin_zero_keeps_the_distance_to_zero(tmp_path: Path) -> None:
    facts = trace(*write(tmp_path, "j,u,60,60,61,1,1000,OK"), "--start", "2027-01-01T00:00:00Z")

    assert told(facts, "JobSubmitted")["j"]["occurred_at"] == "2027-01-01T00:01:00.000000Z"


@given(st.datetimes(), st.integers(-14 * 60, 14 * 60))
def test_rfc3339_is_read_as_the_calendar_does(moment: datetime, minutes: int) -> None:
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    text = f"{moment.isoformat(timespec='microseconds')}{sign}{hours:02d}:{rest:02d}"

    elapsed = moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC) - timedelta(minutes=minutes)
    assert parse_time(text, Clock.RFC3339) == Fraction(elapsed // timedelta(microseconds=1), 10**6)


def test_a_file_may_be_gzipped_have_another_delimiter_and_a_byte_order_mark(tmp_path: Path) -> None:
    _, mapping = write(tmp_path, delimiter=";")
    text = f'\ufeff{HEADER}\nj,"a",0,0,9,1,1000,OK\n'.replace(",", ";")
    (tmp_path / "jobs.csv.gz").write_bytes(gzip.compress(text.encode()))

    assert [job.consumer for job in read_table(tmp_path / "jobs.csv.gz", read_map(mapping)).jobs] == ["a"]


GOOD = "g,u,0,1,2,1,1000,OK"


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ("j,u,x,1,2,1,1000,OK", "column submitted: 'x' is no time in seconds"),
        ("j,u,,1,2,1,1000,OK", "column submitted: '' is no time"),
        ("j,u,-1,1,2,1,1000,OK", "column submitted: '-1' is before the trace's origin, 0"),
        ("j,u,0,1e3,2,1,1000,OK", "column started: '1e3' is no time in seconds"),
        ("j,u,0,1,NaN,1,1000,OK", "column ended: 'NaN' is no time in seconds"),
        ("j,u,0,1,٣,1,1000,OK", "column ended: '٣' is no time in seconds"),
        ("j,u,5,1,9,1,1000,OK", "column started: '1' is before submitted '5'"),
        ("j,u,0,5,1,1,1000,OK", "column ended: '1' is before started '5'"),
        ("j,u,5,,1,1,1000,OK", "column ended: '1' is before submitted '5'"),
        ("j,u,0,1,2,1.5,1000,OK", "column gpus: '1.5' is no whole number"),
        ("j,u,0,1,2,-1,1000,OK", "column gpus: '-1' is no whole number"),
        ("j,u,0,1,2,1,,OK", "column milli: '' is no whole number"),
        ("j,u,0,1,2,10000001,1000,OK", "column gpus: '10000001' makes 10000001000 thousandths of a GPU, at most"),
        ("j,u,0,1,2,1,1000,ok", "column state: 'ok' is no status of the map"),
        (",u,0,1,2,1,1000,OK", "column id: '' is no id"),
        ("j,,0,1,2,1,1000,OK", "column user: '' is no id"),
        ("g,u,0,1,2,1,1000,OK", "column id: 'g' is the job of line 2 too"),
        (f"{'j' * 89},u,0,1,2,1,1000,OK", "column id: 'jjj"),
        (f"{'/' * 18},u,0,1,2,1,1000,OK", "has 90 characters as a name, at most 88"),
        ("j,u,0,1,316310401,1,1000,OK", "column ended: '316310401' is 3661 days after the origin, at most 3660"),
        ("j,u,0,1", "expected 8 cells"),
        ("j,u,0,1,2,1,1000,OK,more", "expected 8 cells"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_with_line_and_column(tmp_path: Path, row: str, named: str) -> None:
    said = refusal(tmp_path, GOOD, row)

    assert said.startswith("jobs.csv: line 3: ")
    assert named in said


@pytest.mark.parametrize("cell", ["-1", "1 h", ""])
def test_a_duration_is_not_negative_and_in_the_unit(tmp_path: Path, cell: str) -> None:
    columns = without("end", duration="ended")

    said = refusal(tmp_path, f"j,u,0,1,{cell},1,1000,OK", columns=columns, absent=["-"])

    assert said == f"jobs.csv: line 2: column ended: {cell!r} is no duration in seconds"


@pytest.mark.parametrize(
    "cell", ["2020-02-30T00:00:00Z", "2020-02-03", "2020-02-03T00:00:60Z", "1580688000", "2020-02-03T00:00:00+99:00"]
)
def test_a_calendar_time_is_a_day_that_there_was(tmp_path: Path, cell: str) -> None:
    said = refusal(tmp_path, f"j,u,{cell},,,1,1000,OK", time="rfc3339", origin="first")

    assert said.startswith(f"jobs.csv: line 2: column submitted: {cell!r} is no time in rfc3339")


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b"", "line 1: expected columns id, user"),
        (b"id,user\n", "line 1: expected columns submitted"),
        (f"{HEADER}\n".encode(), "line 1: expected rows below the header"),
        (f"{HEADER},id\n".encode(), "line 1: columns that stand there twice: id"),
        (f"{HEADER}\nj,\xff\n".encode("latin-1"), "no CSV in UTF-8"),
        (f'{HEADER}\nj,"u,0,1,2,1,1000,OK\n'.encode(), "behind line 2: no CSV in UTF-8"),
    ],
)
def test_a_file_that_is_no_such_table_is_named(tmp_path: Path, raw: bytes, named: str) -> None:
    file, mapping = write(tmp_path)
    file.write_bytes(raw)

    with pytest.raises(TraceMalformed, match=re.escape(named)):
        read_table(file, read_map(mapping))


def test_a_gzipped_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    _, mapping = write(tmp_path)
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(f"{HEADER}\n{GOOD}\n".encode())[:-12])

    with pytest.raises(TraceMalformed, match=r"^cut\.csv\.gz: behind line"):
        read_table(tmp_path / "cut.csv.gz", read_map(mapping))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"name": "Ours"}, "name: String should match pattern"),
        ({"name": None}, "name: Field required"),
        ({"time": "hours"}, "time: Input should be 'seconds', 'milliseconds' or 'rfc3339' (found 'hours')"),
        ({"origin": "1970"}, "origin: Input should be 'first' or 'zero' (found '1970')"),
        ({"time": "rfc3339"}, 'map: Value error, origin "zero" needs times that are numbers'),
        ({"delimiter": ", "}, "delimiter: String should match pattern"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted (found 'red')"),
        ({"columns": without(job="")}, "columns.job: String should have at least 1 character (found '')"),
        ({"columns": without("submit")}, "columns.submit: Field required"),
        ({"columns": without("end")}, "columns: Value error, name one of end and duration"),
        ({"columns": without(duration="d")}, "columns: Value error, name one of end and duration"),
        ({"columns": without("gpus", "gpu_milli")}, "columns: Value error, name gpus, gpu_milli, or both"),
        ({"columns": without("status")}, "map: Value error, columns.status and [status] belong together"),
        ({"status": None}, "map: Value error, columns.status and [status] belong together"),
        ({"status": {"done": []}}, "status.done: Tuple should have at least 1 item"),
        ({"status": {"done": ["A"], "failed": ["A"]}}, "status: Value error, each value has one meaning: 'A'"),
        ({"nodes": {"count": 0}}, "nodes.count: Input should be greater than or equal to 1 (found 0)"),
        ({"nodes": {"count": True}}, "nodes.count: Input should be a valid integer (found True)"),
        ({"nodes": {"count": 1, "prefix": "a/"}}, "nodes.prefix: String should match pattern"),
        ({"prefix": {"consumer": "a:"}}, "prefix.consumer: String should match pattern"),
    ],
)
def test_a_map_is_refused_with_key_value_and_rule(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    _, mapping = write(tmp_path, **changes)

    with pytest.raises(MapInvalid) as refused:
        read_map(mapping)

    assert str(refused.value).startswith(f"map.toml: {named}")
    assert "(found " in str(refused.value)


@pytest.mark.parametrize("raw", [b"name = ", b"name = '\xff'"])
def test_a_map_that_is_no_toml_is_refused(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "map.toml").write_bytes(raw)

    with pytest.raises(MapInvalid, match=r"map\.toml: not TOML"):
        read_map(tmp_path / "map.toml")


def test_the_map_in_the_docs_is_a_map(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "traces.md").read_text()
    (tmp_path / "docs.toml").write_text(page.split("```toml\n")[1].split("```")[0])

    assert read_map(tmp_path / "docs.toml").node_prefix == "ours-node"


# --- the commands ---


def test_what_was_read_is_said_beside_the_facts_as_text_or_json(tmp_path: Path) -> None:
    file, mapping = write(tmp_path, GOOD, "j,v,0,,2,1,1000,OK")
    words = ["trace", "csv", file, "--map", mapping, "--price-per-gpu-hour", "0.35"]

    text, data = omnisync(*words), omnisync(*words, "--json")

    assert text.stderr == f"2 jobs of 2 consumers: 1 done, 1 never_scheduled; 2 nodes, from {START} on\n"
    assert json.loads(data.stderr) == {
        "source": "trace-ours", "jobs": 2, "done": 1, "failed": 0, "cancelled": 0, "never_scheduled": 1,
        "cpu_only": 0, "consumers": 2, "nodes": 2, "start": START, "price": str(PRICE),
    }  # fmt: skip
    assert text.stdout == data.stdout


def test_a_refused_trace_prints_no_fact(tmp_path: Path) -> None:
    file, mapping = write(tmp_path, GOOD, "j,u,x,1,2,1,1000,OK")

    result = omnisync("trace", "csv", file, "--map", mapping, "--price-per-gpu-hour", "1", status=1)

    assert result.stdout == ""
    assert isinstance(result.exception, TraceMalformed)


@pytest.mark.parametrize("start", ["9999-12-31T00:00:00Z", "2026-10-01", ""])
def test_a_start_is_an_instant_that_leaves_room_for_the_trace(tmp_path: Path, start: str) -> None:
    file, mapping = write(tmp_path, GOOD)

    omnisync("trace", "csv", file, "--map", mapping, "--price-per-gpu-hour", "1", "--start", start, status=2)


# --- the real trace ---


@pytest.fixture(scope="module")
def philly(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settle the real trace once."""
    if not PHILLY.exists():
        pytest.skip("the Philly-derived trace is not beside this checkout (shared/data/gpu_philly_chronus)")
    facts = omnisync("trace", "philly", PHILLY, "--price-per-gpu-hour", "0.35").stdout
    return settle(tmp_path_factory.mktemp("philly"), facts) | {"facts": facts}


@pytest.mark.slow
def test_philly_totals_equal_an_independent_sum_over_the_csv(philly: dict[str, Any]) -> None:
    expected: defaultdict[str, int] = defaultdict(int, refunded=0, cancelled=0)
    with gzip.open(PHILLY, "rt") as file:
        for row in csv.DictReader(file):
            expected["jobs"] += 1
            expected["cpu_only" if row["num_gpu"] == "0" else "settled"] += 1
            seconds = int(row["num_gpu"]) * int(row["duration"])
            gross, hold = PRICE * seconds // 3_600, (PRICE * seconds + 3_599) // 3_600
            expected["gross"] += gross
            expected["burn"] += gross * 2 // 100
            expected["fee"] += gross * 5 // 100
            expected["net"] += gross - gross * 2 // 100 - gross * 5 // 100
            expected["refund"] += hold - gross

    assert {name: int(value) for name, value in philly["totals"].items()} == dict(expected)


@pytest.mark.slow
def test_philly_is_data_read_by_the_same_code(philly: dict[str, Any]) -> None:
    assert trace(PHILLY, MAPS / "philly.toml") == philly["facts"]
