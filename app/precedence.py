"""Who goes first where processors are short: settling, in which each decision waits for the one before it.

Loading a file and projecting can be done behind it, and give way. Where nobody settles they lose nothing.
"""

import os

__all__ = ["GIVES_WAY", "give_way"]

# Added to how nice a process is. A process of 5 gets a third of the time of one of 0 that wants the same processor.
GIVES_WAY = 5


def give_way() -> None:
    """Let this process give way to those that settle."""
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, max(nice, GIVES_WAY))
