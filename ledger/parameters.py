"""Parameter sets: the rules' numbers as data, versioned by their hash.

A set is written as TOML, checked by these models, and kept in the books as canonical JSON; `params_hash` is the SHA-256
of that text. A rule's number never stands in code.
"""

import tomllib
from hashlib import sha256
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from events.codec import encode_json
from events.instant import parse_instant
from ledger.accounts import FUND, TREASURY, SupplyClass, kind_of
from ledger.bps import BPS
from ledger.errors import ParametersInvalid

__all__ = [
    "Parameters",
    "Unit",
    "parameters_from_json",
    "parameters_from_toml",
    "parameters_hash",
    "parameters_json",
]


def _check_instant(text: str) -> str:
    parse_instant(text)
    return text


def _check_account(name: str) -> str:
    try:
        kind = kind_of(name)
    except KeyError as error:
        raise ValueError(str(error.args[0])) from None
    if kind.supply not in {SupplyClass.LOCKED, SupplyClass.OUTSIDE} and name not in {TREASURY, FUND}:
        raise ValueError("D22: the first supply goes to reserves, vesting, treasury, fund or external")
    return name


Amount = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,38})$")]
Bps = Annotated[int, Field(ge=0, le=BPS, strict=True)]
Seconds = Annotated[int, Field(ge=0, le=31_622_400, strict=True)]
SECONDS_PER_DAY = 86_400


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Unit(_Section):
    """The network's asset."""

    asset: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]{1,15}$")]
    decimals: Annotated[int, Field(ge=0, le=18, strict=True)]
    cap: Amount


class Allocation(_Section):
    """One line of the genesis."""

    account: Annotated[str, AfterValidator(_check_account)]
    amount: Amount


class Job(_Section):
    """How a job is priced and repeated (R2, D1, D21)."""

    burn_bps: Bps
    fee_bps: Annotated[int, Field(ge=0, le=2_000, strict=True)]
    attempts_max: Annotated[int, Field(ge=1, le=10, strict=True)]

    @model_validator(mode="after")
    def _supplier_keeps_something(self) -> "Job":
        if self.burn_bps + self.fee_bps >= BPS:
            raise ValueError("D1: burn_bps + fee_bps must be below 10,000")
        return self


class Waterfall(_Section):
    """Who shares the fees (R3)."""

    validator_bps: Bps


class Epoch(_Section):
    """When an epoch closes, how far ahead of its stream a fact may be, and how often the hub decides (D14).

    `cut_seconds` lie between two cuts; `return_cuts` cuts after the hub's verdict its lane carries it out.
    """

    grace_seconds: Seconds
    horizon_seconds: Seconds
    cut_seconds: Annotated[int, Field(ge=1, le=3_600, strict=True)]
    return_cuts: Annotated[int, Field(ge=1, le=86_400, strict=True)]

    @property
    def return_seconds(self) -> int:
        """How long after its cut a verdict is carried out; so far a lane may be ahead of the hub."""
        return self.cut_seconds * self.return_cuts

    @field_validator("cut_seconds")
    @classmethod
    def _cuts_fill_the_day(cls, cut_seconds: int) -> int:
        if SECONDS_PER_DAY % cut_seconds:
            raise ValueError(f"D14: cut_seconds must divide the day's {SECONDS_PER_DAY} seconds")
        return cut_seconds


class Chain(_Section):
    """Which network of the chain orders must name."""

    cluster: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,88}$")]


class Stake(_Section):
    """What a participant must stake and bring (R7), and how long stake takes to leave (D13)."""

    node_minimum: Amount
    validator_minimum: Amount
    vram_mib_minimum: Annotated[int, Field(ge=0, strict=True)]
    bandwidth_mbps_minimum: Annotated[int, Field(ge=0, strict=True)]
    unbonding_seconds: Seconds

    @field_validator("node_minimum", "validator_minimum")
    @classmethod
    def _something_is_at_stake(cls, minimum: str) -> str:
        if int(minimum) == 0:
            raise ValueError("R7: who serves has something at stake")
        return minimum


class SlashCauses(_Section):
    """What each cause costs, of the basis (D10)."""

    failed_challenge: Bps
    false_attestation: Bps
    quorum_dissent: Bps
    offline: Bps


