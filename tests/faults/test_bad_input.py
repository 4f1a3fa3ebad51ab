"""Hostile lines among good ones: each is refused by name and kept as it came; what is good beside it counts.

The lines are those of spec 8.3 that a file can carry. They go through the real command line, in one file.
"""

import json
import sys
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from subprocess import run
from typing import Any, NamedTuple

import pytest

from app.books import Books
from app.facts import Producer, to_line
from events.codec import decode
from events.event import decision_id, fact_id
from events.facts import RecordRefused
from events.instant import DAY, format_instant
from events.refusal import Reason
from settlement.ingest import RAW_BYTES_MAX
from settlement.lines import LINE_BYTES_MAX
from tests.faults.process import omnisync
from tests.faults.scenes import roots_of
from tests.settlement.desk import day
from tests.worlds import ASSET, LAUNCH, genesis_of, parameter_set

pytestmark = pytest.mark.slow

P = Producer("p")
R = Reason
GOOD = "good"


class Hostile(NamedTuple):
    """A line, and the reason for which it is refused; None where it is good."""

    name: str
    line: bytes
    reason: Reason | None


def deposit(key: str, amount: int = 5) -> bytes:
    return to_line(P.deposit(day(0, 1), "c", ASSET, amount, key)).rstrip(b"\n")


def event(changes: dict[str, Any] | None = None, drop: str = "", **data: Any) -> dict[str, Any]:
    """Return a usage fact's members, changed; its id follows its key unless the id is changed itself."""
    key = f"k{next(KEYS)}"
    members: dict[str, Any] = {
        "id": fact_id("p", key),
        "key": key,
        "occurred_at": format_instant(day(0, 1)),
        "schema_version": 1,
        "source": "p",
        "stream": "p",
        "subject": "j",
        "type": "UsageMetered",
        "data": {"attempt": 1, "consumer": "c", "gpu_seconds": 60, "node": "n"} | data,
    }
    members |= changes or {}
    members.pop(drop, None)
    return members


def wrapped(members: dict[str, Any] | bytes, envelope: dict[str, Any] | None = None, about: Any = None) -> bytes:
    """Write an envelope around members (or raw bytes that stand for them) as any producer might."""
    told = members if isinstance(members, dict) else about or event()
    attributes = {"specversion": "1.0", "id": told.get("id"), "source": told.get("source"), "type": told.get("type")}
    attributes |= envelope or {}
    head = json.dumps({name: value for name, value in attributes.items() if value is not None}).encode()
    body = members if isinstance(members, bytes) else json.dumps(members).encode()
    return head[:-1] + b', "data": ' + body + b"}"


def raw(old: bytes, new: bytes) -> bytes:
    """Write a good event with some of its bytes replaced."""
    members = event()
    body = json.dumps(members).encode()
    assert old in body
    return wrapped(body.replace(old, new), about=members)


KEYS = iter(range(10**6))
DEEP = b"[" * 2_000 + b"]" * 2_000
SECONDS = b'"gpu_seconds": 60'
CONFLICT = "conflict"

AMOUNTS = (b"-5", b"+5", b"05", b"5.0", b"5e1", b"0x5", b" 5", b"5_0", b"", b"9" * 40, b"\xd9\xa5")

