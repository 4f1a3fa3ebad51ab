"""Tells a made-up network's quarter, from its facts to the identities, on books of its own."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from textwrap import fill
from typing import Any

import click
from sqlalchemy import Connection

from app.books import Books
from app.commands.earnings import PROJECTIONS, epoch_date, explain_rewards
from app.facts import to_line
from app.network.actors import parameters_for
from app.network.story import Network, simulate
from app.network.truth import PlantedCase
from app.render import Answer, decimal_text, print_json, progress, render
from events.codec import decode
from events.decisions import JobSettled
from events.facts import UsageMetered
from ledger.parameters import Parameters, Unit
from ledger.post import post
from ledger.yields import Measure, Window, show_rate, volume_multiple
from projections.position import format_position
from projections.rates import read_rates
from projections.read import balances_digest, read_balances, read_position, read_supply
from projections.reports import report_burns, report_jobs, report_refused
from projections.rewards import EXCLUDED, read_rewards
from projections.stakes import Case, read_cases, report_slashing, report_staking
from settlement.identities import measure_identities
from settlement.lines import Line
from settlement.verify import fold_books

__all__ = ["tell_quarter"]

BATCH_LINES = 1_000
DAYS = 92
TOP_VALIDATORS = 5
# Columns of running text.
WIDTH = 110


def tell_quarter(folder: Path, jobs: int, seed: int, *, quiet: bool) -> bool:
    """Run a network's quarter through new books in a folder and tell it; return whether all is as it must be."""
    network = simulate(parameters_for(seed), jobs, seed, DAYS)
    return _Story(Books(folder), network, quiet).run()


