"""The demo: a quarter from its facts to the identities, on books of its own."""

import tempfile
from contextlib import nullcontext
from pathlib import Path

import click
from sqlalchemy import Connection

from app.books import Books
from app.commands.write import load_preset
from app.demo import CONSUMERS, DAYS, Quarter, tell_quarter
from app.facts import to_line
from app.render import Answer, decimal_text, print_json, progress, render
from events.codec import decode
from events.decisions import JobSettled
from events.facts import UsageMetered
from ledger.parameters import Parameters, Unit
from ledger.post import post
from projections.position import format_position
from projections.read import balances_digest, read_balances, read_position, read_supply
from projections.reports import report_burns, report_jobs, report_refused
from settlement.identities import measure_identities
from settlement.lines import Line
from settlement.verify import fold_books

__all__ = ["demo"]

BATCH_LINES = 1_000


@click.command()
@click.option("--jobs", default=1_000, show_default=True, type=click.IntRange(1, 1_000_000), help="How many jobs.")
@click.option("--seed", default=1, show_default=True, help="Another seed, another quarter.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Keep the books in this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print only the totals, as JSON.")
def demo(jobs: int, seed: int, data: Path | None, as_json: bool) -> None:
    """Run a seeded quarter through the books and tie it out.

    Deposits, jobs on one node and on three, failures, an overdraft, late, doubled and broken reports: facts in, entries
    and balances out. Exit status 1 where an identity does not hold.

    \b
    $ omnisync demo --jobs 1000 --seed 1
    """
    with nullcontext(data) if data is not None else tempfile.TemporaryDirectory() as folder:
        story = _Story(Books(Path(folder)), as_json)
        held = story.run(jobs, seed)
    if not held:
        raise SystemExit(1)


