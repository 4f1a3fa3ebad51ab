"""Parameter sets: the shipped one loads and has its hash; a wrong one is refused by key, value and rule."""

import json
from collections.abc import Iterator
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import ParametersInvalid
from ledger.parameters import (
    Parameters,
    parameters_from_json,
    parameters_from_toml,
    parameters_hash,
    parameters_json,
)

PRESETS = Path(str(resources.files("ledger"))) / "presets"
OMNISYNC = (PRESETS / "omnisync.toml").read_text("utf-8")
# Changes only where a parameter of the shipped set does: then every set of books has another hash too.
OMNISYNC_HASH = "4c54ddb11526ddd97788b1d055825952077cc1e16534887c331bf9572ed5261a"


def but(old: str, new: str) -> str:
    assert old in OMNISYNC
    return OMNISYNC.replace(old, new, 1)


def refused(text: str) -> str:
    with pytest.raises(ParametersInvalid) as fault:
        parameters_from_toml(text)
    return str(fault.value)


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.toml")), ids=lambda path: path.stem)
def test_each_shipped_set_loads_and_is_named_as_its_file(path: Path) -> None:
    assert parameters_from_toml(path.read_text("utf-8")).network == path.stem


def test_the_shipped_set_says_what_the_rules_say() -> None:
    omnisync = parameters_from_toml(OMNISYNC)

    assert (omnisync.unit.asset, omnisync.unit.decimals, omnisync.unit.cap) == ("OMNI", 9, str(10**18))
    assert (omnisync.job.burn_bps, omnisync.job.fee_bps, omnisync.job.attempts_max) == (200, 500, 3)
    assert (omnisync.waterfall.validator_bps, omnisync.epoch.grace_seconds) == (1_000, 1_800)
    assert (omnisync.stake.node_minimum, omnisync.stake.validator_minimum) == (str(500 * 10**9), str(10_000 * 10**9))
    assert omnisync.stake.unbonding_seconds == 604_800
    assert omnisync.slash.bps.model_dump() == {
        "failed_challenge": 500, "false_attestation": 1_000, "quorum_dissent": 0, "offline": 0,
    }  # fmt: skip
    assert (omnisync.slash.reward_bps, omnisync.slash.window_seconds) == (5_000, 86_400)
    assert (omnisync.epoch.cut_seconds, omnisync.epoch.return_seconds) == (60, 600)
    assert sum(int(line.amount) for line in omnisync.genesis) == 10**18
    assert {line.account: int(line.amount) // 10**15 for line in omnisync.genesis} == {
        "vest:locked:team:foundation": 350,
        "treasury:ops": 200,
        "fund:ecosystem": 150,
        "external": 300,
    }


def test_each_assumed_key_is_a_key_of_the_set() -> None:
    omnisync = parameters_from_toml(OMNISYNC)
    members = json.loads(parameters_json(omnisync))

    for path in omnisync.assumed:
        value = members
        for name in path.split("."):
            assert name in value, path
            value = value[name]


def leaves(members: Any, path: str = "") -> Iterator[str]:
    if not isinstance(members, dict):
        yield path
        return
    for name, value in members.items():
        yield from leaves(value, f"{path}.{name}" if path else name)


def test_what_no_source_states_is_assumed_and_nothing_else() -> None:
    omnisync = parameters_from_toml(OMNISYNC)
    members = json.loads(parameters_json(omnisync))

    stated = {
        path
        for path in leaves(members)
        if not any(path == assumed or path.startswith(f"{assumed}.") for assumed in omnisync.assumed)
    }

    assert stated == {
        "assumed", "network", "unit.asset", "job.burn_bps", "waterfall.validator_bps", "stake.node_minimum",
        "stake.validator_minimum",
    }  # fmt: skip


def test_the_hash_of_the_shipped_set_is_stable() -> None:
    text = parameters_json(parameters_from_toml(OMNISYNC))

    assert parameters_hash(text) == sha256(text.encode()).hexdigest() == OMNISYNC_HASH


def test_comments_and_order_do_not_change_the_hash() -> None:
    head, _, tail = OMNISYNC.partition("[job]")
    job, _, rest = tail.partition("[waterfall]")
    moved = f"{head}[waterfall]{rest}\n[job]{job}\n# by the way"

    assert parameters_from_toml(moved) == parameters_from_toml(OMNISYNC)


