"""The oracle: the settlement rules in plain ints and dictionaries, sharing no code with the product.

It reads the same lines with the standard library, decides which of them count and what they move, and sums each
account. What is measured must end with exactly these balances. It knows the rules that the two streams exercise, and no
more. The fair SQLite peer decides by `Decider`, and the other peers are given its entries.
"""

import json
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["ISSUED", "Decider", "Entry", "Oracle", "read_fact"]

ISSUED = "supply:issued"
_DAY_ZERO = date(1970, 1, 1).toordinal()
_SECONDS_PER_DAY = 86_400
_SECONDS_PER_HOUR = 3_600

Fact = dict[str, Any]
Postings = list[tuple[str, int]]


class Entry(NamedTuple):
    """One balanced entry: what it is about, its day since 1970, signed base units per account (a credit is above 0)."""

    subject: str
    day: int
    postings: Postings


class _Job:
    """An open job."""

    def __init__(self, data: Fact) -> None:
        self.consumer: str = data["consumer"]
        self.seconds_max: int = data["gpu_seconds_max"]
        self.nodes: int = data["nodes"]
        self.attempt = 0
        self.escrow = -1
        self.prices: dict[str, int] = {}
        self.operators: dict[str, str] = {}
        self.usage: dict[str, int] = {}
        self.agreeing: list[str] = []


def read_fact(line: bytes, parse: Callable[[bytes], Any] = json.loads) -> Fact | None:
    """Read a CloudEvents line; None where it is damaged or its id is not SHA-256(source|key)."""
    try:
        envelope = parse(line)
    except ValueError:
        return None
    fact: Fact = envelope["data"]
    derived = sha256(f"{fact['source']}|{fact['key']}".encode()).hexdigest()
    return fact if derived == fact["id"] == envelope["id"] and fact["source"] == envelope["source"] else None


