"""Ingest: lines → intake → one durable batch → acknowledgement.

    each line of a batch is accepted, a duplicate, or refused; what is refused is kept as `RecordRefused`

Effects, per batch: 1 judge all lines   2 append accepted facts and refusals, synced   3 acknowledge
"""

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import NamedTuple

from events.cloudevents import Envelope, open_envelope, unwrap
from events.codec import canonicalise, decode, encode
from events.event import Event, fact_id
from events.facts import RecordRefused, RecordRefusedData
from events.killpoints import reach
from events.log import Log
from events.record import Packer
from events.refusal import Reason, Refusal
from settlement.intake import INTAKE, Accepted, Duplicate, Intake
from settlement.lines import LINE_BYTES_MAX, Line

__all__ = ["RAW_BYTES_MAX", "Receipt", "RefusedLine", "catch_up", "ingest", "ingest_whole"]

# Of a refused line this much is kept; a longer one is told by its length and digest.
RAW_BYTES_MAX = 49_152


class RefusedLine(NamedTuple):
    """A line that did not enter: where it stood, and why."""

    number: int
    refusal: Refusal


class Receipt(NamedTuple):
    """The acknowledgement of a batch: durable up to `position`."""

    lines: int
    accepted: int
    duplicates: int
    refused: tuple[RefusedLine, ...]
    position: int


class _Batch(NamedTuple):
    """A judged batch, not yet appended."""

    batches: list[list[bytes]]
    read: int
    duplicates: int
    refused: tuple[RefusedLine, ...]


def catch_up(intake: Intake, facts: Log, position: int = 0) -> None:
    """Bring an intake to the end of its partition."""
    for record in facts.read(position):
        read = [decode(line) for line in record.lines]
        known = intake.look_up(read)
        for sequence, event in enumerate(read, record.sequence + 1):
            intake.admit(event, sequence, known)


def ingest(
    chunks: Iterable[list[Line]], source: str, intake: Intake, facts: Log, now: Callable[[], str]
) -> Iterator[Receipt]:
    """Append the facts that a source's lines hold, a batch at a time; yield each batch's receipt once it is durable."""
    for chunk in chunks:
        batch = _judge(chunk, source, intake, facts.end(), now)
        reach("ingest.1-checked")
        for lines in batch.batches:
            facts.append(lines, now())
        reach("ingest.2-appended")
        accepted = batch.read - batch.duplicates - len(batch.refused)
        yield Receipt(batch.read, accepted, batch.duplicates, batch.refused, facts.end())
        reach("ingest.3-acknowledged")


def ingest_whole(
    chunks: Iterable[list[Line]], source: str, intake: Intake, facts: Log, now: Callable[[], str]
) -> Receipt:
    """Append all lines, once all are judged; where any is refused, none of them."""
    batch = _judge([line for chunk in chunks for line in chunk], source, intake, facts.end(), now)
    if batch.refused:
        return Receipt(batch.read, 0, 0, batch.refused, facts.end())
    for lines in batch.batches:
        facts.append(lines, now())
    return Receipt(batch.read, batch.read - batch.duplicates, batch.duplicates, (), facts.end())


def _judge(chunk: list[Line], source: str, intake: Intake, end: int, now: Callable[[], str]) -> _Batch:
    read = [_read(line) for line in chunk]
    known = intake.look_up([event for event, _ in read])
    packer = Packer(end)
    refused = []
    duplicates = 0
    for line, (event, data) in zip(chunk, read, strict=True):
        verdict = intake.admit(event, packer.next_position(data), known)
        if isinstance(verdict, Accepted):
            packer.add(data)
        elif isinstance(verdict, Duplicate):
            duplicates += 1
        else:
            refused.append(RefusedLine(line.number, verdict))
            _keep(_refusal_fact(line, source, verdict, now()), intake, packer)
    return _Batch(packer.batches, len(chunk), duplicates, tuple(refused))


def _read(line: Line) -> tuple[Event | Refusal, bytes]:
    """Cut the event out of its envelope; bring unsigned JSON into canonical form where it is not."""
    if line.length > LINE_BYTES_MAX:
        return Refusal(Reason.LINE_TOO_LONG, f"{line.length} bytes, at most {LINE_BYTES_MAX}"), b""
    envelope = open_envelope(line.data)
    if isinstance(envelope, Refusal):
        return _name(line.data, envelope), b""
    data = bytes(envelope.data)
    event = decode(data)
    if isinstance(event, Refusal):
        canonical = canonicalise(data)
        if isinstance(canonical, Refusal):
            return canonical, b""
        data = canonical
        event = decode(data)
    return _check(line.data, envelope, event), data


def _check(line: bytes, envelope: Envelope, event: Event | Refusal) -> Event | Refusal:
    if isinstance(event, Refusal):
        return event
    if isinstance(event, RecordRefused):
        return Refusal(Reason.TYPE_NOT_REPORTABLE, "RecordRefused is written by intake alone")
    return unwrap(line, envelope, event) or event


def _name(data: bytes, refusal: Refusal) -> Refusal:
    """Prefer the fault of the bytes themselves to that of the envelope."""
    parsed = canonicalise(data)
    return parsed if isinstance(parsed, Refusal) else refusal


def _keep(kept: RecordRefused, intake: Intake, packer: Packer) -> None:
    """Keep a refused line once, however often it comes."""
    data = encode(kept)
    if isinstance(intake.admit(kept, packer.next_position(data), intake.look_up([kept])), Accepted):
        packer.add(data)


def _refusal_fact(line: Line, source: str, refusal: Refusal, now: str) -> RecordRefused:
    digest = line.sha256 or sha256(line.data).hexdigest()
    return RecordRefused(
        id=fact_id(INTAKE, digest),
        source=INTAKE,
        stream=INTAKE,
        subject=INTAKE,
        occurred_at=now,
        key=digest,
        schema_version=1,
        data=RecordRefusedData(
            source=source[:300],
            position=line.number,
            reason=refusal.reason.value,
            detail=_printable(refusal.detail),
            raw=b64encode(line.data[:RAW_BYTES_MAX]).decode(),
            length=line.length,
            sha256=digest,
        ),
    )


def _printable(text: str) -> str:
    """Keep a detail that may quote a sender's bytes encodable."""
    return text[:300].encode("utf-8", "replace").decode()
