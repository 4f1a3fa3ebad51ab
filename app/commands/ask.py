"""Commands that ask the projections: balance, history, supply, report."""

from typing import Any

import click

from app.books import Books
from app.options import at_option, books_option
from app.render import Answer, format_options, render
from ledger.parameters import Parameters
from projections.position import format_position
from projections.read import AccountUnknown, read_balances, read_history, read_position, read_supply
from projections.reports import report_burns, report_jobs, report_refused

__all__ = ["balance", "history", "report", "supply"]


@click.command()
@click.argument("account", required=False)
@books_option
@at_option
@format_options
def balance(account: str | None, books: Books, at: str | None, form: str, as_json: bool) -> None:
    """Show what each account holds, now or at a past position.

    ACCOUNT is a name, or the beginning of names up to a colon (`consumer:`).

    \b
    $ omnisync balance burn:pending --data B
    account       vault   asset       debits        credits        balance
    burn:pending  escrow  OMNI   0.000000000  353.741531152  353.741531152
    at lane-0:14660,hub:337
    """
    with books.engine().connect() as connection:
        position = read_position(connection, at)
        balances = read_balances(connection, position, account)
    rows = [
        [line.key.account, line.key.vault, line.key.asset, line.debits, line.credits, line.net] for line in balances
    ]
    columns = ["account", "vault", "asset", "debits", "credits", "balance"]
    data = {
        "position": format_position(position),
        "balances": [dict(zip(columns, [*row[:3], *map(str, row[3:])], strict=True)) for row in rows],
    }
    render(Answer(data, columns, rows, [_standing(position)]), form, as_json, books.parameters().unit.decimals)


@click.command()
@click.argument("account")
@books_option
@at_option
@format_options
def history(account: str, books: Books, at: str | None, form: str, as_json: bool) -> None:
    """Show what moved an account, with its running balance.

    Accounts that nearly every entry moves (fees, burns, the outside) have one row per record.

    \b
    $ omnisync history payable:supplier:openb-node-0230 --data B --format csv
    occurred_at,event,subject,vault,asset,debit,credit,balance,position
    2027-01-24T08:02:52.000000Z,JobSettled,openb-pod-0026,escrow,OMNI,0,3684479167,3684479167,lane-0:267
    """
    with books.engine().connect() as connection:
        position = read_position(connection, at)
        movements = list(read_history(connection, position, account))
    if not movements:
        raise AccountUnknown(f"nothing has moved {account} up to {format_position(position)}")
    columns = ["occurred_at", "event", "subject", "vault", "asset", "debit", "credit", "balance", "position"]
    rows = [
        [
            line.occurred_at,
            line.kind,
            line.subject,
            line.key.vault,
            line.key.asset,
            line.debit,
            line.credit,
            line.balance,
            f"{line.log}:{line.sequence + 1}",
        ]
        for line in movements
    ]
    amounts = {"debit", "credit", "balance"}
    data = {
        "account": account,
        "position": format_position(position),
        "movements": [
            {name: str(cell) if name in amounts else cell for name, cell in zip(columns, row, strict=True)}
            for row in rows
        ],
    }
    render(Answer(data, columns, rows, [_standing(position)]), form, as_json, books.parameters().unit.decimals)


@click.command()
@books_option
@at_option
@format_options
def supply(books: Books, at: str | None, form: str, as_json: bool) -> None:
    """Show the supply by class.

    The classes sum to the total exactly.

    \b
    $ omnisync supply --data B
    class                            OMNI
    issued        1,000,000,000.000000000
    burned                    0.000000000
    total         1,000,000,000.000000000
    …
    """
    parameters = books.parameters()
    with books.engine().connect() as connection:
        position = read_position(connection, at)
        measured = read_supply(connection, position, parameters.unit.asset)
    names = (
        "issued", "burned", "total", "locked", "held", "pending_burn", "escrowed", "owed", "outside",
        "circulating", "liquid",
    )  # fmt: skip
    amounts = {name: getattr(measured, name) for name in names} | {"max": int(parameters.unit.cap)}
    data = {
        "asset": measured.asset,
        "decimals": parameters.unit.decimals,
        "position": format_position(position),
        **{name: str(amount) for name, amount in amounts.items()},
        **_reservations(parameters, ("genesis", "unit.cap", "unit.decimals")),
    }
    notes = [_standing(position), *_notes(data)]
    render(
        Answer(data, ["class", measured.asset], [list(item) for item in amounts.items()], notes),
        form,
        as_json,
        parameters.unit.decimals,
    )


@click.command()
@click.argument("kind", type=click.Choice(["jobs", "burns", "refused"]))
@books_option
@click.option("--period", metavar="2026Q4", help="Only the epochs of a quarter.")
@format_options
def report(kind: str, books: Books, period: str | None, form: str, as_json: bool) -> None:
    """Report on jobs, burns and fees per epoch, or what was refused.

    \b
    $ omnisync report burns --data B --period 2027Q1 --format csv
    epoch,settled,gross,burn,fee,net,pool,treasury
    2027-01-24,38,491665708317,9833314147,24583285402,457249108768,2458328540,22124956862
    …
    """
    parameters = books.parameters()
    with books.engine().connect() as connection:
        position = read_position(connection, None)
        found = {"jobs": report_jobs, "burns": report_burns, "refused": report_refused}[kind](connection, period)
    data: dict[str, Any] = {
        "report": kind,
        "period": period or "all",
        "asset": parameters.unit.asset,
        "decimals": parameters.unit.decimals,
        "position": format_position(position),
        **found.data(),
        **_reservations(parameters, ("job.fee_bps",)),
    }
    answer = Answer(data, found.columns, found.rows, [_standing(position), *_notes(data)])
    render(answer, form, as_json, parameters.unit.decimals if kind != "refused" else None)


def _standing(position: dict[str, int]) -> str:
    return f"at {format_position(position)}"


def _reservations(parameters: Parameters, keys: tuple[str, ...]) -> dict[str, Any]:
    """What an answer rests on that no source states or no chain proves."""
    return {"assumed": [key for key in keys if key in parameters.assumed], "unproven": ["deposits"]}


def _notes(data: dict[str, Any]) -> list[str]:
    return [
        *([f"assumed parameters: {', '.join(data['assumed'])}"] if data["assumed"] else []),
        "unproven: deposits are declared, not seen on a chain",
    ]
