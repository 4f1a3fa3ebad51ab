"""Commands about epochs and what validators earn: epochs, rewards, apy."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import click
from sqlalchemy import Connection

from app.anybooks import AnyBooks
from app.options import at_option, books_option
from app.render import Answer, decimal_text, format_options, render
from app.reservations import notes, reservations, standing
from events.decisions import PayoutFinalized
from events.instant import format_instant, start_of_day
from ledger.accounts import payable
from ledger.parameters import Parameters
from ledger.yields import Measure, Yield, show_rate, volume_multiple
from projections.position import format_position
from projections.rates import RateLine, read_rates
from projections.read import AccountUnknown, read_history, read_position
from projections.rewards import FORFEITED, PAID, RELEASED, WITHHELD, EpochLine, RewardTerms, read_epochs, read_rewards
from projections.stakes import Case, Standing, read_cases, read_participants, read_standings

__all__ = ["apy", "epochs", "explain_rewards", "rewards"]

# R4: "about 18.4 % APY" is the whitepaper's projection at a volume that it does not state.
PROJECTIONS = {"omnisync": Fraction(184, 1_000)}
_EPOCH_AMOUNTS = (
    "gross", "burn", "fee", "pool", "treasury", "carry_in", "shareable", "shared", "withheld", "carry", "weight",
)  # fmt: skip
_UNPROVEN = ("deposits", "stakes")


def epoch_date(epoch: int) -> str:
    """Name an epoch by its date."""
    return format_instant(start_of_day(epoch))[:10]


@click.command()
@books_option
@at_option
@format_options
def epochs(books: AnyBooks, at: str | None, form: str, as_json: bool) -> None:
    """Show what each closed epoch settled, burned, charged and shared.

    fee = pool + treasury; shareable = shared + withheld + carry. What is shareable holds the pool, what was carried in,
    and the shares that were forfeited since.

    \b
    $ omnisync epochs --data B --format csv
    epoch,settled,gross,burn,fee,pool,treasury,carry_in,shareable,shared,withheld,carry,weight,snapshot
    …
    2026-10-02,1,19997222222,399944444,999861111,99986111,899875000,0,99986111,68411382,31574727,2,63333000000000,…
    …
    """
    parameters = books.parameters()
    with books.engine().connect() as connection:
        position = read_position(connection, at, history=True)
        lines = read_epochs(connection, position, parameters.unit.asset)
    columns = ["epoch", "settled", *_EPOCH_AMOUNTS, "snapshot"]
    rows = [_epoch_row(line, line.snapshot) for line in lines]
    data: dict[str, Any] = {
        "asset": parameters.unit.asset,
        "decimals": parameters.unit.decimals,
        "position": format_position(position),
        "epochs": [
            {
                "epoch": epoch_date(line.epoch),
                "starts_at": line.starts_at,
                "ends_at": line.ends_at,
                "seconds": line.seconds,
                "settled": line.settled,
                **{name: str(getattr(line, name)) for name in _EPOCH_AMOUNTS},
                "snapshot": line.snapshot,
            }
            for line in lines
        ],
        **reservations(parameters, ("job.fee_bps", "epoch.grace_seconds"), _UNPROVEN),
    }
    if form == "table":
        rows = [_epoch_row(line, line.snapshot[:12]) for line in lines]
    render(Answer(data, columns, rows, [standing(position), *notes(data)]), form, as_json, parameters.unit.decimals)


def _epoch_row(line: EpochLine, snapshot: str) -> list[Any]:
    return [epoch_date(line.epoch), str(line.settled), *(getattr(line, name) for name in _EPOCH_AMOUNTS), snapshot]


# --- rewards ---


@click.command()
@click.argument("validator")
@books_option
@at_option
@format_options
def rewards(validator: str, books: AnyBooks, at: str | None, form: str, as_json: bool) -> None:
    """Show a validator's share of each epoch, term by term, and why there is none where there is none.

    share = floor(pool × weight ÷ weights); the weight is the least that was bonded or frozen during the epoch.

    \b
    $ omnisync rewards V2 --data B --at 2026-10-03T01:00:00Z --format csv
    epoch,pool,weight,weights,share,duties,status,case,why
    …
    2026-10-02,99986111,20000000000000,63333000000000,31574727,0/0,withheld,c-v2,"the share waits for the case about …
    """
    parameters = books.parameters()
    with books.engine().connect() as connection:
        position = read_position(connection, at, history=True)
        lines = read_rewards(connection, position, parameters.unit.asset, [validator])
        known = {line.id for line in read_participants(connection, position) if line.role == "validator"}
        if validator not in known and not lines:
            raise AccountUnknown(f"no validator {validator} up to {format_position(position)}")
        why = _why(connection, position, parameters, validator)
        # Over all vaults: a sweep moves what is owed and pays nothing.
        moved = list(read_history(connection, position, payable("validator", validator), books.past()))
    columns = ["epoch", "pool", "weight", "weights", "share", "duties", "status", "case", "why"]
    rows = [
        [
            epoch_date(line.epoch),
            line.pool,
            line.weight,
            line.weights,
            line.amount,
            f"{line.answered}/{line.assigned}",
            line.status,
            line.case,
            why.say(line),
        ]
        for line in lines
    ]
    totals = {status: sum(line.amount for line in lines if line.status == status) for status in _STATUSES}
    totals |= {
        "owed": sum(move.credit - move.debit for move in moved),
        "paid_out": sum(move.debit for move in moved if move.kind == PayoutFinalized.__name__),
    }
    amounts = {"pool", "weight", "weights", "share"}
    data: dict[str, Any] = {
        "validator": validator,
        "asset": parameters.unit.asset,
        "decimals": parameters.unit.decimals,
        "position": format_position(position),
        "epochs": [
            {name: str(cell) if name in amounts else cell for name, cell in zip(columns, row, strict=True)}
            | {"assigned": line.assigned, "answered": line.answered, "reason": line.reason}
            for line, row in zip(lines, rows, strict=True)
        ],
        "totals": {name: str(amount) for name, amount in totals.items()},
        **reservations(parameters, ("job.fee_bps", "rewards.duty_bps", "slash"), (*_UNPROVEN, "payouts")),
    }
    said = ", ".join(f"{name} {decimal_text(amount, parameters.unit.decimals)}" for name, amount in totals.items())
    answer = Answer(data, columns, rows, [f"in all: {said}", standing(position), *notes(data)])
    render(answer, form, as_json, parameters.unit.decimals)


_STATUSES = (PAID, WITHHELD, RELEASED, FORFEITED)


def explain_rewards(
    connection: Connection, position: dict[str, int], parameters: Parameters, validator: str
) -> dict[int, str]:
    """Say by epoch why a validator's share is what it is; nothing where it was plainly paid."""
    why = _why(connection, position, parameters, validator)
    lines = read_rewards(connection, position, parameters.unit.asset, [validator])
    return {line.epoch: why.say(line) for line in lines}


