"""Stakes, cases and rewards as rows: known from hand-made decisions, now and at every past position."""

from collections.abc import Iterator
from fractions import Fraction

import pytest
from sqlalchemy import Connection, Engine, select, update

from events.decisions import AllocatedLine, EpochClosed
from events.instant import day_of
from events.stakes import SlashReversed, SlashReversedData
from ledger import accounts
from ledger.accounts import SupplyClass, kind_of
from ledger.errors import LedgerInvariantBroken
from ledger.yields import Measure, Window
from projections.database import open_sqlite
from projections.network import network_rows
from projections.position import AtRefused
from projections.rates import read_rates
from projections.read import AccountUnknown, read_balances, read_position
from projections.reports import report_jobs
from projections.rewards import read_epochs, read_rewards
from projections.stakes import (
    read_cases,
    read_participants,
    read_standings,
    read_tickets,
    report_slashing,
    report_staking,
)
from projections.statement import JOBS, read_statement
from projections.tables import METADATA, job, slash_case, slash_step
from settlement.verify import verify_rows
from tests.projections.story import LAUNCH, OMNI, OWNER, Story, at, told
from tests.settlement.desk import MemoryLog

ASSET = "OMNI"
DAY_0 = day_of(LAUNCH)


@pytest.fixture(scope="module")
def story() -> Story:
    """Tell all four days."""
    return told()


@pytest.fixture
def connection(story: Story) -> Iterator[Connection]:
    """Open the rows of the whole story."""
    with story.engine().connect() as connection:
        yield connection


def prefix(story: Story, hub_end: int) -> Story:
    """Return the story as it was when the hub stood there."""
    earlier = Story()
    earlier.lane = story.lane
    for record in story.hub.records:
        if record.end <= hub_end:
            earlier.hub.records.append(record)
    return earlier


def position_of(story: Story, hub_end: int) -> dict[str, int]:
    return {"hub": hub_end, "lane-0": story.lane.end()}


def after_day(story: Story, day: int) -> dict[str, int]:
    """Return the position at which the day was closed."""
    closes = [
        record.end
        for record in story.hub.records
        if any(EpochClosed.__name__.encode() in line for line in record.lines)
    ]
    return position_of(story, closes[day])


# --- at every position ---


def test_what_is_answered_for_a_past_position_is_what_was_answered_then(story: Story, connection: Connection) -> None:
    for record in story.hub.records:
        position = position_of(story, record.end)
        with prefix(story, record.end).engine().connect() as then:
            for read in (read_participants, read_tickets, read_cases):
                assert read(connection, position) == read(then, position)
            for read_of in (read_rewards, read_epochs, read_rates):
                assert read_of(connection, position, ASSET) == read_of(then, position, ASSET)
            assert read_rates(connection, position, ASSET, "V2") == read_rates(then, position, ASSET, "V2")
            assert report_staking(connection, position) == report_staking(then, position)
            assert report_slashing(connection, position, None) == report_slashing(then, position, None)
            for owner in ("V1", "V3", OWNER, "K"):
                asked, held = (_accounts(where, position, owner) for where in (connection, then))
                assert asked == held


def _accounts(connection: Connection, position: dict[str, int], owner: str) -> object:
    try:
        return read_statement(connection, position, ASSET, owner, None).accounts
    except AccountUnknown:
        return None


def test_rows_that_were_kept_up_are_those_that_are_made_again(story: Story) -> None:
    engine = open_sqlite(None, writable=True)
    METADATA.create_all(engine)
    growing = Story()
    for record in story.hub.records:
        growing.hub.records.append(record)
        growing.lane.records = [line for line in story.lane.records if _time(line) <= _time(record)]
        growing.project(engine)

    checked, _ = verify_rows(engine, story.facts, [story.hub, story.lane])

    assert checked > 100


def _time(record: object) -> str:
    return str(record.header.network_time)  # type: ignore[attr-defined]