def test_any_parameter_changes_the_hash() -> None:
    changed = parameters_from_toml(but("fee_bps = 500", "fee_bps = 501"))

    assert parameters_hash(parameters_json(changed)) != OMNISYNC_HASH


def test_a_set_goes_through_the_books_unchanged() -> None:
    omnisync = parameters_from_toml(OMNISYNC)

    assert parameters_from_json(parameters_json(omnisync)) == omnisync


def test_a_set_cannot_be_changed() -> None:
    omnisync: Parameters = parameters_from_toml(OMNISYNC)

    with pytest.raises(ValueError, match="frozen"):
        omnisync.job.fee_bps = 0


KEYS = ["1" * 32, "2" * 44]
WRONG: list[tuple[str, str, tuple[str, ...]]] = [
    ("fee above D1", but("fee_bps = 500", "fee_bps = 2001"), ("job.fee_bps", "2001", "less than or equal to 2000")),
    ("fee below zero", but("fee_bps = 500", "fee_bps = -1"), ("job.fee_bps", "-1", "greater than or equal to 0")),
    ("fee as text", but("fee_bps = 500", 'fee_bps = "500"'), ("job.fee_bps", "'500'", "valid integer")),
    ("fee as a float", but("fee_bps = 500", "fee_bps = 500.0"), ("job.fee_bps", "500.0", "valid integer")),
    ("fee as a truth", but("fee_bps = 500", "fee_bps = true"), ("job.fee_bps", "True", "valid integer")),
    ("burn above the whole", but("burn_bps = 200", "burn_bps = 10001"), ("job.burn_bps", "10001", "10000")),
    ("burn below zero", but("burn_bps = 200", "burn_bps = -200"), ("job.burn_bps", "-200", "greater than")),
    ("burn and fee are all", but("burn_bps = 200", "burn_bps = 9500"), ("job", "9500", "D1", "below 10,000")),
    ("burn and fee are more", but("burn_bps = 200", "burn_bps = 10000"), ("job", "10000", "D1")),
    ("no attempt", but("attempts_max = 3", "attempts_max = 0"), ("job.attempts_max", "0", "greater than")),
    ("eleven attempts", but("attempts_max = 3", "attempts_max = 11"), ("job.attempts_max", "11", "10")),
    (
        "share above the whole",
        but("validator_bps = 1000", "validator_bps = 10001"),
        ("waterfall.validator_bps", "10001"),
    ),
    ("grace below zero", but("grace_seconds = 1800", "grace_seconds = -1"), ("epoch.grace_seconds", "-1")),
    (
        "grace of two years",
        but("grace_seconds = 1800", "grace_seconds = 63244800"),
        ("epoch.grace_seconds", "31622400"),
    ),
    ("19 decimals", but("decimals = 9", "decimals = 19"), ("unit.decimals", "19", "18")),
    ("asset in small letters", but('"OMNI"', '"omni"'), ("unit.asset", "'omni'", "pattern")),
    (
        "cap as a number",
        but(f'cap = "{10**18}"', f"cap = {10**18}"),
        ("unit.cap", "1000000000000000000", "valid string"),
    ),
    ("cap as a float", but(f'cap = "{10**18}"', "cap = 1e18"), ("unit.cap", "1e+18", "valid string")),
    ("cap with a leading zero", but(f'"{10**18}"', '"01"'), ("unit.cap", "'01'", "pattern")),
    ("cap with a line end", but(f'"{10**18}"', '"1\\n"'), ("unit.cap", "pattern")),
    ("cap of 40 digits", but(f'"{10**18}"', f'"{"9" * 40}"'), ("unit.cap", "999", "pattern")),
    (
        "genesis above the cap",
        but('"300000000000000000"', '"300000000000000001"'),
        ("D22", "above the cap", str(10**18 + 1)),
    ),
    ("genesis amount below zero", but('"300000000000000000"', '"-1"'), ("genesis.3.amount", "'-1'", "pattern")),
    ("genesis amount as a float", but('"300000000000000000"', "3.0e17"), ("genesis.3.amount", "3e+17", "valid string")),
    (
        "genesis to an unknown account",
        but('"external"', '"bank:K"'),
        ("genesis.3.account", "bank:K", "chart of accounts"),
    ),
    (
        "genesis to the issue itself",
        but('"external"', '"supply:issued"'),
        ("genesis.3.account", "supply:issued", "D22"),
    ),
    ("genesis twice to one account", but('"external"', '"treasury:ops"'), ("D22", "stands once")),
    ("genesis to a consumer", but('"external"', '"consumer:K"'), ("genesis.3.account", "consumer:K", "D22")),
    ("genesis to a stake", but('"external"', '"stake:bonded:node:A"'), ("genesis.3.account", "stake:bonded", "D22")),
    ("genesis to the pool", but('"external"', '"validator_pool:carry"'), ("genesis.3.account", "D22", "treasury")),
    ("node stakes nothing", but('"500000000000"', '"0"'), ("stake.node_minimum", "'0'", "R7")),
    ("validator stakes nothing", but('"10000000000000"', '"0"'), ("stake.validator_minimum", "'0'", "R7")),
    (
        "stake as a number",
        but('"500000000000"', "500000000000"),
        ("stake.node_minimum", "500000000000", "valid string"),
    ),
    ("stake below zero", but('"500000000000"', '"-1"'), ("stake.node_minimum", "'-1'", "pattern")),
    ("memory below zero", but("mib_minimum = 8192", "mib_minimum = -1"), ("stake.vram_mib_minimum", "-1", "greater")),
    ("bandwidth as text", but("mbps_minimum = 100", 'mbps_minimum = "1"'), ("stake.bandwidth_mbps_minimum", "'1'")),
    (
        "unbonding of two years",
        but("unbonding_seconds = 604800", "unbonding_seconds = 63244800"),
        ("stake.unbonding_seconds", "63244800", "31622400"),
    ),
    (
        "slash above the whole",
        but("failed_challenge = 500", "failed_challenge = 10001"),
        ("slash.bps.failed_challenge", "10001", "10000"),
    ),
    ("unknown cause", but("offline = 0", "offline = 0\nlazy = 1"), ("slash.bps.lazy", "1", "not permitted")),
    ("missing cause", but("offline = 0", ""), ("slash.bps.offline", "Field required")),
    ("reward above the whole", but("reward_bps = 5000", "reward_bps = 10001"), ("slash.reward_bps", "10001")),
    ("bond as a number", but('bond = "100000000000"', "bond = 1"), ("slash.bond", "1", "valid string")),
    ("window below zero", but("window_seconds = 86400", "window_seconds = -1"), ("slash.window_seconds", "-1")),
    ("duty above the whole", but("duty_bps = 9000", "duty_bps = 10001"), ("rewards.duty_bps", "10001")),
    ("cluster with a space", but('"localnet"', '"local net"'), ("chain.cluster", "local net", "pattern")),
    ("no approval", but("approvals = 2", "approvals = 0"), ("foundation.approvals", "0", "greater than")),
    ("17 approvals", but("approvals = 2", "approvals = 17"), ("foundation.approvals", "17", "16")),
    ("key in hex", but("keys = []", f'keys = ["{"0" * 32}"]'), ("foundation.keys.0", "000", "pattern")),
    (
        "more approvals than keys",
        but("keys = []", f"keys = {KEYS[:1]}"),
        ("foundation.approvals", "2", "D11", "above the number of keys, 1"),
    ),
    ("key twice", but("keys = []", f"keys = {KEYS[:1] * 2}"), ("foundation.keys", "D11", "each key stands once")),
    ("cuts of no time", but("cut_seconds = 60", "cut_seconds = 0"), ("epoch.cut_seconds", "0", "greater than")),
    (
        "cuts that miss midnight",
        but("cut_seconds = 60", "cut_seconds = 61"),
        ("epoch.cut_seconds", "D14", "61", "divide the day"),
    ),
    ("verdicts at once", but("return_cuts = 10", "return_cuts = 0"), ("epoch.return_cuts", "0", "greater than")),
    ("assumed is no key", but('"job.fee_bps"', '"job.fees"'), ("assumed", "job.fees", "no key")),
    ("assumed is below a key", but('"job.fee_bps"', '"job.fee_bps.x"'), ("assumed", "job.fee_bps.x", "no key")),
    ("no genesis", OMNISYNC.replace("[[genesis]]", "[[lost]]"), ("genesis", "Field required")),
    ("unknown key", but("fee_bps = 500", "fee_bps = 500\nfee_bpd = 1"), ("job.fee_bpd", "1", "not permitted")),
    ("unknown section", OMNISYNC + "\n[mining]\nrate = 1\n", ("mining", "not permitted")),
    ("missing section", but("[waterfall]", "[job.waterfall]"), ("waterfall", "Field required")),
    ("missing key", but("burn_bps = 200", ""), ("job.burn_bps", "Field required")),
    ("launch without decimals", but("00.000000Z", "00Z"), ("launched_at", "2026-10-01T00:00:00Z")),
    ("launch on no day", but("2026-10-01", "2026-02-30"), ("launched_at", "2026-02-30")),
    ("launch as a date", but('"2026-10-01T00:00:00.000000Z"', "2026-10-01T00:00:00Z"), ("launched_at", "valid string")),
    ("name in capitals", but('"omnisync"', '"OmniSync"'), ("network", "'OmniSync'", "pattern")),
    ("no TOML", "network = ", ("not TOML",)),
    ("key doubled", but("fee_bps = 500", "fee_bps = 500\nfee_bps = 501"), ("not TOML", "line")),
    ("empty", "", ("network", "unit", "genesis", "job", "waterfall", "epoch", "Field required")),
]


