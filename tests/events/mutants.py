"""Lines that are nearly an event: what a broken producer, a faulty disk or an attacker makes of one. Seeded."""

import re
from collections.abc import Callable
from random import Random

__all__ = ["mutants"]

NUMBERS = (b"", b"-1", b"00", b"01", b"1.0", b"1e3", b"9007199254740991", b"9007199254740992", b"9223372036854775807")
AMOUNTS = (b"9223372036854775808", b"9" * 39, b"1" + b"0" * 39, b"9" * 400)
INSTANTS = (
    b"2026-02-29T00:00:00.000000Z",
    b"2024-02-29T23:59:59.999999Z",
    b"1900-02-29T00:00:00.000000Z",
    b"2000-02-29T00:00:00.000000Z",
    b"0000-01-01T00:00:00.000000Z",
    b"0001-01-01T00:00:00.000000Z",
    b"9999-12-31T23:59:59.999999Z",
    b"2026-10-01T24:00:00.000000Z",
    b"2026-10-01T23:60:00.000000Z",
    b"2026-10-01T23:59:60.000000Z",
    b"2026-10-00T00:00:00.000000Z",
    b"2026-13-01T00:00:00.000000Z",
    b"2026-10-01T00:00:00.00000Z",
    b"2026-10-01T00:00:00,000000Z",
)
TEXTS = (
    b'""',
    b'"a"',
    b'"' + b"a" * 301 + b'"',
    b'"\xff"',
    b'"\\u0041"',
    b'"\xc3\x9c"',
    b'"\x7f"',
    b'"\\""',
    b"null",
    b"[]",
)
BYTES = b'"{}[],:\\ 09azAZ\x00\xff'
NUMBER, INSTANT = re.compile(rb"\d+"), re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
TEXT, MEMBER = re.compile(rb'"[^"]*"'), re.compile(rb'"\w+":(?:"[^"]*"|\d+|true|false),')


def mutants(seed: int, lines: list[bytes], count: int) -> list[bytes]:
    """Make mutants of lines; up to three changes each. No mutant holds a line end."""
    random = Random(seed)
    made = []
    for _ in range(count):
        line = random.choice(lines)
        for _ in range(random.randint(1, 3)):
            line = random.choice(CHANGES)(random, line)
        made.append(line.replace(b"\n", b" "))
    return made


def replace_one(pattern: re.Pattern[bytes], by: tuple[bytes, ...]) -> Callable[[Random, bytes], bytes]:
    """Return a change that puts something else in one place."""

    def change(random: Random, line: bytes) -> bytes:
        found = [match.span() for match in pattern.finditer(line)]
        if not found:
            return line
        start, end = random.choice(found)
        return line[:start] + random.choice(by) + line[end:]

    return change


def flip(random: Random, line: bytes) -> bytes:
    """Change one byte."""
    at = random.randrange(len(line) + 1)
    return (
        line[:at] + bytes([random.choice(BYTES) if random.random() < 0.5 else random.randrange(256)]) + line[at + 1 :]
    )


def insert(random: Random, line: bytes) -> bytes:
    """Put bytes in between."""
    at = random.randrange(len(line) + 1)
    return line[:at] + bytes(random.choices(BYTES, k=random.randint(1, 3))) + line[at:]


def delete(random: Random, line: bytes) -> bytes:
    """Take some bytes out."""
    at = random.randrange(len(line) + 1)
    return line[:at] + line[at + random.randint(1, 12) :]


def truncate(random: Random, line: bytes) -> bytes:
    """Cut the line short, at either end."""
    at = random.randrange(len(line) + 1)
    return line[at:] if random.random() < 0.3 else line[:at]


def double(random: Random, line: bytes) -> bytes:
    """Say a member twice, or leave it out, or move it."""
    found = [match.span() for match in MEMBER.finditer(line)]
    if not found:
        return line
    start, end = random.choice(found)
    at = random.choice([start, *(place for place, _ in found)])
    rest = line if random.random() < 0.5 else line[:start] + line[end:]
    return rest[:at] + (line[start:end] if random.random() < 0.8 else b"") + rest[at:]


def swap(random: Random, line: bytes) -> bytes:
    """Exchange two texts: values, names, or one for the other."""
    found = [match.span() for match in TEXT.finditer(line)]
    if len(found) < 2:
        return line
    (a, b), (c, d) = sorted(random.sample(found, 2))
    return line[:a] + line[c:d] + line[b:c] + line[a:b] + line[d:]


CHANGES: tuple[Callable[[Random, bytes], bytes], ...] = (
    flip,
    insert,
    delete,
    truncate,
    double,
    swap,
    replace_one(NUMBER, NUMBERS + AMOUNTS),
    replace_one(INSTANT, INSTANTS),
    replace_one(TEXT, TEXTS),
    replace_one(re.compile(rb"true"), (b"false", b"1", b"null")),
)
