"""What must come of a made-up network's facts, known because it was planted.

Nothing here asks settlement. Sums of jobs come from the jobs as they were made up, stakes and slashes from the small
model in `app.network.stakes`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from events.event import Role

__all__ = ["DutySum", "JobSums", "PlantedCase", "Truth"]


@dataclass(frozen=True, slots=True)
class PlantedCase:
    """A case that the rules demand, its outcome and money in base units.

    `plot` says what was planted; `guilty` whether the accused had done it; `suspends` whether the accused stands below
    its minimum behind the cut of the verdict. Holds, where upheld: amount = Σ paid + burned.
    """

    id: str
    role: Role
    accused: str
    job: str
    attempt: int
    cause: str
    plot: str
    guilty: bool
    outcome: Literal["upheld", "reversed"]
    bps: int
    basis: int
    amount: int
    paid: tuple[tuple[str, int], ...]
    burned: int
    proposed_at: int
    decided_at: int
    suspends: bool


class DutySum(NamedTuple):
    """A validator's duties of an epoch."""

    assigned: int
    answered: int


@dataclass(frozen=True, slots=True)
class JobSums:
    """How many jobs ended in which way, and the money of the released ones: gross = burn + fee + net."""

    submitted: int
    settled: int
    failed: int
    cancelled: int
    redistributed: int
    gross: int
    burn: int
    fee: int
    net: int


@dataclass(frozen=True, slots=True)
class Truth:
    """All that was planted, and what the books must show in the end.

    `refused` gives for the id of each fact that the rules do not grant the reason. `balances` holds, by (account,
    vault), every account of consumers, jobs, suppliers, stakes, slashes, burns and what is owed on them, without zeros;
    not the fees' further way nor validators' rewards. `untouched` are those who never did wrong.
    """

    cases: tuple[PlantedCase, ...]
    untouched: frozenset[tuple[Role, str]]
    refused: Mapping[str, str]
    jobs: JobSums
    duties: Mapping[tuple[int, str], DutySum]
    balances: Mapping[tuple[str, str], int]
    deposited: int
    staked: int
    withdrawn: int
    paid_out: int
    burned: int
    swept: int
    late: int
    twice: int

    @property
    def slashed(self) -> int:
        """What upheld cases took, base units."""
        return sum(case.amount for case in self.cases if case.outcome == "upheld")
