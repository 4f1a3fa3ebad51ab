"""Lanes and hub that answer one another: each answer stands at its own time, however the settlers take turns.

The rules are replaced by an echo. A lane says what it was told; the hub answers at the first cut behind that; the lane
of the answer's subject answers back when the verdict returns, a few times over.
"""

from random import Random

import msgspec
import pytest

from app.facts import Producer
from events.catalogue import AnyEvent
from events.codec import decode, encode_lines
from events.decisions import DecisionRefused, DecisionRefusedData
from events.event import Decision, Fact, decision_id
from events.facts import ChainFactDeclared, GenesisDeclared
from events.instant import MICROSECONDS, format_instant, parse_instant
from events.refusal import Reason, Refusal
from ledger.parameters import Parameters
from settlement import settle
from settlement.cuts import cut_behind
from settlement.intake import Accepted
from settlement.jobs import LaneState
from settlement.keys import KeySet
from settlement.output import Decided
from settlement.routing import lane_of
from settlement.settle import HubSettler
from tests.settlement.desk import Desk, MemoryLog
from tests.worlds import ASSET, LAUNCH, parameter_set

pytestmark = pytest.mark.slow

SEEDS = range(8)

ECHO = b'"type":"DecisionRefused"}'
HOPS = 3
HOUR = 3_600 * MICROSECONDS
LANES = 3
Place = tuple[str, str, str]


def say(name: str, subject: str, hop: int, time: int) -> Decision:
    data = DecisionRefusedData(detail=str(hop), reason=Reason.JOB_EXISTS)
    key = f"{name}:{hop}"
    return DecisionRefused(
        id=decision_id("DecisionRefused", key),
        source="settlement",
        subject=subject,
        occurred_at=format_instant(time),
        key=key,
        schema_version=1,
        epoch=0,
        params_hash="0" * 64,
        data=data,
    )


def hop_of(decision: Decision) -> int:
    assert isinstance(decision, DecisionRefused)
    return int(decision.data.detail)


class EchoLane:
    """Says each fact once, and each verdict on its consumers once it is due."""

    def __init__(self, number: int, _parameters: Parameters, _params_hash: str, _closed: KeySet) -> None:
        self.number = number
        self.state = LaneState(oldest_open=0)
        self.said: list[Decision] = []
        self.due: list[tuple[int, str, Decision]] = []

    def take(self, accepted: Accepted, network_time: int) -> Decided:
        self.decide(accepted, network_time)
        return self.give()

    def decide(self, accepted: Accepted, network_time: int) -> None:
        assert network_time <= LAUNCH + 100 * HOUR
        fact = accepted.fact
        if _counts(fact):
            self.said.append(say(fact.key, fact.subject, 0, accepted.occurred_at))

    def give(self) -> Decided:
        said, self.said = self.said, []
        return Decided(encode_lines(said))

    def refuse_unreadable(self, _position: str, _refusal: Refusal) -> Decided:
        raise AssertionError

    def hear(self, verdict: Decision, due: int) -> None:
        if lane_of(verdict.subject, LANES) == self.number:
            self.due.append((due, verdict.id, verdict))

    def next_stop(self, limit: int) -> int | None:
        return min((due for due, _, _ in self.due if due <= limit), default=None)

    def stop_at(self, time: int) -> Decided:
        now = sorted(item for item in self.due if item[0] == time)
        self.due = [item for item in self.due if item[0] != time]
        assert all(due > time for due, _, _ in self.due)
        return Decided(encode_lines([say(v.key, v.subject, hop_of(v) + 1, time) for _, _, v in now]))


class EchoHub:
    """Answers each fact and each lane's decision at the first cut behind it."""

    def __init__(self, lanes: int, parameters: Parameters, _params_hash: str) -> None:
        assert lanes == LANES
        self.parameters = parameters
        self.waiting: list[tuple[int, str, str, str, int]] = []

    def open_books(self, _genesis: GenesisDeclared) -> Decided:
        return Decided(b"")

    def refuse_unreadable(self, _position: str, _refusal: Refusal) -> Decided:
        raise AssertionError

    def take_fact(self, accepted: Accepted, effective: int) -> None:
        if _counts(accepted.fact):
            fact = accepted.fact
            self.waiting.append((effective, fact.id, fact.key, fact.subject, 0))

    def take_decision(self, decision: Decision, effective: int, size: int) -> None:
        assert size > 0
        if hop_of(decision) < HOPS:
            self.waiting.append((effective, decision.id, decision.key, decision.subject, hop_of(decision)))

    def next_cut(self, limit: int) -> int | None:
        if not self.waiting:
            return None
        cut = cut_behind(max(min(self.waiting)[0], LAUNCH), self.parameters)
        return cut if cut <= limit else None

    def cut(self, time: int) -> Decided:
        now = sorted(item for item in self.waiting if item[0] < time)
        self.waiting = [item for item in self.waiting if item[0] >= time]
        return Decided(encode_lines([say(f"cut:{key}", subject, hop, time) for _, _, key, subject, hop in now]))


