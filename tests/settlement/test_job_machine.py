"""The life of a few jobs, step by step in any order, beside a naive model that is told the same."""

from collections import Counter
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.settlement.naive_lane import DAY, HOUR, NaiveLane, Told, case_of, told
from tests.settlement.one_lane import C, OneLane, Said

EXAMPLES = 100
STEPS = 60
MIN_STEPS = 3_000
FUNDS = 60_000
SHAPES: dict[int, list[tuple[str, ...]]] = {1: [("a",), ("b",)], 3: [("a", "b", "c"), ("a", "a2", "b")]}

slots = st.sampled_from("jjjkx")
numbers = st.sampled_from([0, 0, 0, 0, 0, -1, 1])
nodes = st.sampled_from(["a", "a", "b", "b", "c", "a2", "z"])
validators = st.sampled_from(["u", "v", "w"])
verdicts = st.sampled_from(["passed", "passed", "failed"])


def name_of(line: Told) -> str:
    if line[0] == "settled":
        return "settled late" if not line[1].endswith(":1") else "settled, waiting" if line[4] else "settled"
    return f"refused {line[1]}" if line[0] == "refused" else str(line[0])


class JobMachine(RuleBasedStateMachine):
    """Two slots of jobs, and one that stays empty; an attempt is given by its distance from the one that runs."""

    steps: ClassVar[int] = 0
    seen: ClassVar[Counter[str]] = Counter()

    @initialize()
    def begin(self) -> None:
        self.lane = OneLane(FUNDS)
        self.naive = NaiveLane(self.lane.now, FUNDS, C)
        self.lives: Counter[str] = Counter()
        self.start("j", True, 3, True)
        self.start("k", True, 1, True)

    def agree(self, said: Said, expected: list[Any]) -> None:
        JobMachine.steps += 1
        spoken = [told(decision) for decision in said]
        JobMachine.seen.update(name_of(line) for line in spoken)
        assert spoken == expected

    def at(self, slot: str, distance: int) -> tuple[str, int]:
        """Speak of the job in a slot; name it and an attempt of it."""
        self.lane.job = name = f"{slot}{self.lives[slot]}"
        return name, max(1, self.naive.jobs[name].number + distance) if name in self.naive.jobs else 1

    # --- money and time ---

    @rule(slot=slots, maximum=st.sampled_from([0, 3_600, 10_800, 10_800]), hours=st.sampled_from([1, 700]))
    def authorize(self, slot: str, maximum: int, hours: int) -> None:
        job, _ = self.at(slot, 0)
        self.agree(self.lane.authorize(maximum, hours), self.naive.authorize(job, maximum, hours))

    @rule(amount=st.sampled_from([0, 1, 9_000, 10**6]))
    def withdraw(self, amount: int) -> None:
        self.agree(self.lane.withdraw(amount), self.naive.withdraw(amount))

    @rule(time=st.sampled_from([HOUR, HOUR, HOUR, 20 * HOUR, DAY, 2 * DAY, 2 * DAY - 1]))
    def wait(self, time: int) -> None:
        self.agree(self.lane.wait(time), self.naive.wait(time))

    @rule(slot=slots, distance=numbers, node=nodes, upheld=st.booleans(), time=st.sampled_from([HOUR, 2 * HOUR, DAY]))
    def judge(self, slot: str, distance: int, node: str, upheld: bool, time: int) -> None:
        """The hub decides a case once: one on which a line waits, or any, of which the lane may not know yet."""
        waited_on = sorted(case for job in self.naive.jobs.values() for case in job.waiting)
        case = case_of("node", node, C, *self.at(slot, distance), "failed_challenge")
        case = waited_on[0] if waited_on and distance == 0 else case
        if case not in self.naive.verdicts and case not in {known for _, known, _ in self.naive.due}:
            self.lane.hear(case, upheld, self.lane.now + time)
            self.naive.due.append((self.lane.now + time, case, upheld))

    # --- jobs ---

    @rule(slot=slots, size=st.sampled_from([1, 3, 3]), owned=st.sampled_from([True, True, False]))
    def submit(self, slot: str, size: int, owned: bool) -> None:
        job, _ = self.at(slot, 0)
        said = self.lane.submit(size, "owner" if owned else "declared")
        self.agree(said, self.naive.submit(job, size, owned))

    @rule(slot=slots, distance=st.sampled_from([1, 1, 1, 0, 2]), shape=st.sampled_from([0, 0, 1]))
    def dispatch(self, slot: str, distance: int, shape: int) -> None:
        job, number = self.at(slot, distance)
        size = self.naive.jobs[job].size if job in self.naive.jobs else 1
        chosen = SHAPES[size][shape]
        self.agree(self.lane.dispatch(*chosen, attempt=number), self.naive.dispatch(job, number, chosen))

    @rule(
        slot=st.sampled_from("jjk"),
        authorized=st.sampled_from([True, True, False]),
        size=st.sampled_from([1, 3, 3]),
        owned=st.sampled_from([True, True, False]),
    )
    def start(self, slot: str, authorized: bool, size: int, owned: bool) -> None:
        """Begin another job where one is over; a job is most often submitted and dispatched in one go."""
        job, _ = self.at(slot, 0)
        if job in self.naive.jobs and self.naive.jobs[job].over_at is not None:
            self.lives[slot] += 1
        if authorized:
            self.authorize(slot, 10_800, 700)
        self.submit(slot, size, owned)
        self.dispatch(slot, 1, 0)

    @rule(slot=slots, distance=numbers, how=st.sampled_from(["failed", "cancelled", "redistributed", "redistributed"]))
    def end(self, slot: str, distance: int, how: str) -> None:
        job, number = self.at(slot, distance)
        if how == "cancelled":
            said = self.lane.cancel()
        else:
            said = self.lane.fail(number) if how == "failed" else self.lane.redistribute(number)
        self.agree(said, self.naive.end(job, how, number))

    @rule(slot=slots, distance=numbers, node=nodes, seconds=st.sampled_from([0, 7, 1_000, 3_600, 5_000]))
    def use(self, slot: str, distance: int, node: str, seconds: int) -> None:
        job, number = self.at(slot, distance)
        self.agree(self.lane.usage(node, seconds, number), self.naive.use(job, number, node, seconds))

    @rule(slot=slots, distance=numbers, chosen=st.sets(nodes, min_size=1, max_size=3))
    def claim(self, slot: str, distance: int, chosen: set[str]) -> None:
        (job, number), agreeing = self.at(slot, distance), tuple(sorted(chosen))
        self.agree(self.lane.claim(*agreeing, attempt=number), self.naive.claim(job, number, agreeing))

    # --- proofs ---

    @rule(slot=slots, distance=numbers, chosen=st.sets(validators, min_size=1))
    def assign(self, slot: str, distance: int, chosen: set[str]) -> None:
        (job, number), drawn = self.at(slot, distance), tuple(sorted(chosen))
        self.agree(self.lane.duty(*drawn, attempt=number), self.naive.assign(job, number, drawn))

    @rule(slot=slots, distance=numbers, node=nodes, result=st.sampled_from("aaab"))
    def submit_result(self, slot: str, distance: int, node: str, result: str) -> None:
        job, number = self.at(slot, distance)
        said = self.lane.result(node, result, number)
        self.agree(said, self.naive.submit_result(job, number, node, result))

    @rule(slot=slots, distance=numbers, node=nodes, passed=st.sampled_from([True, True, False]))
    def challenge(self, slot: str, distance: int, node: str, passed: bool) -> None:
        job, number = self.at(slot, distance)
        said = self.lane.challenge(node, passed, number)
        self.agree(said, self.naive.challenge(job, number, node, passed))

    @rule(
        slot=slots,
        distance=numbers,
        node=nodes,
        validator=validators,
        verdict=verdicts,
    )
    def attest(self, slot: str, distance: int, validator: str, node: str, verdict: str) -> None:
        job, number = self.at(slot, distance)
        said = self.lane.attest(validator, node, verdict, number)
        self.agree(said, self.naive.attest(job, number, validator, node, verdict))

    @rule(slot=slots, failed=st.sets(st.sampled_from(["a", "b", "c"])), last=st.sampled_from(["challenge", "use"]))
    def prove(self, slot: str, failed: set[str], last: str) -> None:
        """What a quorum needs most often comes together."""
        job, number = self.at(slot, 0)
        if job not in self.naive.jobs or not self.naive.jobs[job].running:
            return
        chosen = self.naive.jobs[job].attempts[number].nodes
        self.assign(slot, 0, {"u", "v"})
        for node in chosen:
            self.submit_result(slot, 0, node, "a")
            if last == "challenge":
                self.use(slot, 0, node, 1_000)
        self.claim(slot, 0, set(chosen))
        for node in chosen:
            self.challenge(slot, 0, node, node not in failed)
            self.attest(slot, 0, "v", node, "passed")
        if last == "use":
            for node in chosen:
                self.use(slot, 0, node, 1_000)

    @invariant()
    def money_is_where_the_model_has_it(self) -> None:
        held = sum(3_600 * (job.size * job.running + len(job.waiting)) for job in self.naive.jobs.values())
        assert self.lane.money["consumer"] == self.naive.funds
        assert self.lane.money["escrow"] == held
        assert sum(self.lane.money.values()) == FUNDS


@pytest.mark.slow
def test_lane_says_what_the_naive_model_says() -> None:
    JobMachine.steps = 0
    JobMachine.seen.clear()

    run_state_machine_as_test(JobMachine, settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS))

    assert JobMachine.steps >= MIN_STEPS
    assert {"settled", "refunded", "evidence", "closed"} <= JobMachine.seen.keys()