LINES = [
    Hostile(GOOD, to_line(P.register(LAUNCH)).rstrip(b"\n"), None),
    Hostile(GOOD, deposit("first", 1_000), None),
    # The bytes.
    Hostile("oversized", b'{"data":"' + b"x" * LINE_BYTES_MAX + b'"}', R.LINE_TOO_LONG),
    Hostile("oversized beyond what is kept", b"y" * (3 * LINE_BYTES_MAX), R.LINE_TOO_LONG),
    Hostile("deep array", b"[" * 10_000, R.NESTED_TOO_DEEP),
    Hostile("deep member", raw(b"60", DEEP), R.NESTED_TOO_DEEP),
    Hostile("deep extension", b'{"x":' + DEEP + b"," + deposit("deep")[1:], R.NESTED_TOO_DEEP),
    Hostile("invalid UTF-8", raw(b'"n"', b'"\xff"'), R.NOT_UTF8),
    Hostile("surrogate in UTF-8", raw(b'"n"', b'"\xed\xa0\x80"'), R.NOT_UTF8),
    Hostile("invalid UTF-8 in an extension", b'{"x":"\xc3(",' + deposit("utf")[1:], R.NOT_UTF8),
    Hostile("lone surrogate", raw(b'"n"', b'"\\ud800"'), R.LONE_SURROGATE),
    Hostile("lone surrogate in a name", raw(b'"node"', b'"\\udfff"'), R.LONE_SURROGATE),
    Hostile("NUL bytes", b"\0\0\0", R.NOT_JSON),
    Hostile("NUL behind a line", deposit("nul") + b"\0", R.NOT_JSON),
    Hostile("byte order mark", b"\xef\xbb\xbf" + deposit("bom"), R.NOT_JSON),
    Hostile("truncated", deposit("cut")[:-20], R.NOT_JSON),
    Hostile("no JSON", b"hello", R.NOT_JSON),
    Hostile("two values", deposit("two") + deposit("three"), R.NOT_JSON),
    Hostile("single quotes", b"{'data': 1}", R.NOT_JSON),
    Hostile(GOOD, deposit("second", 20), None),
    # Members and numbers.
    Hostile("doubled member", raw(SECONDS, SECONDS + b', "gpu_seconds": 61'), R.MEMBER_DUPLICATED),
    Hostile("doubled member, escaped", raw(SECONDS, SECONDS + b', "gpu\\u005fseconds": 60'), R.MEMBER_DUPLICATED),
    Hostile("doubled attribute", b'{"source":"p",' + deposit("twice")[1:], R.MEMBER_DUPLICATED),
    Hostile("doubled data", b'{"data":{},' + deposit("twice")[1:], R.MEMBER_DUPLICATED),
    Hostile("NaN", raw(b"60", b"NaN"), R.NUMBER_NOT_INTEGER),
    Hostile("infinity", raw(b"60", b"-Infinity"), R.NUMBER_NOT_INTEGER),
    Hostile("NaN in an extension", b'{"x":NaN,' + deposit("nan")[1:], R.NUMBER_NOT_INTEGER),
    Hostile("fraction", raw(b"60", b"1.5"), R.NUMBER_NOT_INTEGER),
    Hostile("whole number with a point", raw(b"60", b"60.0"), R.NUMBER_NOT_INTEGER),
    Hostile("exponent", raw(b"60", b"6e1"), R.NUMBER_NOT_INTEGER),
    Hostile("2^64", raw(b"60", str(2**64).encode()), R.NUMBER_OUT_OF_RANGE),
    Hostile("2^53", raw(b"60", str(2**53).encode()), R.NUMBER_OUT_OF_RANGE),
    Hostile("five thousand digits", raw(b"60", b"9" * 5_000), R.NUMBER_OUT_OF_RANGE),
    Hostile("negative", raw(b"60", b"-1"), R.MEMBER_MALFORMED),
    Hostile("text for a number", raw(b"60", b'"60"'), R.MEMBER_MALFORMED),
    Hostile("true for a number", raw(b"60", b"true"), R.MEMBER_MALFORMED),
    Hostile("null for a number", raw(b"60", b"null"), R.MEMBER_MALFORMED),
    Hostile("number for an amount", deposit("number").replace(b'"amount":"5"', b'"amount":5'), R.MEMBER_MALFORMED),
    *(
        Hostile(f"amount {n}", deposit(f"a{n}").replace(b'"amount":"5"', b'"amount":"%b"' % text), R.MEMBER_MALFORMED)
        for n, text in enumerate(AMOUNTS)
    ),
    Hostile("id with a colon", wrapped(event({"subject": "j:k"})), R.MEMBER_MALFORMED),
    Hostile("id with a line feed", wrapped(event({"subject": "j\n"})), R.MEMBER_MALFORMED),
    Hostile("member left out", wrapped(event(drop="stream")), R.MEMBER_MISSING),
    Hostile("type left out", wrapped(event(drop="type"), {"type": "UsageMetered"}), R.MEMBER_MISSING),
    Hostile("unknown member", wrapped(event({"extra": 1})), R.MEMBER_UNKNOWN),
    Hostile("unknown member of the data", wrapped(event(tip=1)), R.MEMBER_UNKNOWN),
    Hostile(GOOD, b"  " + wrapped(json.loads(deposit("third", 300))["data"]) + b" \r", None),
    # The envelope.
    Hostile("empty object", b"{}", R.NOT_CLOUDEVENT),
    Hostile("array", b"[1]", R.NOT_CLOUDEVENT),
    Hostile("null", b"null", R.NOT_CLOUDEVENT),
    Hostile("number", b"7", R.NOT_CLOUDEVENT),
    Hostile("bare event", json.dumps(event()).encode(), R.NOT_CLOUDEVENT),
    Hostile("other specversion", deposit("spec").replace(b'"1.0"', b'"0.3"'), R.NOT_CLOUDEVENT),
    Hostile("data is null", wrapped(b"null"), R.MEMBER_MALFORMED),
    Hostile("data is an array", wrapped(b"[]"), R.MEMBER_MALFORMED),
    Hostile("envelope of another type", wrapped(event(), {"type": "JobFailed"}), R.ENVELOPE_DISAGREES),
    Hostile("envelope of another id", wrapped(event(), {"id": "0" * 64}), R.ENVELOPE_DISAGREES),
    Hostile("envelope of another source", wrapped(event(), {"source": "q"}), R.ENVELOPE_DISAGREES),
    Hostile("envelope of another subject", wrapped(event(), {"subject": "q"}), R.ENVELOPE_DISAGREES),
    Hostile("envelope of another time", wrapped(event(), {"time": format_instant(LAUNCH)}), R.ENVELOPE_DISAGREES),
    # The event.
    Hostile("unknown type", wrapped(event({"type": "MoneyPrinted"})), R.TYPE_UNKNOWN),
    Hostile("type is a list", wrapped(event({"type": []}), {"type": "x"}), R.TYPE_UNKNOWN),
    Hostile("version to come", wrapped(event({"schema_version": 2})), R.VERSION_UNKNOWN),
    Hostile("version zero", wrapped(event({"schema_version": 0})), R.VERSION_UNKNOWN),
    Hostile("version true", wrapped(event({"schema_version": True})), R.VERSION_UNKNOWN),
    Hostile("wrong id", wrapped(event({"id": "0" * 64})), R.ID_MISMATCH),
    Hostile("no such day", wrapped(event({"occurred_at": "2026-02-30T00:00:00.000000Z"})), R.TIME_MALFORMED),
    Hostile("no such hour", wrapped(event({"occurred_at": "2026-10-01T24:00:00.000000Z"})), R.TIME_MALFORMED),
    Hostile("leap second", wrapped(event({"occurred_at": "2026-10-01T23:59:60.000000Z"})), R.TIME_MALFORMED),
    Hostile("year zero", wrapped(event({"occurred_at": "0000-01-01T00:00:00.000000Z"})), R.TIME_MALFORMED),
    Hostile("future", wrapped(event({"occurred_at": format_instant(LAUNCH + 32 * DAY)})), R.OCCURRED_TOO_FAR_AHEAD),
    Hostile("end of time", wrapped(event({"occurred_at": "9999-12-31T23:59:59.999999Z"})), R.OCCURRED_TOO_FAR_AHEAD),
    Hostile("mark in the future", to_line(P.mark(LAUNCH + 32 * DAY)), R.OCCURRED_TOO_FAR_AHEAD),
    Hostile("stream of the future", to_line(Producer("f").register(LAUNCH + 3_661 * DAY)), R.OCCURRED_TOO_FAR_AHEAD),
    Hostile("our own source", to_line(Producer("intake", "p").deposit(LAUNCH, "c", ASSET, 9, "k")), R.SOURCE_RESERVED),
    Hostile("unregistered stream", to_line(Producer("q").deposit(LAUNCH, "c", ASSET, 9, "k")), R.STREAM_UNREGISTERED),
    Hostile("stream registered twice", to_line(Producer("q", "p").register(LAUNCH)), R.STREAM_EXISTS),
    Hostile("genesis again", to_line(genesis_of(parameter_set(burn_bps=1))), R.KEY_CONFLICT),
    Hostile(GOOD, to_line(P.mark(day(0, 6))).rstrip(b"\n"), None),
    Hostile("mark going back", to_line(P.mark(day(0, 5))), R.MARK_GOES_BACK),
    Hostile(GOOD, deposit(CONFLICT, 4_000), None),
    Hostile("key conflict", deposit(CONFLICT, 4_001), R.KEY_CONFLICT),
    Hostile("duplicate", deposit(CONFLICT, 4_000), None),
]  # fmt: skip