def _counts(fact: Fact) -> bool:
    return isinstance(fact, ChainFactDeclared)


@pytest.fixture(autouse=True)
def echo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle, "Lane", EchoLane)
    monkeypatch.setattr(settle, "Hub", EchoHub)
    monkeypatch.setattr(settle, "HEARD", (DecisionRefused,))
    monkeypatch.setattr(settle, "_VERDICTS", (ECHO,))
    monkeypatch.setattr(settle, "_decoder", msgspec.json.Decoder(AnyEvent))


def tell(random: Random) -> list[Fact]:
    """Make up two days of deposits on two streams, which mark now and then; some facts come early, some late."""
    streams = [Producer("a"), Producer("b")]
    facts = [stream.register(LAUNCH) for stream in streams]
    time = LAUNCH
    for number in range(60):
        time += random.randrange(HOUR)
        stream = random.choice(streams)
        occurred_at = max(LAUNCH - HOUR, time + random.choice((0, 0, 0, -3 * HOUR, HOUR // 2)))
        facts.append(stream.deposit(occurred_at, f"c{random.randrange(6)}", ASSET, 1, f"d{number}"))
        if random.random() < 0.4:
            facts.append(stream.mark(time - random.choice((0, 7))))
    return [*facts, *(stream.mark(time + 30 * HOUR) for stream in streams)]


def said(desk: Desk) -> list[list[tuple[bytes, str | None]]]:
    return [[(line, r.header.network_time) for r in log.read() for line in r.lines] for log in desk.ledgers]


def whole(facts: list[Fact]) -> Desk:
    desk = Desk(parameter_set(), LANES)
    desk.ingest(facts)
    desk.settle()
    return desk


@pytest.mark.parametrize("seed", SEEDS)
def test_each_answer_stands_at_its_cut_and_each_return_when_it_is_due(seed: int) -> None:
    parameters = parameter_set()
    facts = tell(Random(seed))
    desk = whole(facts)

    heard: dict[str, int] = {}
    for log in desk.lanes:
        for record in log.read():
            time = parse_instant(record.header.network_time or "")
            for line in record.lines:
                decision = decode(line)
                assert isinstance(decision, Decision)
                heard[decision.key] = max(parse_instant(decision.occurred_at), time)
                if hop_of(decision):
                    assert parse_instant(decision.occurred_at) == time
    answers = 0
    for record in desk.hub.read():
        cut = parse_instant(record.header.network_time or "")
        for line in record.lines:
            decision = decode(line)
            assert isinstance(decision, Decision)
            answers += 1
            cause = decision.key.removeprefix("cut:").rpartition(":")[0]
            assert cut == cut_behind(max(heard[cause], LAUNCH), parameters)
            assert heard[f"{decision.key}:{hop_of(decision) + 1}"] == cut + 600 * MICROSECONDS
    assert answers == HOPS * sum(map(_counts, facts))
    assert desk.verify().unsettled == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_turns_sessions_and_steps_change_no_byte(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(f"turns {seed}")
    facts = tell(Random(seed))
    expected = said(whole(facts))

    desk = Desk(parameter_set(), LANES)
    going = desk.settlement()
    for start in range(0, len(facts), 9):
        desk.ingest(facts[start : start + 9])
        if random.random() < 0.6:
            going.run(batch=random.choice((1, 100)))
        elif random.random() < 0.5:
            going = desk.settlement()
        desk.verify()
    desk.settle()
    assert said(desk) == expected

    monkeypatch.setattr(HubSettler, "leap", lambda _hub, _time: False)
    assert said(whole(facts)) == expected
    assert desk.verify().unsettled == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_logs_that_end_anywhere_verify_or_are_named_and_are_written_again(seed: int) -> None:
    """As after a crash: what a settler told others was in its log before."""
    random = Random(f"ends {seed}")
    facts = tell(Random(seed))
    expected = said(whole(facts))

    class Crash(Exception):
        pass

    class Mortal(MemoryLog):
        lives = 0

        def append(self, *arguments: object, **members: object) -> object:  # type: ignore[override]
            self.lives -= 1
            if self.lives == 0:
                raise Crash
            return super().append(*arguments, **members)  # type: ignore[arg-type]

    desk = Desk(parameter_set(), LANES)
    for log in desk.ledgers:
        log.__class__ = Mortal
    desk.ingest(facts)
    for _ in range(12):
        for log in desk.ledgers:
            assert isinstance(log, Mortal)
            log.lives = random.randint(1, 9)
        try:
            desk.settle(batch=random.choice((1, 100)))
        except Crash:
            desk.verify()
    for log in desk.ledgers:
        assert isinstance(log, Mortal)
        log.lives = 0
    desk.settle()

    assert said(desk) == expected
    assert desk.verify().unsettled == 0