class _Story:
    """Runs the quarter and tells it."""

    def __init__(self, books: Books, quiet: bool) -> None:
        self._books, self._quiet = books, quiet

    def run(self, jobs: int, seed: int) -> bool:
        """Tell the quarter; return whether every identity holds."""
        parameters = load_preset("omnisync")
        params_hash = self._books.create(parameters)
        self._say(f"1  Genesis. Books of {parameters.network}, parameters {params_hash[:12]}.")
        quarter = tell_quarter(parameters, jobs, seed)
        first = self._ingest(quarter)
        self._say(
            f"2  {DAYS} days of facts: {jobs} jobs by {len(CONSUMERS)} consumers on three streams;\n"
            f"   {quarter.late} reports come late, {quarter.twice} twice, one line is broken.\n   {first}"
        )
        with self._books.settlers() as settlers, progress("settle") as settled, progress("project") as projected:
            decided, _ = settlers.run(settled, projected)
        with self._books.engine().connect() as connection:
            self._say("3  Settled.")
            self._tell_example(quarter, parameters.unit)
            self._tell_settlement(connection, jobs, decided, parameters)
            return self._tie_out(connection, quarter, parameters)

    def _ingest(self, quarter: Quarter) -> str:
        lines = [Line(number, to_line(fact).rstrip(b"\n"), 1) for number, fact in enumerate(quarter.facts, 1)]
        broken = b'{"specversion":"1.0","amount":1.5}'
        lines.append(Line(len(lines) + 1, broken, len(broken)))
        chunks = (lines[at : at + BATCH_LINES] for at in range(0, len(lines), BATCH_LINES))
        receipts = list(self._books.ingest(chunks, "demo"))
        accepted, duplicates = (sum(getattr(r, name) for r in receipts) for name in ("accepted", "duplicates"))
        refused = [line for receipt in receipts for line in receipt.refused]
        named = "".join(f"\n   refused line {line.number}: {line.refusal.reason.value}" for line in refused)
        return f"{accepted} accepted, {duplicates} duplicates, {len(refused)} refused; durable.{named}"

    def _tell_settlement(self, connection: Connection, asked: int, decided: int, parameters: Parameters) -> None:
        self._say(f"\n   How the jobs ended, {decided} decisions in all:\n")
        decimals = parameters.unit.decimals
        jobs, refused = report_jobs(connection, None), report_refused(connection, None)
        self._table(Answer({}, jobs.columns, jobs.rows), decimals)
        by_rule = sorted({row[4] for row in refused.rows})
        unfunded = asked - jobs.totals["jobs"]
        self._say(f"\n   {unfunded} jobs were never funded: their consumer had not deposited enough.")
        self._say(f"   {len(refused.rows)} facts and lines were refused in all, by {', '.join(by_rule)}.")
        burns = report_burns(connection, None)
        self._say(f"\n4  {len(burns.rows) - 1} epochs with settlements; the first, the last, and all:\n")
        self._table(Answer({}, burns.columns, [burns.rows[0], burns.rows[-2], burns.rows[-1]]), decimals)
        self._tell_supply(connection, parameters.unit)

    def _tell_example(self, quarter: Quarter, unit: Unit) -> None:
        """Follow one usage report to the entry that it causes."""
        reports = {fact.id: fact for fact in quarter.facts if isinstance(fact, UsageMetered)}
        decisions = (event for record in self._books.lane().read(0) for line in record.lines if (event := decode(line)))
        settled = next(event for event in decisions if isinstance(event, JobSettled) and event.causation_id in reports)
        report, entry = reports[settled.causation_id or ""], post(settled)
        assert entry is not None
        self._say(
            f"   One of them, from report to entry: {report.data.node} ran {report.subject} for "
            f"{report.data.gpu_seconds:,} GPU-seconds.\n"
        )
        rows = [
            [posting.side.value, f"{posting.account}@{posting.vault}", posting.amount]
            for posting in sorted(entry.postings, key=lambda posting: posting.side, reverse=True)
        ]
        self._table(Answer({}, ["", "account@vault", unit.asset], rows), unit.decimals)

    def _tell_supply(self, connection: Connection, unit: Unit) -> None:
        position = read_position(connection, None)
        best = max(read_balances(connection, position, "payable:supplier:"), key=lambda line: line.net)
        self._say(
            f"\n   The busiest supplier is owed {decimal_text(best.net, unit.decimals)} {unit.asset} "
            f"({best.key.account}, in vault {best.key.vault})."
        )
        supply = read_supply(connection, position, unit.asset)
        names = ("issued", "burned", "total", "locked", "held", "pending_burn", "escrowed", "owed", "outside")
        self._say("\n5  Supply by class:\n")
        self._table(Answer({}, ["class", unit.asset], [[name, getattr(supply, name)] for name in names]), unit.decimals)

    def _tie_out(self, connection: Connection, quarter: Quarter, parameters: Parameters) -> bool:
        asset = parameters.unit.asset
        ledgers = self._books.ledgers()
        identities = measure_identities(asset, ledgers)
        before = fold_books(ledgers).digests(asset)
        stored = balances_digest(connection)
        self._ingest(quarter)
        with self._books.settlers() as settlers:
            settlers.run()
        after = fold_books(self._books.ledgers()).digests(asset)
        held = all(identity.holds for identity in identities) and before == after and stored == before.balances
        self._say("\n6  The identities, in base units:\n")
        rows = [
            [identity.name, str(identity.left), str(identity.right), "holds" if identity.holds else "BROKEN"]
            for identity in identities
        ]
        rows.append(
            [
                "rows in SQL = fold of the log (digest)",
                stored[:16],
                before.balances[:16],
                _verdict(stored == before.balances),
            ]
        )
        rows.append(
            [
                "all facts again change nothing (digest)",
                before.entries[:16],
                after.entries[:16],
                _verdict(before == after),
            ]
        )
        self._table(Answer({}, ["identity", "left", "right", ""], rows), None)
        position = format_position(read_position(connection, None))
        self._say(f"\n   The books stand at {position}, launched {parameters.launched_at[:10]}.")
        self._say(f"   Assumed: {', '.join(parameters.assumed)}.")
        self._say("   Unproven: deposits are declared, not seen on a chain.")
        if self._quiet:
            jobs = report_jobs(connection, None).data()
            print_json({"ok": held, "position": position, **jobs, "digests": after._asdict()})
        return held

    def _say(self, text: str) -> None:
        if not self._quiet:
            click.echo(text)

    def _table(self, answer: Answer, decimals: int | None) -> None:
        if not self._quiet:
            render(answer, "table", False, decimals)


def _verdict(holds: bool) -> str:
    return "holds" if holds else "BROKEN"
