"""Positions: how much of each ledger log an answer stands on, as one token.

token := log ":" size ("," log ":" size)*          lane-0:1024,hub:310
"""

import re
from collections.abc import Mapping

_SIZE = re.compile(r"[0-9]{1,40}")

__all__ = ["AtRefused", "format_position", "history_of", "parse_position", "rows_of"]


class AtRefused(ValueError):
    """The books cannot answer for that position or time; the message says why."""


def history_of(log: str) -> str:
    """Name the checkpoint of a log's history, which is written behind the head."""
    return f"{log}/history"


def rows_of(log: str) -> str:
    """Name the checkpoint at which the rows of a log's history begin: what lies before it is in sealed segments."""
    return f"{log}/rows"


def format_position(sizes: Mapping[str, int]) -> str:
    """Write a token, lanes first."""
    return ",".join(f"{log}:{sizes[log]}" for log in sorted(sizes, key=lambda log: (log == "hub", log)))


def parse_position(token: str) -> dict[str, int]:
    """Read a token. Raises: AtRefused."""
    sizes = {}
    for part in token.split(","):
        log, _, size = part.rpartition(":")
        if not log or _SIZE.fullmatch(size) is None:
            raise AtRefused(f"{token!r} is neither a position (lane-0:10,hub:4) nor a time (2026-10-01T00:00:00Z)")
        sizes[log] = int(size)
    return sizes
