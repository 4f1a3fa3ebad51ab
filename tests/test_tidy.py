"""The repository's own rules, as tests: length, purity of money, clocks, dead files, names.

Each rule is one test which lists every offence as `file:line: what`. A limit here may be
tightened when the code has come well below it; it is not loosened to let one file through.
Form (line length, import order, quotes) is the formatter's business and not repeated here.
"""

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path, PurePosixPath

from app.cli import COMMANDS

REPO = Path(__file__).resolve().parents[1]

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500
TEST_FILE_LINES_MAX = 700
ROOT_FILES_MAX = 10
DOCSTRING_PERCENT_MIN = 90

TOOLS = ("benchmarks/", "dev/", "tests/")
"""Folders which measure and drive the product: they may read clocks and the environment."""

RUN_BY_NAME = ("dev/", "docs/", "migrations/", "tests/")
"""Folders whose modules are started by a person, by alembic or by pytest, not imported."""

ENTRY_POINTS = {"app.__main__", "benchmarks.__main__", *(f"app.commands.{module}" for module in COMMANDS.values())}

VAGUE_NAMES = {"base", "common", "helper", "helpers", "manager", "managers", "util", "utils"}

CLOCKS = {
    "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter",
    "time.perf_counter_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today",
}  # fmt: skip

ENVIRONMENT = {"os.environ", "os.environb", "os.getenv"}

INEXACT = {"float16", "float32", "float64", "longdouble", "true_divide", "divide"}
"""NumPy's ways to a float."""

# In pieces, so that this file keeps the rule that it states.
REMINDERS = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)) + r")\b")
MACHINE_PATH = re.compile(
    r"(?<![\w.~}-])/(?:" + "|".join(("home", "Users", "root", "work", "workspace")) + r")/\w"
    r"|\b[A-Z]:\\Users\\"
)
REGISTRIES = ("pypi", "pythonhosted", "npmjs", "yarnpkg", "rubygems", "crates", "golang", "maven")
REGISTRY_HOST = re.compile(r"\b(?:" + "|".join(REGISTRIES) + r")\.(?:org|com|io|apache)\b")


