"""The CloudEvents 1.0 envelope in which an event travels at the edges (JSON, one per line).

The event is the envelope's `data`, cut out byte for byte. The envelope's own attributes are copies: where one is
present it must agree with the event.
"""

import msgspec

from events.codec import canonicalise
from events.event import Event
from events.refusal import Reason, Refusal

__all__ = ["CONTENT_TYPE", "open_envelope", "unwrap", "wrap"]

CONTENT_TYPE = "application/json"


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The attributes that CloudEvents 1.0 defines; extensions are passed over."""

    specversion: str
    id: str
    source: str
    type: str
    data: msgspec.Raw
    subject: str | None = None
    time: str | None = None
    datacontenttype: str | None = None


_decoder = msgspec.json.Decoder(Envelope)


def wrap(event: Event, line: bytes) -> bytes:
    """Put an event's canonical bytes into an envelope whose members are sorted too."""
    return (
        b'{"data":%b,"datacontenttype":"application/json","id":"%b","source":"%b",'
        b'"specversion":"1.0","subject":"%b","time":"%b","type":"%b"}'
    ) % (
        line,
        event.id.encode(),
        event.source.encode(),
        event.subject.encode(),
        event.occurred_at.encode(),
        type(event).__name__.encode(),
    )


def open_envelope(line: bytes) -> Envelope | Refusal:
    """Read the envelope; leave the event within it as bytes."""
    try:
        envelope = _decoder.decode(line)
    except msgspec.ValidationError as error:
        return Refusal(Reason.NOT_CLOUDEVENT, str(error))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Refusal(Reason.NOT_JSON, str(error))
    except RecursionError:
        return Refusal(Reason.NESTED_TOO_DEEP, "brackets within brackets")
    if envelope.specversion != "1.0":
        return Refusal(Reason.NOT_CLOUDEVENT, f"specversion {envelope.specversion!r:.20}, expected '1.0'")
    return envelope


def unwrap(line: bytes, envelope: Envelope, event: Event) -> Refusal | None:
    """Compare the envelope's attributes with the event that was read from its data."""
    if wrap(event, bytes(envelope.data)) == line:
        return None
    # Not the envelope as we write it: it is read only if no member of it stands twice.
    parsed = canonicalise(line)
    if isinstance(parsed, Refusal):
        return parsed
    if (
        envelope.id != event.id
        or envelope.source != event.source
        or envelope.type != type(event).__name__
        or (envelope.subject is not None and envelope.subject != event.subject)
        or (envelope.time is not None and envelope.time != event.occurred_at)
        or (envelope.datacontenttype is not None and envelope.datacontenttype != CONTENT_TYPE)
    ):
        return Refusal(Reason.ENVELOPE_DISAGREES, "the CloudEvent's attributes must copy the event's")
    return None