def decision() -> bytes:
    """Return a decision that credits money, sent as if it were a fact."""
    members = event({"type": "DepositCredited", "id": decision_id("DepositCredited", "k"), "key": "k"}, drop="stream")
    members |= {"epoch": 20_000, "params_hash": "0" * 64, "source": "settlement"}
    members["data"] = {"asset": ASSET, "amount": "1", "proof": "declared", "vault": "escrow"}
    return wrapped(members)


def refused_record() -> bytes:
    """Return what only intake may write."""
    members = event({"type": "RecordRefused"})
    members["data"] = dict.fromkeys(("source", "reason", "detail", "raw"), "x")
    members["data"] |= {"position": 1, "length": 1, "sha256": "0" * 64}
    return wrapped(members)


LINES += [
    Hostile("decision sent as a fact", decision(), R.TYPE_NOT_REPORTABLE),
    Hostile("record of a refusal from outside", refused_record(), R.TYPE_NOT_REPORTABLE),
    Hostile(GOOD, deposit("last", 50_000), None),
]
LINES = [hostile._replace(line=hostile.line.rstrip(b"\n")) for hostile in LINES]
REFUSED = {number: hostile for number, hostile in enumerate(LINES, 1) if hostile.reason is not None}
GOOD_MONEY = 1_000 + 20 + 300 + 4_000 + 50_000


