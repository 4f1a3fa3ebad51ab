"""Cuts: the network times at which the hub decides. Times are whole microseconds since 1970.

    effective time   of a fact: max(occurred_at, network time of its partition when it arrives)
                     of a lane's decision: max(occurred_at, `network_time` of its record's header)
    cuts             the multiples of `cut_seconds` behind the launch, and the closes of epochs
    a cut at T       takes everything whose effective time is below T, sorted; and the lanes' closes at T itself
    a return         a verdict taken at the cut T is carried out by its lane when it passes T + `return_seconds`

Nothing of an effective time below T comes once all partitions have passed T, so a cut depends on no interleaving. Who
has *passed* T has done everything up to and at T:

    the hub cuts at T       once its partition's network time is T or later and each lane has passed T
    a lane passes T         once the hub has passed T − `return_seconds`, so that it knows all verdicts due by T
"""

import numpy as np

from events.instant import DAY, MICROSECONDS, day_of
from ledger.bps import Integers
from ledger.epoch import closes_at
from ledger.parameters import Parameters

__all__ = ["cut_behind", "cuts_behind", "effective_time"]


def effective_time(occurred_at: int, network_time: int) -> int:
    """Return the time as of which the hub takes in a fact or a lane's decision."""
    return max(occurred_at, network_time)


def cut_behind(time: int, parameters: Parameters) -> int:
    """Return the first cut behind a time: the one that takes what is effective at `time`.

    No cut lies before the launch: for what is effective earlier, ask for the cut behind the launch.
    """
    rules = parameters.epoch
    width = rules.cut_seconds * MICROSECONDS
    if rules.grace_seconds % rules.cut_seconds == 0:
        # Then each close is such a multiple too: a day is one.
        return (time // width + 1) * width
    epoch = day_of(time - rules.grace_seconds * MICROSECONDS)
    return min((time // width + 1) * width, closes_at(epoch, rules.grace_seconds))


def cuts_behind(times: Integers, parameters: Parameters) -> Integers:
    """Return the first cut behind each time, as `cut_behind` does."""
    rules = parameters.epoch
    width = rules.cut_seconds * MICROSECONDS
    cuts: Integers = (times // width + 1) * width
    if rules.grace_seconds % rules.cut_seconds == 0:
        return cuts
    grace = rules.grace_seconds * MICROSECONDS
    closes: Integers = ((times - grace) // DAY + 1) * DAY + grace
    return np.minimum(cuts, closes)