@pytest.mark.parametrize(
    "account",
    [
        *("consumer", "consumer:", "consumer:a b", "consumer:a|b", "consumer:a:b", "consumer:é", "consumer:K\\n"),
        *("external:x", "treasury:ops:x", "vest:locked", "vest:locked:team", "vest:locked:team:a:b", "reserve"),
        *("supply:issued", "supply:issued:x", "supply:burned", "reserve:" + "x" * 89, ""),
    ],
)
def test_a_genesis_to_a_name_that_no_holder_can_have_is_refused(account: str) -> None:
    assert "genesis.3.account" in refused(but('"external"', f'"{account}"'))


@pytest.mark.parametrize(("text", "named"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_set_is_refused_by_key_value_and_rule(text: str, named: tuple[str, ...]) -> None:
    fault = refused(text)

    assert [part for part in named if part not in fault] == [], fault


def test_a_set_without_the_sections_about_stakes_is_told_what_to_add() -> None:
    fault = refused(OMNISYNC.partition("[stake]")[0])

    assert fault.splitlines() == [
        "stake: Field required (the section [stake] with node_minimum, validator_minimum, vram_mib_minimum, "
        "bandwidth_mbps_minimum, unbonding_seconds)",
        "slash: Field required (the section [slash] with bps, reward_bps, window_seconds, ruling_seconds, "
        "evidence_seconds, bond)",
        "rewards: Field required (the section [rewards] with duty_bps)",
        "chain: Field required (the section [chain] with cluster)",
        "foundation: Field required (the section [foundation] with keys, approvals)",
    ]


@pytest.mark.parametrize("keys", [KEYS, [*KEYS, "3" * 43]])
def test_a_foundation_may_have_more_keys_than_it_needs(keys: list[str]) -> None:
    assert parameters_from_toml(but("keys = []", f"keys = {keys}")).foundation.keys == tuple(keys)


def test_all_faults_are_told_at_once() -> None:
    text = but("fee_bps = 500", "fee_bps = 2001").replace("decimals = 9", "decimals = 19")

    assert len(refused(text).splitlines()) == 2


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "{", '{"network":1e999}', "[" * 100_000])
def test_no_json_that_is_not_a_set_is_taken_for_one(text: str) -> None:
    with pytest.raises(ParametersInvalid):
        parameters_from_json(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [(":", ": "), ('"fee_bps":500', '"fee_bps":500,"fee_bps":500'), ("{", "{ "), ('"omnisync"', '"\\u006fmnisync"')],
)
def test_a_set_in_the_books_is_canonical(old: str, new: str) -> None:
    text = parameters_json(parameters_from_toml(OMNISYNC))

    with pytest.raises(ParametersInvalid, match="canonical"):
        parameters_from_json(text.replace(old, new, 1))


def test_bounds_hold_for_a_set_in_the_books_too() -> None:
    text = parameters_json(parameters_from_toml(OMNISYNC))

    for old, new in (('"fee_bps":500', '"fee_bps":2001'), ('"fee_bps":500', '"fee_bps":"500"')):
        with pytest.raises(ParametersInvalid, match=r"job\.fee_bps"):
            parameters_from_json(text.replace(old, new))