def test_total_stake_is_the_supply_class_at_every_position(story: Story, connection: Connection) -> None:
    for record in story.hub.records:
        position = position_of(story, record.end)
        sums = dict.fromkeys(SupplyClass, 0)
        for line in read_balances(connection, position):
            sums[kind_of(line.key.account).supply] += line.net

        totals = report_staking(connection, position).totals

        assert totals["class_staked"] == sums[SupplyClass.STAKED]
        assert totals["class_unbonding"] == totals["unbonding"] == sums[SupplyClass.UNBONDING]


def test_what_is_withheld_is_what_waits(story: Story, connection: Connection) -> None:
    for record in story.hub.records:
        position = position_of(story, record.end)
        waits: dict[str, int] = {}
        for line in read_rewards(connection, position, ASSET):
            if line.status == "withheld":
                name = accounts.withheld(line.case)
                waits[name] = waits.get(name, 0) + line.amount
        held: dict[str, int] = {}
        for balance in read_balances(connection, position):
            if balance.key.account.startswith(accounts.withheld("")) and balance.net:
                held[balance.key.account] = held.get(balance.key.account, 0) + balance.net

        assert waits == held


# --- rewards ---


def shares(connection: Connection, position: dict[str, int], day: int) -> dict[str, tuple[int, str, str]]:
    return {
        line.validator: (line.amount, line.status, line.case or line.reason)
        for line in read_rewards(connection, position, ASSET)
        if line.epoch == DAY_0 + day
    }


def test_a_share_waits_for_a_case_and_is_lost_with_it(story: Story, connection: Connection) -> None:
    absent = (0, "excluded", "not_active_all_epoch")
    paid = {"V1": (15_787_363, "paid", ""), "V3": (52_624_019, "paid", ""), "V4": absent, "V5": absent}

    assert shares(connection, after_day(story, 1), 1) == paid | {"V2": (31_574_727, "withheld", "c-v2")}
    assert shares(connection, after_day(story, 2), 1) == paid | {"V2": (31_574_727, "forfeited", "c-v2")}


def test_a_share_waits_for_a_case_and_is_released_with_it(story: Story, connection: Connection) -> None:
    assert shares(connection, after_day(story, 2), 2)["V3"] == (24_288_197, "withheld", "c-v3")
    assert shares(connection, after_day(story, 3), 2)["V3"] == (24_288_197, "released", "c-v3")
    assert shares(connection, after_day(story, 3), 2)["V2"] == (0, "excluded", "case_upheld")
    assert shares(connection, after_day(story, 3), 3)["V1"] == (0, "excluded", "duties_unanswered")


def test_a_share_that_a_reversal_hands_on_waits_for_the_other_case(story: Story) -> None:
    position = after_day(story, 2)
    rows = prefix(story, position["hub"]).engine()
    with rows.begin() as connection:
        # The case that it is handed on to, and the reversal that does so.
        (case,) = connection.execute(select(slash_case).where(slash_case.c.id == "c-v3")).mappings()
        connection.execute(slash_case.insert(), {**case, "id": "c-next"})
    after = position | {"hub": position["hub"] + 1}
    _reverse_in_rows(rows, accounts.withheld("c-next"), position["hub"])

    with rows.connect() as connection:
        assert shares(connection, after, 2)["V3"] == (24_288_197, "withheld", "c-next")
        assert shares(connection, position, 2)["V3"] == (24_288_197, "withheld", "c-v3")


def _reverse_in_rows(rows: Engine, shares_to: str, sequence: int) -> None:
    line = AllocatedLine(account=shares_to, amount="24288197", vault="fees")
    data = SlashReversedData(
        amount="0", asset=ASSET, bond="0", case="c-v3", released=(line,), returned=(), role="validator"
    )
    event = SlashReversed(
        id="aa" * 32,
        source="hub",
        key="k",
        subject="V3",
        occurred_at="2026-10-04T01:00:00.000000Z",
        schema_version=1,
        epoch=DAY_0 + 3,
        params_hash="aa" * 32,
        data=data,
    )
    with rows.begin() as connection:
        for table, row in network_rows(sequence, event):
            connection.execute(table.insert(), row)


