"""Jobs that arrive whole and that nothing of their own refuses, many at once: the vectorised twin of `Lane._whole_job`.

    known asset and in range, price ≥ its minimum's, first attempt, of a job that no other fact of the batch is about

Such a job asks the lane's state two things only: whether it is new, and whether its consumer has what it holds for a
moment (see `settlement.life_run`). All others go one by one.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from events.columns import Batch, Columns
from events.facts import UsageMetered
from events.hashing import Digests, Part, Spans, number_texts
from ledger.bps import Integers
from ledger.metering import fits_many, hold_many, price_many
from ledger.parameters import Parameters
from ledger.price import keeps_many
from ledger.split import split_many
from settlement.answers import Answers, Causes, write_answers
from settlement.jobs import digest_jobs

__all__ = ["WholeJobs", "find_whole_jobs"]

Mask = npt.NDArray[np.bool_]


class WholeJobs(NamedTuple):
    """Whole jobs of a batch in the order of their lines, a decision each; `consumers`: each one's among `names`.

    `rows`: their places among `usage`; `digests`: 16 bytes each of what says whose job it is and which.
    """

    usage: Columns
    rows: Integers
    names: list[str]
    consumers: Integers
    digests: Digests
    answers: Answers

    def places(self) -> list[tuple[str, str]]:
        """Return consumer and id of each."""
        jobs = self.usage.texts("subject")
        places = zip(self.consumers.tolist(), self.rows.tolist(), strict=True)
        return [(self.names[consumer], jobs[row]) for consumer, row in places]


def find_whole_jobs(batch: Batch, parameters: Parameters, params_hash: str) -> WholeJobs | None:
    """Find them in a batch, price them, and write what is decided; None where there is none."""
    usage = batch.columns.get(UsageMetered)
    if usage is None:
        return None
    whole = usage.has("data.terms")
    if not whole.any():
        return None
    alone = _nobody_elses(batch, usage.rows[whole])
    usage = usage if whole.all() else usage.take(whole)
    digests = digest_jobs(usage.spans("data.consumer"), usage.spans("subject"))
    good = alone & _stand_once(digests) & _are_in_range(usage, parameters)
    rows, (names, consumers) = np.flatnonzero(good), usage.numbered("data.consumer")
    answers = _settle(usage, good, parameters, params_hash).pick(rows)
    return WholeJobs(usage, rows, names, consumers[rows], digests[rows], answers._replace(of=np.arange(len(rows))))


def _nobody_elses(batch: Batch, rows: Integers) -> Mask:
    """Tell which of the whole jobs in these lines share their id with no other fact, whoever's."""
    many = list(batch.columns.values())
    if len(rows) == sum(map(len, many)):
        return np.ones(len(rows), dtype=np.bool_)
    starts, ends = (np.concatenate(side) for side in zip(*(each.span("subject") for each in many), strict=True))
    ids = np.zeros(batch.lines(), dtype=np.int64)
    lines = np.concatenate([each.rows for each in many])
    firsts, ids[lines] = number_texts(many[0].data, starts, ends)
    others = np.zeros(len(firsts), dtype=np.bool_)
    others[ids[np.setdiff1d(lines, rows, assume_unique=True)]] = True
    return ~others[ids[rows]]


def _stand_once(digests: Digests) -> Mask:
    """Tell which digests are there once. Two that begin alike are not told apart; it does no harm."""
    beginnings = digests.view(np.uint64)[:, 0]
    order, once = np.argsort(beginnings), np.ones(len(digests), dtype=np.bool_)
    same = beginnings[order[1:]] == beginnings[order[:-1]]
    once[order[1:][same]] = once[order[:-1][same]] = False
    return once


def _are_in_range(usage: Columns, parameters: Parameters) -> Mask:
    """Tell which terms nothing refuses, of which columns can hold what is reckoned."""
    rules, price, minimum = parameters.job, usage.amounts("data.terms.price"), usage.amounts("data.terms.minimum")
    good = fits_many(price, usage.numbers("data.terms.gpu_seconds_max"))
    good &= fits_many(price, usage.numbers("data.gpu_seconds")) & (minimum >= 0)
    good &= keeps_many(np.maximum(price, 0), minimum, rules.burn_bps, rules.fee_bps)
    good &= usage.numbers("data.attempt") == 1
    assets, places = usage.numbered("data.terms.asset")
    good &= np.array([asset == parameters.unit.asset for asset in assets], dtype=np.bool_)[places]
    return good


def _settle(usage: Columns, good: Mask, parameters: Parameters, params_hash: str) -> Answers:
    """Write each `JobSettled`; of those that are not good it says nothing that counts."""
    price, rules = np.where(good, usage.amounts("data.terms.price"), 0), parameters.job
    hold = hold_many(price, np.where(good, usage.numbers("data.terms.gpu_seconds_max"), 0))
    gross = price_many(price, np.where(good, usage.numbers("data.gpu_seconds"), 0), hold)
    parts = split_many(gross, rules.burn_bps, rules.fee_bps)
    consumer, job = usage.spans("data.consumer"), usage.spans("subject")
    said: list[Part] = [
        b'"asset":"%b","attempt":1,"consumer":"' % parameters.unit.asset.encode(),
        consumer,
        b'","escrow":"',
        hold,
        b'","funding":"consumer","lines":[{"burn":"',
        parts.burn,
        b'","fee":"',
        parts.fee,
        b'","gpu_seconds":',
        usage.spans("data.gpu_seconds"),
        b',"gross":"',
        gross,
        b'","net":"',
        parts.net,
        b'","node":"',
        usage.spans("data.node"),
        b'","price":"',
        usage.spans("data.terms.price"),
        b'"}],"refund":"',
        hold - gross,
        b'"',
    ]
    causes = Causes(usage.rows, usage.numbers("occurred_at"), usage.spans("id"), job, usage.spans("occurred_at"))
    key: list[bytes | Spans] = [consumer, b":", job, b":1:1"]
    written = write_answers(b"JobSettled", np.arange(len(usage)), causes, said, key, params_hash.encode())
    return written._replace(burn=parts.burn, fee=parts.fee, left=-gross, back=hold - gross)