class Slash(_Section):
    """How a case goes its way (D10, D11).

    `evidence_seconds`: so long after a job is over its facts still count as evidence. `ruling_seconds`: so long a
    disputed case, or one that rests on an accusation, waits for a ruling.
    """

    bps: SlashCauses
    reward_bps: Bps
    window_seconds: Seconds
    ruling_seconds: Seconds
    evidence_seconds: Seconds
    bond: Amount


class Rewards(_Section):
    """Which validator counts as honest (D16)."""

    duty_bps: Bps


class Foundation(_Section):
    """The keys that rule, and how many of them it takes (D11); without keys nothing is ruled upon."""

    keys: tuple[Annotated[str, Field(pattern=r"^[1-9A-HJ-NP-Za-km-z]{32,44}$")], ...]
    approvals: Annotated[int, Field(ge=1, le=16, strict=True)]

    @field_validator("keys")
    @classmethod
    def _keys_differ(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(keys)) != len(keys):
            raise ValueError("D11: each key stands once")
        return keys

    @field_validator("approvals")
    @classmethod
    def _keys_suffice(cls, approvals: int, rest: ValidationInfo) -> int:
        keys = rest.data.get("keys", ())
        if keys and approvals > len(keys):
            raise ValueError(f"D11: above the number of keys, {len(keys)}")
        return approvals


class Parameters(_Section):
    """A whole parameter set; `assumed` names the keys that no source states."""

    network: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
    launched_at: Annotated[str, AfterValidator(_check_instant)]
    assumed: tuple[str, ...] = ()
    unit: Unit
    genesis: Annotated[tuple[Allocation, ...], Field(min_length=1)]
    job: Job
    waterfall: Waterfall
    stake: Stake
    slash: Slash
    rewards: Rewards
    epoch: Epoch
    chain: Chain
    foundation: Foundation

    @model_validator(mode="after")
    def _assumed_are_keys(self) -> "Parameters":
        members = self.model_dump()
        for path in self.assumed:
            found: Any = members
            for name in path.split("."):
                found = found.get(name) if isinstance(found, dict) else None
            if found is None:
                raise ValueError(f"assumed names {path!r}, which is no key of a parameter set")
        return self

    @model_validator(mode="after")
    def _genesis_fits(self) -> "Parameters":
        allocated = sum(int(line.amount) for line in self.genesis)
        if allocated > int(self.unit.cap):
            raise ValueError(f"D22: the genesis allocates {allocated}, above the cap {self.unit.cap}")
        accounts = [line.account for line in self.genesis]
        if len(set(accounts)) != len(accounts):
            raise ValueError("D22: each account stands once in the genesis")
        return self


def parameters_from_toml(text: str) -> Parameters:
    """Read a parameter set from TOML. Raises: ParametersInvalid, naming key, value and rule."""
    try:
        members = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ParametersInvalid(f"not TOML: {error}") from error
    return _validate(members)


def parameters_from_json(text: str) -> Parameters:
    """Read a parameter set as it stands in the books. Raises: ParametersInvalid."""
    try:
        parameters = Parameters.model_validate_json(text)
    except ValidationError as error:
        raise ParametersInvalid(_say(error)) from error
    if parameters_json(parameters) != text:
        raise ParametersInvalid("the parameter set is not in canonical form")
    return parameters


def parameters_json(parameters: Parameters) -> str:
    """Write a parameter set canonically."""
    return encode_json(parameters.model_dump()).decode()


def parameters_hash(text: str) -> str:
    """Return the SHA-256 of a canonical parameter set, in hex."""
    return sha256(text.encode()).hexdigest()


def _validate(members: dict[str, Any]) -> Parameters:
    try:
        return Parameters.model_validate(members)
    except ValidationError as error:
        raise ParametersInvalid(_say(error)) from error


def _say(error: ValidationError) -> str:
    return "\n".join(
        f"{'.'.join(map(str, fault['loc'])) or 'parameters'}: {fault['msg']}{_found(fault)}" for fault in error.errors()
    )


def _found(fault: ErrorDetails) -> str:
    if fault["type"] != "missing":
        return f" (found {fault['input']!r:.60})" if fault["loc"] else ""
    keys = _SECTIONS.get(fault["loc"], ())
    return f" (the section [{fault['loc'][0]}] with {', '.join(keys)})" if keys else ""


_SECTIONS: dict[tuple[int | str, ...], tuple[str, ...]] = {
    (name,): tuple(field.annotation.model_fields)
    for name, field in Parameters.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, _Section)
}