@cache
def project_files() -> tuple[str, ...]:
    """Return every file that is tracked, or new and not ignored, as a path from the root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPO, check=True, capture_output=True, text=True).stdout
    return tuple(sorted({f for f in listed.split("\0") if f and (REPO / f).is_file()}))


@cache
def modules() -> dict[str, ast.Module]:
    """Return the syntax tree of every Python file, by path."""
    return {f: ast.parse((REPO / f).read_bytes(), f) for f in project_files() if f[-3:] == ".py"}


@cache
def all_nodes() -> dict[str, list[ast.AST]]:
    """Return every node of every Python file, by path."""
    return {path: list(ast.walk(tree)) for path, tree in modules().items()}


def nodes(skip: tuple[str, ...] = ()) -> Iterator[tuple[str, ast.AST]]:
    """Yield each node of each module with its path, leaving out paths that start with `skip`."""
    for path, found in all_nodes().items():
        if not path.startswith(skip):
            yield from ((path, node) for node in found)


def at(path: str, node: ast.AST, what: str) -> str:
    """Format one offence."""
    return f"{path}:{getattr(node, 'lineno', 1)}: {what}"


def refuse(rule: str, offences: list[str]) -> None:
    """Fail with the rule and every offence against it."""
    assert not offences, f"{rule}:\n  " + "\n  ".join(offences)


def test_functions_fit_on_a_screen() -> None:
    offences = []
    for path, node in nodes():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                offences.append(at(path, node, f"{node.name} has {lines} lines"))
    refuse(f"a function has at most {FUNCTION_LINES_MAX} lines", offences)


def test_files_are_short() -> None:
    offences = []
    for path in modules():
        limit = TEST_FILE_LINES_MAX if path.startswith("tests/") else FILE_LINES_MAX
        lines = len((REPO / path).read_text(encoding="utf-8").splitlines())
        if lines > limit:
            offences.append(f"{path}:{limit + 1}: {lines} lines, at most {limit}")
    refuse("a file has one duty and a bounded length", offences)


def inexact(node: ast.AST) -> str | None:
    """Name the way in which a node can make an amount inexact, if it does."""
    match node:
        case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
            return "true division"
        case ast.Constant(value=float()):
            return "float literal"
        case ast.Call(func=ast.Name(id="float")):
            return "float()"
        case ast.Attribute(attr=attr) if attr in INEXACT:
            return attr
    return None


def test_money_is_never_a_float() -> None:
    found = ((p, n, inexact(n)) for p, n in nodes() if p.startswith("ledger/"))
    refuse("ledger/ counts in integers and fractions", [at(p, n, w) for p, n, w in found if w])


def outside_names(node: ast.AST) -> Iterator[str]:
    """Yield the `module.name` pairs that an attribute or a from-import reaches."""
    if isinstance(node, ast.Attribute):
        owner = node.value
        name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
        yield f"{name}.{node.attr}"
    elif isinstance(node, ast.ImportFrom) and node.level == 0:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def uses(forbidden: set[str], allowed_in: str) -> list[str]:
    """List the uses of outside names anywhere but in one file and the tools."""
    return [
        at(path, node, name)
        for path, node in nodes(skip=(*TOOLS, allowed_in))
        for name in outside_names(node)
        if name in forbidden
    ]


def test_clocks_are_read_in_one_place() -> None:
    refuse("only app/clock.py reads a clock", uses(CLOCKS, "app/clock.py"))


def test_environment_is_read_in_one_place() -> None:
    rule = "only app/settings.py reads the environment"
    refuse(rule, uses(ENVIRONMENT, "app/settings.py"))
    # NumPy looks for it there as it is imported.
    refuse("only app/__main__.py adds to the environment", uses({"os.putenv"}, "app/__main__.py"))


def module_name(path: str) -> str:
    """Return the dotted name of a file, of the folder for an `__init__.py`."""
    return ".".join(PurePosixPath(path).with_suffix("").parts).removesuffix(".__init__")


def imported_names(path: str, node: ast.AST) -> Iterator[str]:
    """Yield every dotted name that a node could import; a string may name a lazy import."""
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            above = PurePosixPath(path).parts[:-level] if level else ()
            source = ".".join((*above, *([module] if module else [])))
            yield source
            yield from (f"{source}.{alias.name}" for alias in names)
        case ast.Constant(value=str(text)):
            yield text


def test_every_module_is_imported_somewhere() -> None:
    alive = set(ENTRY_POINTS)
    for path, node in nodes():
        alive.update(name for name in imported_names(path, node) if name != module_name(path))
    offences = [
        f"{path}:1: nothing imports {module_name(path)}"
        for path in modules()
        if not path.startswith(RUN_BY_NAME) and not path.endswith("__init__.py")
        if module_name(path) not in alive
    ]
    refuse("a module is imported or is an entry point", offences)


def test_every_module_has_a_docstring() -> None:
    offences = [f"{p}:1: no docstring" for p, t in modules().items() if not ast.get_docstring(t)]
    refuse("a module says what it owns", offences)


def test_public_names_have_docstrings() -> None:
    definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    public = [
        (path, node)
        for path, tree in modules().items()
        if not path.startswith(("tests/", "migrations/"))
        for node in tree.body
        if isinstance(node, definitions) and not node.name.startswith("_")
    ]
    bare = [at(p, n, f"{n.name} has no docstring") for p, n in public if not ast.get_docstring(n)]
    enough = 100 * (len(public) - len(bare)) >= DOCSTRING_PERCENT_MIN * len(public)
    rule = f"{DOCSTRING_PERCENT_MIN} % of public names have a docstring, {len(bare)} have none"
    refuse(rule, [] if enough else bare)


def test_modules_are_named_for_what_they_own() -> None:
    offences = [
        f"{path}:1: a vague name" for path in modules() if VAGUE_NAMES & set(PurePosixPath(path).with_suffix("").parts)
    ]
    refuse(f"no module is called any of {sorted(VAGUE_NAMES)}", offences)


def lines_that(offend: Callable[[str], object], suffix: str = "") -> list[str]:
    """List the lines of the project's text files for which `offend` says yes."""
    offences = []
    for path in project_files():
        raw = (REPO / path).read_bytes() if path.endswith(suffix) else b""
        if b"\0" not in raw:
            lines = enumerate(raw.decode("utf-8", "replace").splitlines(), start=1)
            offences += [f"{path}:{n}: {text.strip()[:80]}" for n, text in lines if offend(text)]
    return offences


def test_no_reminders_are_left_in_the_code() -> None:
    refuse("a reminder belongs in the tracker", lines_that(REMINDERS.search, ".py"))


def test_no_file_names_a_machine_or_a_registry() -> None:
    here = f"{REPO}/"
    local = lines_that(lambda text: here in text or MACHINE_PATH.search(text))
    refuse("paths are relative to the repository", local)
    refuse("the locks carry hashes, not addresses", lines_that(REGISTRY_HOST.search))


def test_root_is_small_and_has_its_front_pages() -> None:
    root = [f for f in project_files() if "/" not in f and not f.startswith(".")]
    assert len(root) <= ROOT_FILES_MAX, f"{len(root)} files in the root: {root}"
    assert {"README.md", "CHANGELOG.md"} <= set(root), f"a front page is missing among {root}"
