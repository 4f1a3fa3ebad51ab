"""Commands that ask the projections: balance, history, supply, report."""

from typing import Any

import click
from sqlalchemy import Connection

from app.anybooks import AnyBooks
from app.options import at_option, books_option
from app.render import Answer, decimal_text, format_options, render
from app.reservations import notes, reservations, standing
from projections.past import Past
from projections.position import format_position
from projections.read import AccountUnknown, read_balances, read_history, read_position, read_supply
from projections.reports import Report, report_burns, report_jobs, report_refused
from projections.stakes import report_slashing, report_staking

__all__ = ["balance", "history", "report", "supply"]


@click.command()
@click.argument("account", required=False)
@books_option
@at_option
@format_options
def balance(account: str | None, books: AnyBooks, at: str | None, form: str, as_json: bool) -> None:
    """Show what each account holds, now or at a past position.

    ACCOUNT is a name, or the beginning of names up to a colon (`consumer:`).

    \b
    $ omnisync balance burn:pending --data B
    account       vault   asset       debits        credits        balance
    burn:pending  escrow  OMNI   0.000000000  353.741531152  353.741531152
    at lane-0:14712,hub:372
    """
    with books.engine().connect() as connection:
        position = read_position(connection, at)
        balances = read_balances(connection, position, account, books.past())
    rows = [
        [line.key.account, line.key.vault, line.key.asset, line.debits, line.credits, line.net] for line in balances
    ]
    columns = ["account", "vault", "asset", "debits", "credits", "balance"]
    data = {
        "position": format_position(position),
        "balances": [dict(zip(columns, [*row[:3], *map(str, row[3:])], strict=True)) for row in rows],
    }
    render(Answer(data, columns, rows, [standing(position)]), form, as_json, books.parameters().unit.decimals)


@click.command()
@click.argument("account")
@books_option
@at_option
@format_options
def history(account: str, books: AnyBooks, at: str | None, form: str, as_json: bool) -> None:
    """Show what moved an account, with its running balance.

    Accounts that nearly every entry moves (fees, burns, the outside) have one row per record.

    \b
    $ omnisync history payable:supplier:openb-node-0230 --data B --format csv
    occurred_at,event,subject,vault,asset,debit,credit,balance,position
    2027-01-24T08:02:52.000000Z,JobSettled,openb-pod-0026,escrow,OMNI,0,3684479167,3684479167,lane-0:285
    …
    """
    with books.engine().connect() as connection:
        position = read_position(connection, at, history=True)
        movements = list(read_history(connection, position, account, books.past()))
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
    render(Answer(data, columns, rows, [standing(position)]), form, as_json, books.parameters().unit.decimals)


@click.command()
@books_option
@at_option
@format_options
def supply(books: AnyBooks, at: str | None, form: str, as_json: bool) -> None:
    """Show the supply by class.

    The classes sum to the total exactly. No wallet is disclosed in the books yet: what the foundation, insiders and
    market makers hold outside the vaults counts as outside, and `disclosed` is 0.

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
        measured = read_supply(connection, position, parameters.unit.asset, books.past())
    names = (
        "issued", "burned", "total", "locked", "held", "pending_burn", "staked", "unbonding", "escrowed", "owed",
        "outside", "disclosed", "sunk", "circulating", "liquid",
    )  # fmt: skip
    amounts = {name: getattr(measured, name) for name in names} | {"max": int(parameters.unit.cap)}
    data = {
        "asset": measured.asset,
        "decimals": parameters.unit.decimals,
        "position": format_position(position),
        **{name: str(amount) for name, amount in amounts.items()},
        **reservations(parameters, ("genesis", "unit.cap", "unit.decimals")),
    }
    said = [standing(position), *notes(data), "disclosed: no wallet yet"]
    render(
        Answer(data, ["class", measured.asset], [list(item) for item in amounts.items()], said),
        form,
        as_json,
        parameters.unit.decimals,
    )


# Reports that are sums kept as they stand now; and what the others rest on: assumed parameters, declared facts.
_NOW = ("jobs", "burns", "refused")
_RESTS_ON = {
    "staking": (("stake.unbonding_seconds", "slash"), ("stakes", "payouts")),
    "slashing": (("slash",), ("stakes",)),
}


@click.command()
@click.argument("kind", type=click.Choice([*_NOW, "staking", "slashing"]))
@books_option
@click.option("--period", metavar="2026Q4", help="Only the epochs of a quarter.")
@at_option
@format_options
def report(kind: str, books: AnyBooks, period: str | None, at: str | None, form: str, as_json: bool) -> None:
    """Report on jobs, burns and fees per epoch, what was refused, stakes, or slashes.

    The totals of stakes and slashes are held against the accounts; CSV and JSON have every term of a slash. Jobs, burns
    and refusals are told as they stand now: `--at` is for stakes and slashes.

    \b
    $ omnisync report burns --data B --period 2027Q1 --format csv
    epoch,settled,gross,burn,fee,net,pool,treasury
    2027-01-24,38,491665708317,9833314147,24583285402,457249108768,2458328540,22124956862
    …
    """
    if at is not None and kind in _NOW:
        raise click.UsageError(f"report {kind} keeps its sums as they stand now; --at is for staking and slashing")
    if period is not None and kind == "staking":
        raise click.UsageError("stakes stand at a position, not in a period: use --at")
    parameters = books.parameters()
    with books.engine().connect() as connection:
        position = read_position(connection, at)
        found = _find(kind, connection, position, period, books.past())
    keys, unproven = _RESTS_ON.get(kind, (("job.fee_bps",), ("deposits",)))
    data: dict[str, Any] = {
        "report": kind,
        "period": period or "all",
        "asset": parameters.unit.asset,
        "decimals": parameters.unit.decimals,
        "position": format_position(position),
        **found.data(),
        **reservations(parameters, keys, unproven),
    }
    said = [standing(position), *notes(data)]
    if kind == "slashing":
        said = [f"in all: {_totals(found, parameters.unit.decimals)}", *said]
    columns, rows = found.columns, found.rows
    if found.shown and form == "table":
        picked = [columns.index(name) for name in found.shown]
        columns, rows = found.shown, [[row[number] for number in picked] for row in rows]
    answer = Answer(data, columns, rows, said)
    render(answer, form, as_json, parameters.unit.decimals if kind != "refused" else None)


def _find(kind: str, connection: Connection, position: dict[str, int], period: str | None, past: Past | None) -> Report:
    match kind:
        case "staking":
            return report_staking(connection, position, past)
        case "slashing":
            return report_slashing(connection, position, period, past)
    return {"jobs": report_jobs, "burns": report_burns, "refused": report_refused}[kind](connection, period)


def _totals(found: Report, decimals: int) -> str:
    return ", ".join(
        f"{name} {decimal_text(total, decimals) if name in found.amounts else total}"
        for name, total in found.totals.items()
    )
