"""Canonical bytes ↔ events.

Canonical is a subset of RFC 8785: members sorted, ASCII names, no white space, no floats, integers up to 2^53 - 1.
The test is `encode(decode(b)) == b`, which proves that no member was doubled, dropped or coerced. Only where that fails
does a slow second look find out what to call the fault; it never decides that something is right.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import msgspec

from events.catalogue import AnyEvent, get_version
from events.event import Event
from events.refusal import Reason, Refusal
from events.upcast import UpcastRefused, upcast

__all__ = ["INTEGER_MAX", "canonicalise", "decode", "encode", "encode_json", "encode_lines", "type_name"]

INTEGER_MAX = 2**53 - 1
_INTEGER_CHARACTERS_MAX = len(str(-INTEGER_MAX))
_SURROGATES = re.compile("[\\ud800-\\udfff]")
_encoder = msgspec.json.Encoder(order="sorted")
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(AnyEvent)

encode: Callable[[Event], bytes] = _encoder.encode
encode_lines: Callable[[Sequence[Event]], bytes] = _encoder.encode_lines
encode_json: Callable[[object], bytes] = _encoder.encode


def decode(line: bytes) -> Event | Refusal:
    """Read one event from its canonical bytes, upcast to today's version; or say what is wrong with them."""
    try:
        event = _decoder.decode(line)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return _look_again(line)
    if event.schema_version != event.VERSION or _encoder.encode(event) != line:
        return _look_again(line)
    return event


def canonicalise(line: bytes) -> bytes | Refusal:
    """Bring JSON into canonical form without changing what it says: order and white space only.

    For unsigned files alone. Rejects what canonical form cannot hold: a doubled member, a fraction, a lone surrogate.
    """
    members = _parse_strictly(line)
    if isinstance(members, Refusal):
        return members
    return _encoder.encode(members)


def type_name(event: Event) -> str:
    """Return the `type` that the event carries on the wire."""
    return type(event).__name__


def _look_again(line: bytes) -> Event | Refusal:
    """Name the fault; or read an event of an older version, whose bytes are canonical by themselves."""
    members = _parse_strictly(line)
    if isinstance(members, Refusal):
        return members
    if not isinstance(members, dict):
        return Refusal(Reason.MEMBER_MALFORMED, "expected an object")
    fault = _fault_of_type(members)
    if fault is not None:
        return fault
    if _encoder.encode(members) != line:
        return Refusal(Reason.NOT_CANONICAL, "members must be sorted, without white space")
    try:
        current = upcast(members)
        event: Event = msgspec.convert(current, AnyEvent)
    except msgspec.ValidationError as error:
        return _name_validation_error(str(error))
    except UpcastRefused as error:
        return Refusal(Reason.MEMBER_UNKNOWN, str(error))
    except (KeyError, TypeError) as error:
        return Refusal(Reason.MEMBER_MISSING, f"older version cannot be read: {error!s:.80}")
    if _encoder.encode(event) != _encoder.encode(current):
        return Refusal(Reason.NOT_CANONICAL, "a member without a value is left out")
    return event


def _fault_of_type(members: dict[str, Any]) -> Refusal | None:
    kind, version = members.get("type"), members.get("schema_version")
    if kind is None or version is None:
        return Refusal(Reason.MEMBER_MISSING, "expected members type and schema_version")
    try:
        newest = get_version(kind)
    except (KeyError, TypeError):
        return Refusal(Reason.TYPE_UNKNOWN, f"{kind!r:.80}")
    if type(version) is not int or not 1 <= version <= newest:
        return Refusal(Reason.VERSION_UNKNOWN, f"{kind} version {version!r:.20}; known are 1 to {newest}")
    return None


def _name_validation_error(message: str) -> Refusal:
    if "missing required" in message:
        return Refusal(Reason.MEMBER_MISSING, message)
    if "unknown field" in message:
        return Refusal(Reason.MEMBER_UNKNOWN, message)
    return Refusal(Reason.MEMBER_MALFORMED, message)


class _Fault(Exception):
    """Carries a refusal out of the parser's hooks; never leaves this module."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.refusal = Refusal(reason, detail)


def _parse_strictly(line: bytes) -> Any | Refusal:
    """Parse with the standard library, which shows each member and each number to a hook."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return Refusal(Reason.NOT_UTF8, f"byte {error.start}")
    try:
        members = json.loads(
            text,
            object_pairs_hook=_object_once,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
            parse_int=_bounded_int,
        )
        text_of_all = json.dumps(members, ensure_ascii=False)
    except _Fault as fault:
        return fault.refusal
    except RecursionError:
        return Refusal(Reason.NESTED_TOO_DEEP, "brackets within brackets")
    except ValueError as error:
        return Refusal(Reason.NOT_JSON, str(error)[:200])
    if _SURROGATES.search(text_of_all):
        return Refusal(Reason.LONE_SURROGATE, "a string holds half of a surrogate pair")
    return members


def _object_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise _Fault(Reason.MEMBER_DUPLICATED, f"member {doubled!r:.80} stands twice")
    return members


def _refuse_number(text: str) -> NoReturn:
    raise _Fault(Reason.NUMBER_NOT_INTEGER, f"{text[:40]}; amounts are text of base units")


def _bounded_int(text: str) -> int:
    if len(text) > _INTEGER_CHARACTERS_MAX or abs(int(text)) > INTEGER_MAX:
        raise _Fault(Reason.NUMBER_OUT_OF_RANGE, f"{text[:40]}; integers go up to {INTEGER_MAX}")
    return int(text)
