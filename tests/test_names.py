"""Our flat package names are ours alone in this environment, and are declared everywhere.

Names such as `events` are not reserved: another distribution may unpack a folder of the same
name over ours without a word. The environment is built from the lock, so a dependency that
ships one of our names is refused here before it is deployed.
"""

import tomllib
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parents[1]
DISTRIBUTION = "omnisync-ledger"
ROOTS = ("events", "ledger", "compute", "chain", "projections", "settlement", "app")
PRESENT = [name for name in ROOTS if (REPO / name / "__init__.py").is_file()]


@pytest.fixture(scope="module")
def tool() -> dict[str, Any]:
    """The tool tables of the project file."""
    tables: dict[str, Any] = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["tool"]
    return tables


@pytest.mark.parametrize("name", ROOTS)
def test_no_other_distribution_ships_a_root_package(name: str) -> None:
    owners = set(packages_distributions().get(name, ()))

    assert owners <= {DISTRIBUTION}, f"{name!r} is also shipped by {owners - {DISTRIBUTION}}"


@pytest.mark.parametrize("name", PRESENT)
def test_root_package_is_imported_from_this_repository(name: str) -> None:
    file = import_module(name).__file__

    assert file is not None, f"{name!r} has no file: a folder without __init__.py shadows it"
    assert Path(file).resolve().is_relative_to(REPO), f"{name!r} comes from {file}"


def test_every_root_package_is_shipped_checked_and_under_contract(tool: dict[str, Any]) -> None:
    present = set(PRESENT)

    assert set(tool["hatch"]["build"]["targets"]["wheel"]["packages"]) == present
    assert set(tool["importlinter"]["root_packages"]) == present
    assert present <= set(tool["mypy"]["files"])


def test_every_io_module_of_the_core_is_protected(tool: dict[str, Any]) -> None:
    contracts = tool["importlinter"]["contracts"]
    exempt = {rule.split(" -> ")[0] for c in contracts for rule in c.get("ignore_imports", ())}
    protected = {name for c in contracts for name in c.get("protected_modules", ())}
    present = {name for name in exempt if (REPO / f"{name.replace('.', '/')}.py").is_file()}

    assert present <= protected, f"the core could reach through {sorted(present - protected)}"
