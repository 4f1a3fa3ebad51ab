"""Network time: how far all registered streams have come.

    network time = max(what it was, min over streams of their last mark)        never falls

`StreamMarked{until}` promises that no later fact of the stream occurred before `until`. A fact behind its own stream's
mark is late. No clock is read.
"""

__all__ = ["BEFORE_TIME", "Timekeeper"]

# Network time before any stream is registered: earlier than every instant that can be written.
BEFORE_TIME = -(2**62)


class Timekeeper:
    """Marks by stream, microseconds since 1970."""

    __slots__ = ("marks", "network_time")

    def __init__(self) -> None:
        """Begin without streams."""
        self.marks: dict[str, int] = {}
        self.network_time = BEFORE_TIME

    def mark(self, stream: str, until: int) -> None:
        """Register a stream or move its mark; then let network time follow."""
        self.marks[stream] = until
        self.network_time = max(self.network_time, min(self.marks.values()))

    def is_late(self, stream: str, occurred_at: int) -> bool:
        """Tell whether a fact comes behind its stream's mark."""
        return occurred_at < self.marks.get(stream, BEFORE_TIME)
