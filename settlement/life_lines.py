"""The decisions of regular lives, written by columns: what is held, settled, given back; what was asked for in vain."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from events.codec import encode_json
from events.hashing import Part, Spans, render_lines
from events.refusal import Refusal
from ledger.bps import Integers
from ledger.parameters import Parameters
from ledger.split import split_many
from settlement.answers import Answers, Causes, spans_of, write_answers
from settlement.job_facts import AGREED, CANCELLED, FAILED, METERED, JobFacts, are_among
from settlement.lane_writer import say_why
from settlement.lives import Lives, Nodes

__all__ = ["write_denials", "write_lives"]

_OUTCOMES = {FAILED: b"failed", CANCELLED: b"cancelled"}


def write_lives(lives: Lives, parameters: Parameters, params_hash: str) -> list[Answers]:
    """Write all decisions on facts of the batch, those of a kind together."""
    writer, own = _Writer(lives.facts, parameters, params_hash), lives.facts.own
    held = (lives.dispatched >= 0) & (lives.dispatched < own) & ~are_among(lives.dispatched, lives.beyond)
    over = lives.ended >= 0
    settled = over & ((lives.endings == METERED) | (lives.endings == AGREED))
    return [
        write(lives, np.flatnonzero(some))
        for write, some in (
            (writer.hold, held),
            (writer.settle, settled),
            (partial(writer.refund, kind=FAILED), over & (lives.endings == FAILED)),
            (partial(writer.refund, kind=CANCELLED), over & (lives.endings == CANCELLED)),
        )
        if some.any()
    ]


def write_denials(facts: JobFacts, denied: dict[int, Refusal], params_hash: str) -> Answers:
    """Write why dispatches were refused, by their lines."""
    lines = np.array(list(denied))
    said = Spans.of([encode_json(say_why(refusal))[1:-1] for refusal in denied.values()])
    return write_answers(
        b"DecisionRefused", lines, _causes(facts, lines), [said], [facts.span("id", lines)], params_hash.encode()
    )


class _Writer:
    """Writes decisions on some of the lives."""

    def __init__(self, facts: JobFacts, parameters: Parameters, params_hash: str) -> None:
        self._facts, self._rules = facts, parameters.job
        self._asset = parameters.unit.asset.encode()
        self._params_hash = params_hash.encode()

    def hold(self, lives: Lives, some: Integers) -> Answers:
        """Write each `EscrowFunded`."""
        nodes, facts = lives.nodes.pick(_mask(lives, some)), lives.dispatched[some]
        amount = _sums(nodes.life, nodes.hold, len(some))
        name, price = self._texts(nodes)
        holds = _join([b'{"amount":"', nodes.hold, b'","node":"', name, b'","price":"', price, b'"}'], nodes.life)
        said: list[Part] = [
            b'"amount":"',
            amount,
            b'","asset":"%b","attempt":1,"consumer":"' % self._asset,
            self._facts.span("data.consumer", facts),
            b'","holds":[',
            holds,
            b"]",
        ]
        return self._write(b"EscrowFunded", some, facts, said, [b":1"])._replace(left=-amount)

    def settle(self, lives: Lives, some: Integers) -> Answers:
        """Write each `JobSettled`."""
        nodes, facts = lives.nodes.pick(_mask(lives, some)), lives.ended[some]
        escrow = _sums(nodes.life, nodes.hold, len(some))
        nodes = nodes.take(nodes.paid > 0)
        parts = split_many(nodes.gross, self._rules.burn_bps, self._rules.fee_bps)
        gross, burn, fee = (_sums(nodes.life, amounts, len(some)) for amounts in (nodes.gross, parts.burn, parts.fee))
        name, price = self._texts(nodes)
        line: list[Part] = [
            b'{"burn":"',
            parts.burn,
            b'","fee":"',
            parts.fee,
            b'","gpu_seconds":',
            nodes.seconds,
            b',"gross":"',
            nodes.gross,
            b'","net":"',
            parts.net,
            b'","node":"',
            name,
            b'","price":"',
            price,
            b'"}',
        ]
        said: list[Part] = [
            b'"asset":"%b","attempt":1,"consumer":"' % self._asset,
            self._facts.span("data.consumer", facts),
            b'","escrow":"',
            escrow,
            b'","funding":"escrow","lines":[',
            _join(line, nodes.life),
            b'],"refund":"',
            escrow - gross,
            b'"',
        ]
        written = self._write(b"JobSettled", some, facts, said, [b":1:1"])
        return written._replace(burn=burn, fee=fee, left=escrow - gross)

    def refund(self, lives: Lives, some: Integers, kind: int) -> Answers:
        """Write each `JobRefunded` of lives that end with a failure, or with a withdrawal."""
        nodes, facts = lives.nodes.pick(_mask(lives, some)), lives.ended[some]
        amount, attempt = _sums(nodes.life, nodes.hold, len(some)), (lives.dispatched[some] >= 0).astype(np.int64)
        said: list[Part] = [
            b'"amount":"',
            amount,
            b'","asset":"%b","attempt":' % self._asset,
            attempt,
            b',"cause":"',
            self._facts.span("data.reason", facts, kind),
            b'","consumer":"',
            self._facts.span("data.consumer", facts),
            b'","outcome":"%b"' % _OUTCOMES[kind],
        ]
        key: list[bytes | Spans] = [b":", Spans(b"01", attempt, attempt + 1), b":" + _OUTCOMES[kind]]
        return self._write(b"JobRefunded", some, facts, said, key)._replace(left=amount)

    def _write(
        self, kind: bytes, some: Integers, facts: Integers, said: list[Part], key: Sequence[bytes | Spans]
    ) -> Answers:
        """Write decisions of a kind, each because of the fact in a line; `key` follows consumer and job."""
        causes, consumer = _causes(self._facts, facts), self._facts.span("data.consumer", facts)
        return write_answers(kind, some, causes, said, [consumer, b":", causes.subject, *key], self._params_hash)

    def _texts(self, nodes: Nodes) -> tuple[Spans, Spans]:
        """Return the names of nodes and the texts of their prices."""
        data = self._facts.data
        return Spans(data, nodes.name_starts, nodes.name_ends), Spans(data, nodes.text_starts, nodes.text_ends)


def _causes(facts: JobFacts, lines: Integers) -> Causes:
    """Return the facts in some lines as what decisions rest on."""
    id, subject, occurred_at = (facts.span(member, lines) for member in ("id", "subject", "occurred_at"))
    return Causes(lines, facts.times[lines], id, subject, occurred_at)


def _mask(lives: Lives, some: Integers) -> npt.NDArray[np.bool_]:
    mask = np.zeros(len(lives.starts), dtype=np.bool_)
    mask[some] = True
    return mask


def _sums(places: Integers, amounts: Integers, count: int) -> Integers:
    """Add amounts up by place; none of the sums reaches 2^63."""
    totals = np.zeros(count, dtype=np.int64)
    np.add.at(totals, places, amounts)
    return totals


def _join(parts: list[Part], life: Integers) -> Spans:
    """Write an item per row; return those of each life, with commas between. Each life has one at least."""
    items = spans_of(render_lines(parts, len(life)))
    first = np.flatnonzero(np.diff(life, prepend=-1))
    last = np.append(first[1:], len(life)) - 1 if len(first) else first
    # An item holds no line end.
    return Spans(items.data.replace(b"\n", b","), items.starts[first], items.ends[last])