def test_each_epoch_shares_what_it_had(connection: Connection, story: Story) -> None:
    lines = read_epochs(connection, after_day(story, 3), ASSET)

    assert [line.epoch - DAY_0 for line in lines] == [0, 1, 2, 3]
    for line in lines:
        assert line.fee == line.pool + line.treasury
        assert line.shareable == line.shared + line.withheld + line.carry
        assert line.seconds == 86_400
    assert (lines[1].pool, lines[1].carry, lines[1].weight) == (99_986_111, 2, 63_333 * OMNI)
    assert lines[2].carry_in == lines[2].shareable == 2 + 31_574_727


# --- yields ---


def test_a_forfeited_share_counts_where_it_is_shared_again(story: Story, connection: Connection) -> None:
    def apr(position: dict[str, int], window: Window, measure: Measure, of: str | None = None) -> Fraction | None:
        lines = read_rates(connection, position, ASSET, of)
        return next(line.apr.value for line in lines if (line.apr.window, line.apr.measure) == (window, measure))

    year, weights = Fraction(31_557_600, 86_400), (43_333, 43_333, 51_333)
    first = Fraction((15_787_363 + 52_624_019), 43_333 * OMNI) * year
    gained = 15_787_363 + 52_624_019 + 7_286_531 + 24_288_197 + 75_000_000
    whole = Fraction(gained, sum(weights) * OMNI) * year
    lost = Fraction(2_000 * OMNI, sum(weights) * OMNI) * year

    assert apr(after_day(story, 1), Window.DAY, Measure.GROSS) == first
    assert apr(after_day(story, 3), Window.LIFETIME, Measure.GROSS) == whole
    assert apr(after_day(story, 3), Window.WEEK, Measure.NET) == whole - lost
    own = Fraction(26_298_872, (20_000 + 18_000 + 18_000) * OMNI) * year
    assert apr(after_day(story, 3), Window.LIFETIME, Measure.GROSS, "V2") == own


def test_volume_is_what_the_gross_rate_implies_where_all_was_shared(story: Story, connection: Connection) -> None:
    line = read_rates(connection, after_day(story, 3), ASSET)[-2]

    assert (line.apr.epochs, line.apr.left_out) == (3, 1)
    assert line.volume == Fraction(19_997_222_222 + 15 * OMNI, 157_999 * OMNI) * Fraction(31_557_600, 86_400)


# --- stakes and cases ---


def test_a_participant_stands_as_its_last_change_says(story: Story, connection: Connection) -> None:
    def standing(day: int) -> dict[str, str]:
        return {line.id: line.status for line in read_participants(connection, after_day(story, day))}

    assert standing(0) == {"C": "active", "V1": "active", "V2": "active", "V3": "active", "V5": "suspended (stake)"}
    assert (standing(2)["C"], standing(2)["V4"]) == ("suspended (stake)", "suspended (stake)")
    assert standing(3)["V4"] == "active"
    changes = read_standings(connection, after_day(story, 3), "validator", "V4")
    assert [line.active for line in changes] == [True, False, True]


def test_a_ticket_is_open_until_it_ends(story: Story, connection: Connection) -> None:
    (before,) = read_tickets(connection, after_day(story, 2))
    (after,) = read_tickets(connection, after_day(story, 3))

    assert (before.status, before.paid) == ("open", 0)
    assert (after.status, after.paid) == ("cancelled", 1_000 * OMNI)


def test_a_dispute_sets_a_new_end_and_a_verdict_ends_it(story: Story, connection: Connection) -> None:
    def cases(day: int) -> dict[str, tuple[str, int, int]]:
        return {
            case.id: (case.status, case.paid, case.burned) for case in read_cases(connection, after_day(story, day))
        }

    assert cases(1) == {"c-node": ("proposed", 0, 0), "c-v2": ("proposed", 0, 0)}
    assert cases(2)["c-node"] == ("distributed", 12_500_000_000, 12_500_000_000)
    assert cases(2)["c-v3"][0] == "disputed"
    assert cases(3)["c-v3"] == ("reversed", 0, 0)


def test_slashes_that_the_accounts_do_not_say_are_refused(story: Story) -> None:
    engine = story.engine()
    with engine.begin() as connection:
        connection.execute(update(slash_step).where(slash_step.c.paid == 1_000 * OMNI).values(paid=999 * OMNI))

    with engine.connect() as connection, pytest.raises(LedgerInvariantBroken, match="payable:reporter"):
        report_slashing(connection, after_day(story, 3), "2026Q4")