class _Story:
    """Runs the quarter and tells it."""

    def __init__(self, books: Books, network: Network, quiet: bool) -> None:
        self._books, self._network, self._quiet = books, network, quiet
        self._parameters: Parameters = network.parameters
        self._unit: Unit = network.parameters.unit

    def run(self) -> bool:
        """Tell the quarter; return whether it was found as planted and every identity holds."""
        params_hash = self._books.create(self._parameters)
        self._say(f"1  Genesis. Books of {self._parameters.network}, parameters {params_hash[:12]}.")
        self._tell_network(self._ingest())
        with self._books.settlers() as settlers, progress("settle") as settled, progress("project") as projected:
            decided, _ = settlers.run(settled, projected)
        with self._books.engine().connect() as connection:
            position = read_position(connection, None)
            self._say("3  Settled.")
            self._tell_example()
            self._tell_jobs(connection, decided)
            found = self._tell_cheats(connection, position)
            self._tell_epochs(connection)
            self._tell_rewards(connection, position)
            self._tell_yields(connection, position)
            self._tell_supply(connection, position)
            return self._tie_out(connection, found)

    def _ingest(self) -> str:
        facts = self._network.facts
        lines = [Line(number, to_line(fact).rstrip(b"\n"), 1) for number, fact in enumerate(facts, 1)]
        broken = b'{"specversion":"1.0","amount":1.5}'
        lines.append(Line(len(lines) + 1, broken, len(broken)))
        chunks = (lines[at : at + BATCH_LINES] for at in range(0, len(lines), BATCH_LINES))
        receipts = list(self._books.ingest(chunks, "demo"))
        accepted, duplicates = (sum(getattr(r, name) for r in receipts) for name in ("accepted", "duplicates"))
        refused = [line for receipt in receipts for line in receipt.refused]
        named = "".join(f"\n   refused line {line.number}: {line.refusal.reason.value}" for line in refused)
        return f"{accepted} accepted, {duplicates} duplicates, {len(refused)} refused; durable.{named}"

    # --- what happened ---

    def _tell_network(self, ingested: str) -> None:
        cast, truth = self._network.cast, self._network.truth
        self._say(
            f"2  {DAYS} days of facts on three streams: {len(cast.nodes)} nodes and {len(cast.validators)} validators "
            f"stake\n   {self._money(truth.staked)}; {len(cast.consumers)} consumers deposit "
            f"{self._money(truth.deposited)} for\n   {truth.jobs.submitted} jobs. {truth.late} reports come late, "
            f"{truth.twice} twice, one line is broken.\n   {ingested}"
        )

    def _tell_example(self) -> None:
        """Follow one usage report to the entry that it causes."""
        reports = {fact.id: fact for fact in self._network.facts if isinstance(fact, UsageMetered)}
        records = (record for log in self._books.ledgers() for record in log.read(0))
        decisions = (event for record in records for line in record.lines if (event := decode(line)))
        settled = next(event for event in decisions if isinstance(event, JobSettled) and event.causation_id in reports)
        report, entry = reports[settled.causation_id or ""], post(settled)
        assert entry is not None
        self._say(
            f"   One of the jobs, from report to entry: {report.data.node} ran {report.subject} for "
            f"{report.data.gpu_seconds:,} GPU-seconds.\n"
        )
        rows = [
            [posting.side.value, f"{posting.account}@{posting.vault}", posting.amount]
            for posting in sorted(entry.postings, key=lambda posting: posting.side, reverse=True)
        ]
        self._table(["", "account@vault", self._unit.asset], rows)

    def _tell_jobs(self, connection: Connection, decided: int) -> None:
        jobs = report_jobs(connection, None)
        self._say(f"\n   How the jobs ended, {decided} decisions in all:\n")
        self._table(jobs.columns, jobs.rows)

    def _tell_cheats(self, connection: Connection, position: dict[str, int]) -> bool:
        """Hold what was planted against what the books found; return whether it is the same."""
        truth = self._network.truth
        cases = {case.id: case for case in read_cases(connection, position)}
        planted: dict[tuple[str, str, str], list[PlantedCase]] = {}
        for case in truth.cases:
            planted.setdefault((case.plot, case.role, "yes" if case.guilty else "no"), []).append(case)
        rows = []
        for key, some in sorted(planted.items()):
            found = [cases[case.id] for case in some if case.id in cases]
            upheld = [case for case in found if case.is_upheld]
            same = all(_is_found(case, cases.get(case.id)) for case in some)
            rows.append(
                [
                    *key, str(len(some)), str(len(found)), str(len(upheld)), str(len(found) - len(upheld)),
                    sum(case.amount for case in upheld), "as planted" if same else "DIFFERS",
                ]
            )  # fmt: skip
        columns = ["what was planted", "accused", "guilty", "planted", "found", "upheld", "reversed", "slashed", ""]
        self._say("\n4  Cheats and false charges: what was planted, and what the books found.\n")
        self._table(columns, rows)
        slashing, staking = report_slashing(connection, position, None).totals, report_staking(connection, position)
        hurt = {(case.role, case.accused) for case in cases.values() if case.is_upheld} & truth.untouched
        refused = Counter(row[4] for row in report_refused(connection, None).rows if row[2] != "demo")
        wanted = Counter(truth.refused.values())
        self._say(
            f"\n   Of {self._money(slashing['upheld'])} slashed {self._money(slashing['paid'])} went to whoever had "
            f"told, the rest is burned.\n   Of {len(truth.untouched)} honest participants {len(hurt)} lost stake. "
            f"{self._money(staking.totals['class_staked'])} are staked now.\n   Of facts that the rules do not grant "
            f"{wanted.total()} were planted, and {refused.total()} were refused, by these reasons:"
        )
        self._say(fill(", ".join(sorted(wanted)), WIDTH, initial_indent="   ", subsequent_indent="   "))
        foreign = cases.keys() - {case.id for case in truth.cases}
        return not hurt and not foreign and refused == wanted and all(row[-1] == "as planted" for row in rows)

    def _tell_epochs(self, connection: Connection) -> None:
        burns = report_burns(connection, None)
        self._say(f"\n5  {len(burns.rows) - 1} epochs with settlements; the first, the last, and all:\n")
        self._table(burns.columns, [burns.rows[0], burns.rows[-2], burns.rows[-1]])

    def _tell_rewards(self, connection: Connection, position: dict[str, int]) -> None:
        lines = read_rewards(connection, position, self._unit.asset)
        gained: Counter[str] = Counter()
        for line in lines:
            gained[line.validator] += line.gained
        best = sorted(gained.items(), key=lambda item: (-item[1], item[0]))[:TOP_VALIDATORS]
        self._say(f"\n6  Validators' rewards, {self._money(gained.total())} in all; the first {len(best)}:\n")
        stakes = {one.id: one.stake for one in self._network.cast.validators}
        rows = [[name, stakes[name], amount] for name, amount in best]
        self._table(["validator", "first stake", "rewards"], rows)
        # The one who asks: whoever was left out last, for another reason than that it was not there.
        asks = [line for line in lines if line.status == EXCLUDED and line.reason != "not_active_all_epoch"]
        if asks:
            line = asks[-1]
            why = explain_rewards(connection, position, self._parameters, line.validator)[line.epoch]
            self._say(f"\n   Why not me, asks {line.validator} on {epoch_date(line.epoch)}: {why}.")

    def _tell_yields(self, connection: Connection, position: dict[str, int]) -> None:
        rates = [
            line
            for line in read_rates(connection, position, self._unit.asset)
            if line.apr.window is Window.LIFETIME and line.apr.value is not None
        ]
        rows = [
            [line.apr.measure.value, _rate(line.apr.value), _rate(line.apy.value), str(line.apr.epochs),
             round(line.apr.denominator)]
            for line in rates
        ]  # fmt: skip
        self._say("\n7  What staking yielded, all epochs, gross and net of slashes:\n")
        self._table(["", "APR", "APY", "epochs", "mean stake"], rows)
        projected = PROJECTIONS[self._parameters.network]
        rules = self._parameters
        needed = volume_multiple(projected, rules.job.fee_bps, rules.waterfall.validator_bps)
        volumes = [line.volume for line in rates if line.apr.measure is Measure.GROSS and line.volume is not None]
        if needed is not None and volumes:
            self._say(
                f"\n   The projection of {show_rate(projected)} needs a yearly job volume of {show_rate(needed)} times "
                f"the stake;\n   this quarter's was {show_rate(volumes[0])} times."
            )

    def _tell_supply(self, connection: Connection, position: dict[str, int]) -> None:
        best = max(read_balances(connection, position, "payable:supplier:"), key=lambda line: line.net)
        paid = self._network.truth.paid_out
        self._say(
            f"\n8  Paid out: {self._money(paid)} to suppliers, owners of stake, consumers and reporters.\n"
            f"   Most is owed to {best.key.account}: {self._money(best.net)} in vault {best.key.vault}."
        )
        supply = read_supply(connection, position, self._unit.asset)
        names = (
            "issued", "burned", "total", "locked", "held", "pending_burn", "staked", "unbonding", "escrowed", "owed",
            "outside",
        )  # fmt: skip
        self._say("\n   Supply by class:\n")
        self._table(["class", self._unit.asset], [[name, getattr(supply, name)] for name in names])

    # --- the end ---

    def _tie_out(self, connection: Connection, found: bool) -> bool:
        asset = self._unit.asset
        ledgers = self._books.ledgers()
        identities = measure_identities(asset, ledgers)
        before = fold_books(ledgers).digests(asset)
        stored = balances_digest(connection)
        self._ingest()
        with self._books.settlers() as settlers:
            settlers.run()
        after = fold_books(self._books.ledgers()).digests(asset)
        held = all(identity.holds for identity in identities) and before == after and stored == before.balances
        rows = [
            [identity.name, str(identity.left), str(identity.right), _verdict(identity.holds)]
            for identity in identities
        ]
        sides = stored[:16], before.balances[:16]
        rows.append(["rows in SQL = fold of the log (digest)", *sides, _verdict(stored == before.balances)])
        sides = before.entries[:16], after.entries[:16]
        rows.append(["all facts again change nothing (digest)", *sides, _verdict(before == after)])
        truth = self._network.truth.jobs
        jobs = report_jobs(connection, None)
        for name in ("gross", "burn", "fee"):
            left, right = int(jobs.totals[name]), getattr(truth, name)
            held = held and left == right
            rows.append([f"jobs' {name} = as made up", str(left), str(right), _verdict(left == right)])
        self._say("\n9  The identities, in base units:\n")
        self._table(["identity", "left", "right", ""], rows, exact=True)
        position = format_position(read_position(connection, None))
        self._say(f"\n   The books stand at {position}, launched {self._parameters.launched_at[:10]}.")
        assumed = f"Assumed: {', '.join(self._parameters.assumed)}."
        self._say(fill(assumed, WIDTH, initial_indent="   ", subsequent_indent="   "))
        self._say("   Unproven: deposits, stakes, payouts, burns and sweeps are declared, not seen on a chain.")
        if self._quiet:
            print_json(
                {"ok": held and found, "position": position, **jobs.data(), "digests": after._asdict()},
            )
        return held and found

    def _money(self, amount: int) -> str:
        return f"{decimal_text(amount, self._unit.decimals)} {self._unit.asset}"

    def _say(self, text: str) -> None:
        if not self._quiet:
            click.echo(text)

    def _table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, exact: bool = False) -> None:
        if not self._quiet:
            render(Answer({}, columns, rows), "table", False, None if exact else self._unit.decimals)


def _is_found(planted: PlantedCase, found: Case | None) -> bool:
    """Tell whether a case stands in the books as it was planted."""
    return (
        found is not None
        and found.is_upheld == (planted.outcome == "upheld")
        and not found.is_open
        and (found.role, found.accused, found.bps) == (planted.role, planted.accused, planted.bps)
        and (found.basis, found.amount) == (planted.basis, planted.amount)
        and found.burned == planted.burned
    )


def _rate(value: Fraction | Decimal | None) -> str:
    return "–" if value is None else show_rate(value)


def _verdict(holds: bool) -> str:
    return "holds" if holds else "BROKEN"
