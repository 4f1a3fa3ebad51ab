"""What a job's nodes are paid when it is released, and what of it waits for a verdict (D3, D19, D20).

escrow = Σ gross + Σ hold of waiting lines + refund
later, per waiting line:  hold = gross + refund where the case is reversed, hold = refund where it is upheld
"""

from collections.abc import Mapping
from typing import NamedTuple

from events.decisions import AgreedLine, WaitingLine
from ledger.metering import bound_seconds, price_usage
from ledger.parameters import Job as JobRules
from ledger.quorum import Fate, decide_fate
from ledger.slash import case_id
from ledger.split import split_gross
from settlement.jobs import Job
from settlement.proof import FAILED_CHALLENGE

__all__ = ["Parted", "part_lines", "price_lines"]


class Parted(NamedTuple):
    """The lines that are paid now, those that wait, and Σ gross + Σ hold of waiting lines in base units."""

    paid: tuple[AgreedLine, ...]
    waiting: tuple[WaitingLine, ...]
    kept: int


def price_lines(job: Job, paid: tuple[str, ...], rules: JobRules) -> tuple[tuple[AgreedLine, ...], int]:
    """Price what each paid node ran, bound by their median; return the lines and Σ gross in base units."""
    lines, spent = [], 0
    for node, seconds in zip(paid, bound_seconds([job.usage[node] for node in paid]), strict=True):
        price = job.quotes[node].price
        gross = price_usage(int(price), seconds, job.holds[node])
        parts = split_gross(gross, rules.burn_bps, rules.fee_bps)
        spent += gross
        lines.append(
            AgreedLine(
                node=node,
                gpu_seconds=seconds,
                price=price,
                gross=str(gross),
                burn=str(parts.burn),
                fee=str(parts.fee),
                net=str(parts.net),
            )
        )
    return tuple(lines), spent


def part_lines(job_id: str, job: Job, lines: tuple[AgreedLine, ...], verdicts: Mapping[str, bool]) -> Parted:
    """Part a proven attempt's lines by what becomes of each; `verdicts` tells of decided cases whether upheld."""
    challenges = job.running_proof().challenges
    paid, waiting, kept = [], [], 0
    for line in lines:
        case = case_id("node", line.node, job.consumer, job_id, job.attempt, FAILED_CHALLENGE)
        fate = decide_fate(challenges[line.node], verdicts.get(case))
        if fate is Fate.PAID:
            paid.append(line)
            kept += int(line.gross)
        elif fate is Fate.WAITING:
            hold = job.holds[line.node]
            waiting.append(WaitingLine(node=line.node, case=case, hold=str(hold)))
            kept += hold
    return Parted(tuple(paid), tuple(waiting), kept)