class Ingested(NamedTuple):
    """Books that have taken the file in, and what the command said."""

    books: Books
    file: Path
    told: dict[str, Any]
    status: int
    err: str


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    place = tmp_path_factory.mktemp("hostile")
    file = place / "hostile.jsonl"
    file.write_bytes(b"\n".join(hostile.line for hostile in LINES) + b"\n")
    books = Books(place / "books")
    books.create(parameter_set())
    # The console script itself, once: everything else may enter through a fork.
    command = [sys.executable, "-m", "app", "ingest", str(file), "--json"]
    done = run([*command, "--data", str(books.folder)], check=False, capture_output=True, text=True)
    assert omnisync("run", "--once", "--data", books.folder).status == 0
    return Ingested(books, file, json.loads(done.stdout), done.returncode, done.stderr)


def kept(books: Books) -> dict[int, RecordRefused]:
    """Return the refusals that were kept, by line number."""
    events = [decode(line) for record in books.facts("facts/hub").read() for line in record.lines]
    return {event.data.position: event for event in events if isinstance(event, RecordRefused)}


def test_each_hostile_line_is_refused_by_name_and_number(ingested: Ingested) -> None:
    told = {refused["line"]: refused["reason"] for refused in ingested.told["refused"]}

    found = {n: (LINES[n - 1].name, reason) for n, reason in told.items()}
    assert found == {n: (hostile.name, hostile.reason) for n, hostile in REFUSED.items()}
    assert ingested.status == 1
    assert ingested.err.startswith("hostile.jsonl:3: line_too_long: ")
    assert "Traceback" not in ingested.err


