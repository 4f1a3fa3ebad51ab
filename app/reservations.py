"""What an answer rests on that no source states or no chain proves, and how it is said."""

from collections.abc import Mapping, Sequence
from typing import Any

from ledger.parameters import Parameters
from projections.position import format_position

__all__ = ["notes", "reservations", "standing"]


def standing(position: Mapping[str, int]) -> str:
    """Say where an answer stands."""
    return f"at {format_position(position)}"


def reservations(
    parameters: Parameters, keys: Sequence[str], unproven: Sequence[str] = ("deposits",)
) -> dict[str, Any]:
    """Return which of the parameters that an answer rests on are assumed, and which of its facts are only declared."""
    return {"assumed": [key for key in keys if key in parameters.assumed], "unproven": list(unproven)}


def notes(data: Mapping[str, Any]) -> list[str]:
    """Say the reservations of an answer in words."""
    return [
        *([f"assumed parameters: {', '.join(data['assumed'])}"] if data["assumed"] else []),
        f"unproven: {', '.join(data['unproven'])} are declared, not seen on a chain",
    ]
