"""Parameter sets: the rules' numbers as data, versioned by their hash.

A set is written as TOML, checked by these models, and kept in the books as canonical JSON; `params_hash` is the SHA-256
of that text. A rule's number never stands in code.
"""

import tomllib
from hashlib import sha256
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from events.codec import encode_json
from events.instant import parse_instant
from ledger.accounts import SupplyClass, kind_of
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
    if kind.supply in {SupplyClass.ISSUED, SupplyClass.BURNED}:
        raise ValueError("D22: the supply is allocated to accounts that hold it")
    return name


Amount = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,38})$")]
Bps = Annotated[int, Field(ge=0, le=BPS, strict=True)]
Seconds = Annotated[int, Field(ge=0, le=31_622_400, strict=True)]


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
    """When an epoch closes, and how far ahead of its stream a fact may be (D14)."""

    grace_seconds: Seconds
    horizon_seconds: Seconds


class Parameters(_Section):
    """A whole parameter set; `assumed` names the keys that no source states."""

    network: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
    launched_at: Annotated[str, AfterValidator(_check_instant)]
    assumed: tuple[str, ...] = ()
    unit: Unit
    genesis: Annotated[tuple[Allocation, ...], Field(min_length=1)]
    job: Job
    waterfall: Waterfall
    epoch: Epoch

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
        f"{'.'.join(map(str, fault['loc'])) or 'parameters'}: {fault['msg']}"
        + (f" (found {fault['input']!r:.60})" if fault["loc"] and fault["type"] != "missing" else "")
        for fault in error.errors()
    )
