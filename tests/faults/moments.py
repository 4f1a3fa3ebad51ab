"""Where a random kill can fall, in the order of a run."""

__all__ = ["AFTER", "ALL_PROJECTED", "MOMENTS", "WHERE"]

WHERE = "where kills fell"
ALL_PROJECTED = "all projected"
AFTER = "after the end"
MOMENTS = (
    "before the first acknowledgement",
    "between acknowledgements",
    "all acknowledged",
    "settling",
    "projecting",
    ALL_PROJECTED,
)