def test_stake_of_nobody_is_not_left_out(story: Story) -> None:
    engine = story.engine()
    with engine.begin() as connection:
        connection.execute(METADATA.tables["ticket"].delete())

    with engine.connect() as connection, pytest.raises(LedgerInvariantBroken, match="accounts of nobody"):
        report_staking(connection, after_day(story, 2))


# --- jobs ---


def test_a_line_that_waited_is_added_to_its_job(connection: Connection) -> None:
    rows = {row["id"]: row for row in connection.execute(select(job)).mappings()}

    assert (rows["W"]["status"], rows["W"]["gross"], rows["W"]["refund"]) == ("settled", 15 * OMNI, 5 * OMNI)
    assert (rows["W"]["waiting"], rows["R"]["status"], rows["R"]["refund"]) == (0, "open", 10 * OMNI)
    assert report_jobs(connection, None).totals["settled"] == 2


def test_a_line_that_waits_is_told(story: Story) -> None:
    earlier = Story()
    earlier.hub = story.hub
    earlier.lane = MemoryLog("lane-0")
    # Up to the first settlement of W.
    earlier.lane.records = story.lane.records[:5]

    with earlier.engine().connect() as connection:
        totals = report_jobs(connection, None).totals

    assert (totals["waiting"], totals["gross"]) == (10 * OMNI, 19_997_222_222 + 10 * OMNI)


# --- statements ---


@pytest.mark.parametrize("owner", ["K", "V1", "V2", "V3", "V4", "C", OWNER, "A", "foundation"])
def test_a_statement_closes_with_the_balances(story: Story, connection: Connection, owner: str) -> None:
    position = read_position(connection, None)
    held = {(line.key.account, line.key.vault): line.net for line in read_balances(connection, position)}

    whole = read_statement(connection, position, ASSET, owner, None)
    quarter = read_statement(connection, position, ASSET, owner, "2026Q4")
    later = read_statement(connection, position, ASSET, owner, "2027Q1")

    assert [line.closing for line in quarter.accounts] == [line.closing for line in whole.accounts]
    assert [line.opening for line in later.accounts] == [line.closing for line in quarter.accounts]
    assert not any(line.movements for line in later.accounts)
    for line in whole.accounts:
        assert line.opening == 0
        if line.account != JOBS:
            assert line.closing == held[line.account, line.vault]


def test_an_owners_statement_is_that_of_all_it_owns(connection: Connection) -> None:
    found = read_statement(connection, read_position(connection, None), ASSET, OWNER, None)

    assert [line.id for line in found.participants] == ["C", "V1"]
    assert {"stake:bonded:node:C", "stake:bonded:validator:V1", "payable:validator:V1", "bond:c-v3"} <= {
        line.account for line in found.accounts
    }
    assert [case.id for case in found.cases] == ["c-node", "c-v3"]
    assert {line.validator for line in found.rewards} == {"V1"}


def test_a_quarter_has_what_was_open_in_it(connection: Connection) -> None:
    position = read_position(connection, None)

    assert [line.id for line in read_statement(connection, position, ASSET, "V4", "2026Q4").tickets] == ["t-v4"]
    assert read_statement(connection, position, ASSET, "V4", "2027Q1").tickets == []
    assert read_statement(connection, position, ASSET, "V4", "2026Q3").tickets == []
    assert read_statement(connection, position, ASSET, "V4", "2026Q3").accounts == []


def test_nobody_has_no_statement(connection: Connection) -> None:
    position = read_position(connection, None)

    with pytest.raises(AccountUnknown, match="no account, node or validator of v1"):
        read_statement(connection, position, ASSET, "v1", None)
    with pytest.raises(AtRefused):
        read_statement(connection, position, ASSET, "V1", "2026")


def test_the_story_is_told_in_order(story: Story) -> None:
    for log in (story.hub, story.lane):
        times = [_time(record) for record in log.records]
        assert times == sorted(times)
    assert at(0) == LAUNCH
