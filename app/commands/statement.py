"""The command that tells one party all that the books hold of it."""

from dataclasses import asdict
from typing import Any

import click

from app.anybooks import AnyBooks
from app.commands.earnings import epoch_date
from app.options import at_option, books_option
from app.render import Answer, Section, format_options, render
from app.reservations import notes, reservations, standing
from projections.position import format_position
from projections.read import read_position
from projections.stakes import case_terms
from projections.statement import Statement, read_statement

__all__ = ["statement"]

_COLUMNS = ["account", "vault", "asset", "what", "count", "debit", "credit", "balance"]
_REWARD_AMOUNTS = ("pool", "weight", "weights", "amount")


@click.command()
@click.argument("owner")
@books_option
@click.option("--period", metavar="2026Q4", help="Only the epochs of a quarter.")
@at_option
@format_options
def statement(owner: str, books: AnyBooks, period: str | None, at: str | None, form: str, as_json: bool) -> None:
    """Show all that the books hold of a consumer, a node, a validator or an owner of stake.

    OWNER is an id, or the public key that owns nodes and validators. Each account has its opening, what moved it by
    kind, and its closing; then jobs, stakes, tickets, slashes and rewards. CSV holds the accounts alone, JSON
    everything. Jobs are told as they stand now, whatever `--at` says.

    \b
    $ omnisync statement K --data B --period 2026Q4 --format csv
    account,vault,asset,what,count,debit,credit,balance
    consumer:K,escrow,OMNI,opening,,,,0
    consumer:K,escrow,OMNI,DepositCredited,1,0,100000000000,
    …
    """
    parameters = books.parameters()
    with books.engine().connect() as connection:
        position = read_position(connection, at, history=True)
        found = read_statement(connection, position, parameters.unit.asset, owner, period, books.past())
    data: dict[str, Any] = {
        "owner": owner,
        "period": period or "all",
        "asset": parameters.unit.asset,
        "decimals": parameters.unit.decimals,
        "position": format_position(position),
        **_data(found),
        **reservations(
            parameters, ("job.fee_bps", "slash", "stake.unbonding_seconds"), ("deposits", "stakes", "payouts")
        ),
    }
    answer = Answer(data, _COLUMNS, _rows(found), [standing(position), *notes(data)], _sections(found))
    render(answer, form, as_json, parameters.unit.decimals)


def _rows(found: Statement) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for line in found.accounts:
        of = [line.account, line.vault, line.asset]
        rows.append([*of, "opening", "", "", "", line.opening])
        for kind, moved in line.movements.items():
            rows.append([*of, kind, str(moved.count), moved.debit, moved.credit, ""])
        rows.append([*of, "closing", "", "", "", line.closing])
    return rows


def _sections(found: Statement) -> list[Section]:
    return [
        Section(
            "jobs",
            ["status", "jobs", "gross", "refund", "waiting"],
            [
                [status, str(sums["jobs"]), sums["gross"], sums["refund"], sums["waiting"]]
                for status, sums in found.jobs.items()
            ],
        ),
        Section(
            "nodes and validators",
            ["role", "id", "owner", "status", "since"],
            [[line.role, line.id, line.owner, line.status, line.since] for line in found.participants],
        ),
        Section(
            "unbonding tickets",
            ["ticket", "of", "ordered_at", "matures_at", "status", "amount", "paid"],
            [
                [line.id, line.participant, line.ordered_at, line.matures_at, line.status, line.amount, line.paid]
                for line in found.tickets
            ],
        ),
        Section(
            "slash cases",
            ["case", "accused", "cause", "job", "status", "ends_at", "basis", "amount", "paid", "burned"],
            [
                [
                    case.id, case.accused, case.cause, case.job, case.status, case.ends_at, case.basis, case.amount,
                    case.paid, case.burned,
                ]
                for case in found.cases
            ],
        ),
        Section(
            "rewards",
            ["epoch", "validator", "status", "weight", "weights", "share"],
            [
                [epoch_date(line.epoch), line.validator, line.status, line.weight, line.weights, line.amount]
                for line in found.rewards
            ],
        ),
    ]  # fmt: skip


def _data(found: Statement) -> dict[str, Any]:
    return {
        "accounts": [
            {
                "account": line.account,
                "vault": line.vault,
                "asset": line.asset,
                "opening": str(line.opening),
                "movements": [
                    {"kind": kind, "count": moved.count, "debit": str(moved.debit), "credit": str(moved.credit)}
                    for kind, moved in line.movements.items()
                ],
                "closing": str(line.closing),
            }
            for line in found.accounts
        ],
        "jobs": {
            status: {name: value if name == "jobs" else str(value) for name, value in sums.items()}
            for status, sums in found.jobs.items()
        },
        "participants": [asdict(line) | {"minimum": str(line.minimum)} for line in found.participants],
        "tickets": [asdict(line) | {"amount": str(line.amount), "paid": str(line.paid)} for line in found.tickets],
        "cases": [{name: str(term) for name, term in case_terms(case).items()} for case in found.cases],
        "rewards": [
            asdict(line)
            | {"epoch": epoch_date(line.epoch)}
            | {name: str(getattr(line, name)) for name in _REWARD_AMOUNTS}
            for line in found.rewards
        ],
    }