def _why(connection: Connection, position: dict[str, int], parameters: Parameters, validator: str) -> "_Why":
    return _Why(
        parameters,
        read_standings(connection, position, "validator", validator),
        [case for case in read_cases(connection, position) if (case.role, case.accused) == ("validator", validator)],
    )


class _Why:
    """Says in a sentence why a share is what it is."""

    def __init__(self, parameters: Parameters, standings: Sequence[Standing], cases: Sequence[Case]) -> None:
        self._parameters, self._standings, self._cases = parameters, standings, cases
        self._by_id = {case.id: case for case in cases}

    def say(self, line: RewardTerms) -> str:
        """Say why, or nothing where the share was plainly paid."""
        case = self._by_id.get(line.case)
        about = f"the case about job {case.job} ({case.cause})" if case else "its case"
        match line.status:
            case "withheld":
                return f"the share waits for {about}, which is {case.status if case else 'open'}"
            case "released":
                return f"the share waited; {about} was reversed {case.decided_at if case else ''}".rstrip()
            case "forfeited":
                return f"{about} was upheld {case.decided_at if case else ''}: the share went back to the pool"
            case "excluded":
                return self._excluded(line)
        if not line.pool:
            return "the epoch had nothing to share"
        return "" if line.amount else "the share rounds down to nothing"

    def _excluded(self, line: RewardTerms) -> str:
        match line.reason:
            case "not_active_all_epoch":
                return f"it was not active all epoch: {self._standing(line.epoch)}"
            case "duties_unanswered":
                needed = self._parameters.rewards.duty_bps
                return (
                    f"it answered {line.answered} of {line.assigned} duties; {needed // 100}.{needed % 100:02} % are "
                    "needed (rewards.duty_bps)"
                )
            case "case_upheld":
                upheld = [case for case in self._cases if case.is_upheld and case.decided_epoch == line.epoch]
                said = ", ".join(f"job {case.job} ({case.cause})" for case in upheld)
                return "a case against it was upheld in the epoch" + (f": {said}" if said else "")
            case "no_weight":
                return "at some time of the epoch it had no stake bonded"
        return line.reason

    def _standing(self, epoch: int) -> str:
        """Tell how it stood when the epoch began, and each change up to its end."""
        start, end = format_instant(start_of_day(epoch)), format_instant(start_of_day(epoch + 1))
        first, *changes = self._standings
        before = [line for line in self._standings if line.occurred_at <= start]
        said = [_stood(before[-1])] if before and not before[-1].active else []
        if not before:
            said = [f"registered {first.occurred_at}", *([] if first.active else [_stood(first)])]
        said += [_stood(line) for line in changes if start < line.occurred_at < end]
        return ", ".join(said)


