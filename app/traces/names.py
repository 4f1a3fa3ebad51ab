"""A trace's own ids as names that may stand in an account: `[A-Za-z0-9._-]`, one to one.

    safe character                   itself
    any other, and `_` before `x`    _xHEX_       HEX: its code point in upper-case hex, `/` is `_x2F_`

Injective: read from the left, `_x` is always the beginning of an escape, since no underscore that stands for itself
has an `x` behind it. So a name can be read in one way only, and two ids never become one name.
"""

import re

__all__ = ["NAME_MAX", "name_of"]

NAME_MAX = 88
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]|_(?=x)")


def name_of(text: str) -> str:
    """Map any text to characters of a name, one to one; the length is the caller's to check."""
    return _UNSAFE.sub(lambda match: f"_x{ord(match[0]):X}_", text)