def test_every_reason_of_intake_is_in_the_table_or_named_here() -> None:
    reasons = list(Reason)
    # Tested at the intake and the settler, past the command.
    elsewhere = {R.GENESIS_MISSING, R.GENESIS_EXISTS, R.PARAMETERS_INVALID, R.NOT_CANONICAL, R.FACT_MISROUTED}

    table = {hostile.reason for hostile in REFUSED.values()}

    assert table | elsewhere == set(reasons[: reasons.index(Reason.ASSET_UNKNOWN)])


def test_good_lines_beside_hostile_ones_are_kept_and_settled(ingested: Ingested) -> None:
    answer = omnisync("balance", "consumer:c", "--data", ingested.books.folder, "--json")

    (balance,) = json.loads(answer.out)["balances"]
    assert (balance["credits"], balance["debits"]) == (str(GOOD_MONEY), "0")
    good = [hostile for hostile in LINES if hostile.name == GOOD]
    assert (ingested.told["accepted"], ingested.told["duplicates"]) == (len(good), 1)


def test_bytes_of_each_refused_line_are_kept_as_they_came(ingested: Ingested) -> None:
    refusals = kept(ingested.books)

    assert refusals.keys() == REFUSED.keys()
    for number, hostile in REFUSED.items():
        data = refusals[number].data
        assert b64decode(data.raw) == hostile.line[:RAW_BYTES_MAX], hostile.name
        assert (data.length, data.sha256) == (len(hostile.line), sha256(hostile.line).hexdigest()), hostile.name
        assert (data.reason, data.source) == (hostile.reason, "hostile.jsonl"), hostile.name


def test_report_lists_each_refused_line_with_its_place(ingested: Ingested) -> None:
    report = omnisync("report", "refused", "--data", ingested.books.folder, "--json")

    lines = [line for line in json.loads(report.out)["lines"] if line["log"] == "facts/hub"]
    assert [(line["place"], line["reason"]) for line in lines] == [
        (f"line {number}", hostile.reason) for number, hostile in REFUSED.items()
    ]


def test_the_same_file_again_changes_nothing(ingested: Ingested) -> None:
    before = roots_of(ingested.books)

    again = omnisync("ingest", ingested.file, "--data", ingested.books.folder, "--json")

    told = json.loads(again.out)
    assert roots_of(ingested.books) == before
    assert again.status == 1
    assert told["accepted"] == 0
    assert told["duplicates"] == ingested.told["accepted"] + ingested.told["duplicates"]


def test_same_bytes_under_another_name_are_kept_once(ingested: Ingested, tmp_path: Path) -> None:
    before = roots_of(ingested.books)
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(b"\n" + ingested.file.read_bytes())

    omnisync("ingest", copy, "--data", ingested.books.folder)

    assert roots_of(ingested.books) == before


def test_strict_keeps_nothing_of_a_file_with_a_hostile_line(tmp_path: Path, ingested: Ingested) -> None:
    books = Books(tmp_path / "books")
    books.create(parameter_set())
    before = roots_of(books)

    strict = omnisync("ingest", ingested.file, "--strict", "--data", books.folder)

    assert strict.status == 1
    assert "refused whole, nothing was kept" in strict.out
    assert roots_of(books) == before
    omnisync("run", "--once", "--data", books.folder)
    assert omnisync("balance", "consumer:", "--data", books.folder, "--json").status == 1


def test_books_that_took_hostile_lines_verify(ingested: Ingested) -> None:
    verified = omnisync("verify", "--all", "--data", ingested.books.folder, "--json")

    assert verified.status == 0
    assert json.loads(verified.out)["ok"] is True


def test_ingest_without_books_names_what_to_do(tmp_path: Path, ingested: Ingested) -> None:
    refused = omnisync("ingest", ingested.file, "--data", tmp_path / "none")

    assert refused.status == 1
    assert "omnisync init" in refused.err
    assert not (tmp_path / "none" / "facts").exists()


@pytest.mark.parametrize("arguments", [["ingest"], ["ingest", "-", "--nonsense"], ["verify"], ["nonsense"]])
def test_wrong_usage_is_status_2(arguments: list[str], tmp_path: Path) -> None:
    assert omnisync(*arguments, "--data", tmp_path).status == 2