def _stood(line: Standing) -> str:
    return f"{'active' if line.active else f'suspended ({line.cause})'} from {line.occurred_at} on"


# --- apy ---


@click.command()
@click.option("--validator", metavar="ID", help="Of one validator instead of the network.")
@books_option
@at_option
@format_options
def apy(validator: str | None, books: AnyBooks, at: str | None, form: str, as_json: bool) -> None:
    """Show what staking yielded, per window, gross and net of slashes.

    Figures of the past, never a promise. APR (formula apr-1) is a ratio of sums over the window's epochs; APY (apy-1)
    restakes each epoch's reward. A share that waits for a case counts until the case is upheld. `stake` is the mean
    weight by time. `implied` is the yearly job volume, per unit of stake, that the gross APR needs at the fee and the
    share in force; `volume` is what it was.

    \b
    $ omnisync apy --data B
    window    measure  APR        APY        epochs  left_out             stake  implied   volume
    1d        gross    0.000534   0.000534   1       0         51,333.000000000  0.106730  0.106730
    …
    the projection of 0.184000 (R4), read as APR, needs a yearly job volume of 36.800000 × the stake, …
    """
    parameters = books.parameters()
    with books.engine().connect() as connection:
        position = read_position(connection, at, history=True)
        if validator is not None and validator not in {
            line.id for line in read_participants(connection, position) if line.role == "validator"
        }:
            raise AccountUnknown(f"no validator {validator} up to {format_position(position)}")
        lines = read_rates(connection, position, parameters.unit.asset, validator)
    fee_bps, validator_bps = parameters.job.fee_bps, parameters.waterfall.validator_bps
    # What the fees of that much work would yield: of a rate before slashes.
    multiples = [
        volume_multiple(line.apr.value, fee_bps, validator_bps)
        if line.apr.value is not None and line.apr.measure is Measure.GROSS
        else None
        for line in lines
    ]
    data: dict[str, Any] = {
        "of": validator or "network",
        "asset": parameters.unit.asset,
        "decimals": parameters.unit.decimals,
        "position": format_position(position),
        "windows": [_rate_data(line, multiple) for line, multiple in zip(lines, multiples, strict=True)],
        **_projection(parameters),
        **reservations(parameters, ("job.fee_bps", "rewards.duty_bps", "slash"), _UNPROVEN),
    }
    columns = ["window", "measure", "APR", "APY", "epochs", "left_out", "stake", "implied", "volume"]
    rows = [
        [
            line.apr.window.value,
            line.apr.measure.value,
            _shown(line.apr.value),
            _shown(line.apy.value),
            str(line.apr.epochs),
            str(line.apr.left_out),
            round(line.apr.denominator),
            _shown(multiple),
            _shown(line.volume),
        ]
        for line, multiple in zip(lines, multiples, strict=True)
    ]
    said = [f"of {data['of']}; APR by apr-1, APY by apy-1; rates are fractions: 0.184000 is 18.4 %"]
    if "projection" in data:
        told = data["projection"]
        said.append(
            f"the projection of {told['rate']} (R4), read as APR, needs a yearly job volume of {told['multiple']} × "
            f"the stake, at a fee of {fee_bps} bps and a validators' share of {validator_bps} bps"
        )
    render(
        Answer(data, columns, rows, [*said, standing(position), *notes(data)]), form, as_json, parameters.unit.decimals
    )


def _projection(parameters: Parameters) -> dict[str, Any]:
    rate = PROJECTIONS.get(parameters.network)
    if rate is None:
        return {}
    multiple = volume_multiple(rate, parameters.job.fee_bps, parameters.waterfall.validator_bps)
    return {"projection": {"rate": show_rate(rate), "exact": str(rate), "multiple": _shown(multiple)}}


def _rate_data(line: RateLine, multiple: Fraction | None) -> dict[str, Any]:
    return {
        "window": line.apr.window.value,
        "measure": line.apr.measure.value,
        "apr": _yield_data(line.apr),
        "apy": _yield_data(line.apy),
        "epochs": line.apr.epochs,
        "left_out": line.apr.left_out,
        "denominator": str(line.apr.denominator),
        "implied_volume": _ratio_data(multiple),
        "volume": _ratio_data(line.volume),
    }


def _yield_data(found: Yield[Any]) -> dict[str, Any]:
    exact = None if found.value is None else str(found.value)
    return {"formula": found.formula, "value": None if found.value is None else show_rate(found.value), "exact": exact}


def _ratio_data(ratio: Fraction | None) -> dict[str, str] | None:
    return None if ratio is None else {"value": show_rate(ratio), "exact": str(ratio)}


def _shown(rate: Any) -> str:
    return "–" if rate is None else show_rate(rate)