class Decider:
    """Turns facts that were read and not seen before into entries."""

    def __init__(self, parameters: Path) -> None:
        """Begin before the genesis."""
        rules = tomllib.loads(parameters.read_text(encoding="utf-8"))
        self._genesis = [(line["account"], int(line["amount"])) for line in rules["genesis"]]
        self._burn_bps, self._fee_bps = rules["job"]["burn_bps"], rules["job"]["fee_bps"]
        self._pool_bps = rules["waterfall"]["validator_bps"]
        self._grace = rules["epoch"]["grace_seconds"]
        self._open_day = _day(rules["launched_at"])
        self._marks: dict[str, float] = {}
        self._available: defaultdict[str, int] = defaultdict(int)
        self._jobs: dict[str, _Job] = {}
        self._closed: set[str] = set()
        self._fees: defaultdict[int, int] = defaultdict(int)

    def genesis(self) -> Entry:
        """Return the entry of the first supply."""
        return Entry("genesis", self._open_day, [(ISSUED, -sum(a for _, a in self._genesis)), *self._genesis])

    def decide(self, fact: Fact) -> list[Entry]:
        """Return the entries that a fact causes."""
        kind, data = fact["type"], fact["data"]
        if kind == "StreamRegistered":
            self._marks[fact["stream"]] = _seconds(data["since"])
        elif kind == "StreamMarked":
            self._marks[fact["stream"]] = _seconds(data["until"])
            return self._close_days()
        else:
            # A job is its consumer's.
            subject = fact["subject"] if kind == "ChainFactDeclared" else f"{data['consumer']}:{fact['subject']}"
            postings = _HANDLERS[kind](self, subject, data, self._day_of(fact))
            if postings:
                return [Entry(fact["subject"], self._day_of(fact), postings)]
        return []

    def _day_of(self, fact: Fact) -> int:
        return max(_day(fact["occurred_at"]), self._open_day)

    def _close_days(self) -> list[Entry]:
        network_time, entries = min(self._marks.values()), []
        while (self._open_day + 1) * _SECONDS_PER_DAY + self._grace <= network_time:
            fees = self._fees.pop(self._open_day, 0)
            if fees:
                pool = fees * self._pool_bps // 10_000
                shares = [("fee:accrued", -fees), ("validator_pool:current", pool), ("treasury:ops", fees - pool)]
                entries.append(Entry("fees", self._open_day, shares))
                if pool:
                    # There is no validator to share it.
                    carried = [("validator_pool:current", -pool), ("validator_pool:carry", pool)]
                    entries.append(Entry("rewards", self._open_day, carried))
            self._open_day += 1
        return entries

    # --- what each kind of fact moves ---

    def _deposit(self, owner: str, data: Fact, _: int) -> Postings:
        amount = int(data["amount"])
        self._available[owner] += amount
        return [("external", -amount), (f"consumer:{owner}", amount)]

    def _submit(self, job_id: str, data: Fact, _: int) -> Postings:
        if job_id not in self._jobs and job_id not in self._closed:
            self._jobs[job_id] = _Job(data)
        return []

    def _dispatch(self, job_id: str, data: Fact, _: int) -> Postings:
        job = self._jobs.get(job_id)
        if job is None or job.escrow >= 0 or data["attempt"] != job.attempt + 1 or len(data["quotes"]) != job.nodes:
            return []
        job.attempt = data["attempt"]
        job.prices = {quote["node"]: int(quote["price"]) for quote in data["quotes"]}
        job.operators = {quote["node"]: quote["operator"] for quote in data["quotes"]}
        held = sum(_hold(price, job.seconds_max) for price in job.prices.values())
        if held > self._available[job.consumer]:
            return []
        self._available[job.consumer] -= held
        job.escrow = held
        return [(f"consumer:{job.consumer}", -held), (f"escrow:{job_id}", held)]

    def _usage(self, job_id: str, data: Fact, day: int) -> Postings:
        terms = data.get("terms")
        if terms is not None:
            return self._whole_job(job_id, data, terms, day)
        job = self._jobs.get(job_id)
        if job is None or job.escrow < 0 or data["node"] not in job.prices or data["node"] in job.usage:
            return []
        job.usage[data["node"]] = data["gpu_seconds"]
        return self._release(job_id, job, day)

    def _whole_job(self, job_id: str, data: Fact, terms: Fact, day: int) -> Postings:
        consumer, price = data["consumer"], int(terms["price"])
        hold = _hold(price, terms["gpu_seconds_max"])
        if job_id in self._closed or job_id in self._jobs or hold > self._available[consumer]:
            return []
        gross = min(price * data["gpu_seconds"] // _SECONDS_PER_HOUR, hold)
        self._available[consumer] -= gross
        self._closed.add(job_id)
        burn, fee = gross * self._burn_bps // 10_000, gross * self._fee_bps // 10_000
        self._fees[day] += fee
        return [
            (f"consumer:{consumer}", -gross),
            (f"payable:supplier:{data['node']}", gross - burn - fee),
            ("burn:pending", burn),
            ("fee:accrued", fee),
        ]

    def _quorum(self, job_id: str, data: Fact, day: int) -> Postings:
        job = self._jobs.get(job_id)
        if job is None or job.escrow < 0 or job.agreeing:
            return []
        # One vote and one payment per operator: the node that was dispatched first.
        paid: dict[str, str] = {}
        for node, operator in job.operators.items():
            if node in data["agreeing"]:
                paid.setdefault(operator, node)
        if 3 * len(paid) < 2 * job.nodes:
            return []
        job.agreeing = list(paid.values())
        return self._release(job_id, job, day)

    def _release(self, job_id: str, job: _Job, day: int) -> Postings:
        agreeing = list(job.prices) if job.nodes == 1 else job.agreeing
        if not agreeing or any(node not in job.usage for node in agreeing):
            return []
        times = sorted(job.usage[node] for node in agreeing)
        bound = 2 * times[(len(times) - 1) // 2]
        postings: Postings = [(f"escrow:{job_id}", -job.escrow)]
        spent = burns = fees = 0
        for node in agreeing:
            price = job.prices[node]
            cost = price * min(job.usage[node], bound) // _SECONDS_PER_HOUR
            gross = min(cost, _hold(price, job.seconds_max))
            burn, fee = gross * self._burn_bps // 10_000, gross * self._fee_bps // 10_000
            postings.append((f"payable:supplier:{node}", gross - burn - fee))
            spent, burns, fees = spent + gross, burns + burn, fees + fee
        refund = job.escrow - spent
        self._fees[day] += fees
        self._end(job_id, job, refund)
        return [*postings, (f"consumer:{job.consumer}", refund), ("burn:pending", burns), ("fee:accrued", fees)]

    def _fail(self, job_id: str, data: Fact, _: int) -> Postings:
        job = self._jobs.get(job_id)
        return self._refund(job_id, job) if job is not None and data["attempt"] == job.attempt else []

    def _cancel(self, job_id: str, _data: Fact, _: int) -> Postings:
        job = self._jobs.get(job_id)
        return self._refund(job_id, job) if job is not None and not job.usage else []

    def _refund(self, job_id: str, job: _Job) -> Postings:
        held = max(job.escrow, 0)
        self._end(job_id, job, held)
        return [(f"escrow:{job_id}", -held), (f"consumer:{job.consumer}", held)] if held else []

    def _end(self, job_id: str, job: _Job, refund: int) -> None:
        self._available[job.consumer] += refund
        del self._jobs[job_id]
        self._closed.add(job_id)


class Oracle:
    """Reads a whole stream and sums each account."""

    def __init__(self, parameters: Path) -> None:
        """Begin with the genesis."""
        self.decider = Decider(parameters)
        self.balances: defaultdict[str, int] = defaultdict(int)
        self.facts = self.refused = self.duplicates = 0
        # Half of each SHA-256: 128 bits, since there may be 10^7 of them.
        self._seen: dict[bytes, bytes] = {}

    def entries(self, stream: Path) -> Iterator[Entry]:
        """Yield all entries of a stream in their order, the genesis first; sum them on the way."""
        yield self._sum(self.decider.genesis())
        with stream.open("rb") as file:
            for line in file:
                fact = self._admit(line)
                if fact is not None:
                    for entry in self.decider.decide(fact):
                        yield self._sum(entry)

    def largest(self) -> int:
        """Return the largest balance that a stream made, base units: not the first supply's."""
        return max(amount for account, amount in self.balances.items() if account != "external")

    def totals(self) -> dict[str, int]:
        """Return the balances that are not zero, credits − debits in base units."""
        return {account: amount for account, amount in self.balances.items() if amount}

    def _admit(self, line: bytes) -> Fact | None:
        fact = read_fact(line)
        if fact is None:
            self.refused += 1
            return None
        content = json.dumps([fact["type"], fact["subject"], fact["data"]], sort_keys=True)
        said = sha256(content.encode()).digest()[:16]
        before = self._seen.setdefault(bytes.fromhex(fact["id"][:32]), said)
        if before is not said:
            self.duplicates += before == said
            self.refused += before != said
            return None
        self.facts += 1
        return fact

    def _sum(self, entry: Entry) -> Entry:
        assert sum(amount for _, amount in entry.postings) == 0, entry
        for account, amount in entry.postings:
            self.balances[account] += amount
        return entry


def _hold(price: int, seconds_max: int) -> int:
    return -(-price * seconds_max // _SECONDS_PER_HOUR)


def _day(instant: str) -> int:
    return date.fromisoformat(instant[:10]).toordinal() - _DAY_ZERO


def _seconds(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp()


_HANDLERS: dict[str, Callable[[Decider, str, Fact, int], Postings]] = {
    "ChainFactDeclared": Decider._deposit,
    "JobSubmitted": Decider._submit,
    "JobDispatched": Decider._dispatch,
    "UsageMetered": Decider._usage,
    "QuorumClaimed": Decider._quorum,
    "JobFailed": Decider._fail,
    "JobCancelled": Decider._cancel,
}
