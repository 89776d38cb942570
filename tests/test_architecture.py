"""Whether the house stands as ARCHITECTURE.md draws it: floors, strangers, doors, drivers, circles and sizes.

Every import counts: at the top of a file, inside a function, under `TYPE_CHECKING`.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent

FLOORS: dict[int, tuple[str, ...]] = {
    8: ("cli", "testing"),
    7: ("sagas", "console", "advice"),
    6: ("runtime",),
    5: ("outbox", "deadletters", "moving", "cqrs", "cdc"),
    4: ("brokers", "eventstore", "catalog"),
    3: ("schemas", "storage", "resilience", "observability"),
    2: ("events",),
    1: ("errors",),
}
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}

STANDARD = {*sys.stdlib_module_names, "annotationlib"}
"""The standard library, newer versions than this included."""

GROUND = {"errors", "events"}
"""Rooms that import nothing but the standard library and the serializer."""

EVERYWHERE = {"msgspec"}
IN_ROOMS = {"typer": {"cli"}, "click": {"cli"}, "rich": {"cli", "runtime", "testing"}, "pytest": {"testing"}}
"""Third-party packages that are no drivers, and where they may be imported."""

SHARED = {
    "brokers": {
        *(
            "",
            "assignment",
            "capabilities",
            "connect",
            "envelope",
            "holdings",
            "offsets",
            "placement",
            "places",
            "ports",
        ),
        "screening",
        *("arrivals", "reply_topics", "tls"),
    }
}
ADAPTERS = {"storage": {"sqlite", "postgres", "sqlalchemy", "django"}}
"""In `brokers` whatever is not shared is an adapter; elsewhere adapters are named."""

LONGEST_FUNCTION, LONGEST_FILE, LONGEST_CLASS, MOST_PARAMETERS = 60, 500, 300, 8


class Module(NamedTuple):
    """One file of the package, or of what surrounds it."""

    name: str
    path: str
    source: str
    nodes: Sequence[ast.stmt]
    """Its imports, functions and classes, wherever they stand in it."""

    @property
    def is_package(self) -> bool:
        return self.path.endswith("__init__.py")

    @property
    def room(self) -> str:
        parts = self.name.split(".")
        return parts[1] if parts[0] == "antiphon" and len(parts) > 1 else ""

    @property
    def inner(self) -> str:
        """What stands after the room's name: the module or folder in it, or nothing for its face."""
        return ".".join(self.name.split(".")[2:])


class Import(NamedTuple):
    """One name that one line imports; `target` is a module of the house, or a package from outside."""

    line: int
    target: str


class House:
    """The files of a tree, parsed, and who imports whom."""

    def __init__(self, modules: Sequence[Module]) -> None:
        self.modules = {module.name: module for module in modules}

    @classmethod
    def read(cls, *folders: str) -> House:
        files = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
        return cls([_parsed(path) for path in files if _is_ours(path)])

    @classmethod
    def drawn(cls, sources: Mapping[str, str]) -> House:
        """One of files that are not there."""
        return cls([_module(path, source) for path, source in sources.items()])

    def imports(self, module: Module) -> Iterator[Import]:
        for node in module.nodes:
            if isinstance(node, ast.Import):
                yield from (Import(node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                source = _absolute(module, node)
                for alias in node.names:
                    inner = f"{source}.{alias.name}"
                    yield Import(node.lineno, inner if inner in self.modules else source)

    def arrows(self) -> Iterator[tuple[Module, int, Module]]:
        """Every import of one module of the house by another."""
        for module in self.modules.values():
            for line, target in self.imports(module):
                if target in self.modules and target != module.name:
                    yield module, line, self.modules[target]


_LOOKED_AT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@cache  # every rule looks at the same files
def _parsed(path: Path) -> Module:
    return _module(str(path.relative_to(ROOT)), path.read_text("utf-8"))


def _module(path: str, source: str) -> Module:
    nodes = [node for node in ast.walk(ast.parse(source, path)) if isinstance(node, _LOOKED_AT)]
    return Module(_module_name(path), path, source, nodes)


def _is_ours(path: Path) -> bool:
    return not {"templates", ".peers", "__pycache__"} & set(path.parts)


def _module_name(path: str) -> str:
    return path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    parts = module.name.split(".")
    parts = parts[: len(parts) - node.level + module.is_package]
    return ".".join([*parts, *([node.module] if node.module else [])])


def unknown_rooms(house: House) -> Iterator[str]:
    """Every room stands on a floor."""
    for module in house.modules.values():
        if module.room not in {"", "__main__", *FLOOR_OF}:
            yield f"{module.path}: room {module.room!r} is on no floor; add it here and in ARCHITECTURE.md"


def upward_imports(house: House) -> Iterator[str]:
    """A floor imports only floors below it, rooms on one floor are strangers, and nobody inside uses the front door."""
    for module, line, target in house.arrows():
        here, there = FLOOR_OF.get(module.room, 9), FLOOR_OF.get(target.room, 9)
        if module.room != target.room and there >= here:
            yield f"{module.path}:{line}: {module.room} (floor {here}) imports {target.name} (floor {there})"


def _is_adapter(module: Module) -> bool:
    name = module.inner.split(".")[0]
    if module.room in SHARED:
        return name not in SHARED[module.room]
    return name in ADAPTERS.get(module.room, set())


def adapters_meeting(house: House) -> Iterator[str]:
    """Adapters of one room are strangers, and in their room only `connect` knows them."""
    for module, line, target in house.arrows():
        same = module.room == target.room and module.inner.split(".")[0] == target.inner.split(".")[0]
        if module.room == target.room and _is_adapter(target) and not same and module.inner != "connect":
            yield f"{module.path}:{line}: imports the adapter {target.name}"


def back_doors(house: House) -> Iterator[str]:
    """A room is entered by its face or a module directly in it, a folder in a room by its face; never by `_names`."""
    for module, line, target in house.arrows():
        folder, _, name = target.name.rpartition(".")
        hidden = name.startswith("_") and not module.name.startswith(folder)
        if hidden or (module.room != target.room and "." in target.inner):
            yield f"{module.path}:{line}: enters {folder} by {name}; ask its face"


def circles(house: House) -> Iterator[str]:
    """No module imports itself through others."""
    graph: dict[str, set[str]] = defaultdict(set)
    for module, _, target in house.arrows():
        graph[module.name].add(target.name)
    finished: set[str] = set()
    for start in sorted(graph):
        if circle := _circle_from(start, graph, finished, []):
            yield " -> ".join(circle)


def _circle_from(name: str, graph: Mapping[str, set[str]], finished: set[str], path: list[str]) -> list[str]:
    if name in path:
        return [*path[path.index(name) :], name]
    if name in finished:
        return []
    for target in sorted(graph.get(name, ())):
        if circle := _circle_from(target, graph, finished, [*path, name]):
            return circle
    finished.add(name)
    return []


def heavy_ground(house: House) -> Iterator[str]:
    """`errors` and `events` import only the standard library, the serializer, and each what is below it."""
    for module in house.modules.values():
        for line, target in house.imports(module) if module.room in GROUND else ():
            top = target.split(".")[0]
            if top not in {*STANDARD, *EVERYWHERE, "antiphon"}:
                yield f"{module.path}:{line}: imports {top}"


def scattered_drivers(house: House) -> Iterator[str]:
    """A driver is imported in exactly one file; what else comes from outside, only in its rooms."""
    files: dict[str, set[str]] = defaultdict(set)
    for module in house.modules.values():
        for line, target in house.imports(module):
            top = target.split(".")[0]
            if top in IN_ROOMS and module.room not in IN_ROOMS[top]:
                yield f"{module.path}:{line}: imports {top}, which belongs to {', '.join(sorted(IN_ROOMS[top]))}"
            if top == "sqlite3" or top not in {*STANDARD, *EVERYWHERE, *IN_ROOMS, "antiphon"}:
                files[top].add(module.path)
    for driver, places in sorted(files.items()):
        if len(places) > 1:
            yield f"{driver} is imported in {', '.join(sorted(places))}"


def broker_concerns(house: House) -> Iterator[str]:
    """No file is about one concern on one broker: an adapter's folder holds no tracing, metrics, docs or testing."""
    for module in house.modules.values():
        words = set(re.split(r"[._]", module.inner))
        if module.room == "brokers" and words & {
            "tracing",
            "metrics",
            "prometheus",
            "opentelemetry",
            "docs",
            "testing",
        }:
            yield f"{module.path}: a concern inside the brokers"


LAYOUT_RULES: tuple[Callable[[House], Iterator[str]], ...] = (
    unknown_rooms,
    upward_imports,
    adapters_meeting,
    back_doors,
    circles,
    heavy_ground,
    scattered_drivers,
    broker_concerns,
)


class Piece(NamedTuple):
    """A function or class and how many lines it takes without its docstring."""

    place: str
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    lines: int


def _pieces(house: House) -> Iterator[Piece]:
    for module in house.modules.values():
        for node in module.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                first = node.body[0]
                said = (first.end_lineno or 0) - first.lineno + 1 if ast.get_docstring(node) is not None else 0
                lines = (node.end_lineno or 0) - node.lineno + 1 - said
                yield Piece(f"{module.path}:{node.lineno}: {node.name}", node, lines)


def long_functions(house: House) -> Iterator[str]:
    """No function is longer than 60 lines."""
    for piece in _pieces(house):
        if not isinstance(piece.node, ast.ClassDef) and piece.lines > LONGEST_FUNCTION:
            yield f"{piece.place} has {piece.lines} lines"


def long_classes(house: House) -> Iterator[str]:
    """No class is longer than 300 lines."""
    for piece in _pieces(house):
        if isinstance(piece.node, ast.ClassDef) and piece.lines > LONGEST_CLASS:
            yield f"{piece.place} has {piece.lines} lines"


def long_files(house: House) -> Iterator[str]:
    """No file is longer than 500 lines."""
    for module in house.modules.values():
        if (lines := module.source.count("\n")) > LONGEST_FILE:
            yield f"{module.path} has {lines} lines"


def many_parameters(house: House) -> Iterator[str]:
    """No function takes more than 8 parameters, `self` apart."""
    for place, node, _ in _pieces(house):
        if isinstance(node, ast.ClassDef):
            continue
        names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        if (count := len([name for name in names if name not in ("self", "cls")])) > MOST_PARAMETERS:
            yield f"{place} takes {count} parameters"


SIZE_RULES = (long_functions, long_classes, long_files, many_parameters)


@pytest.mark.parametrize("rule", LAYOUT_RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps(rule: Callable[[House], Iterator[str]]) -> None:
    assert list(rule(House.read("src"))) == []


@pytest.mark.parametrize("rule", SIZE_RULES, ids=lambda rule: rule.__name__)
def test_everything_keeps(rule: Callable[[House], Iterator[str]]) -> None:
    assert list(rule(House.read("src", "examples", "benchmarks", "tests"))) == []


def test_most_functions_are_short() -> None:
    lines = [piece.lines for piece in _pieces(House.read("src")) if not isinstance(piece.node, ast.ClassDef)]
    assert median(lines) < 10
    assert quantiles(lines, n=10)[-1] < 30


def test_the_drawn_floors_are_the_kept_ones() -> None:
    rows = re.findall(r"^\| (\d) \| (.*?) \|", (ROOT / "ARCHITECTURE.md").read_text("utf-8"), re.MULTILINE)
    assert {int(floor): tuple(re.findall(r"`(\w+)`", rooms)) for floor, rooms in rows} == FLOORS


def test_every_file_that_the_drawing_names_is_there() -> None:
    named = re.findall(r"`(\w+/[\w/]+(?:\.py|/))`", (ROOT / "ARCHITECTURE.md").read_text("utf-8"))
    assert len(named) > 10
    homes = (ROOT / "src" / "antiphon", ROOT)
    assert [name for name in named if not any((home / name).exists() for home in homes)] == []


BAD: dict[Callable[[House], Iterator[str]], list[dict[str, str]]] = {
    unknown_rooms: [{"src/antiphon/attic/box.py": ""}],
    upward_imports: [
        {
            "src/antiphon/storage/a.py": "def f():\n    from antiphon.brokers import ports",
            "src/antiphon/brokers/ports.py": "",
        },
        {
            "src/antiphon/storage/a.py": "if TYPE_CHECKING:\n    import antiphon.schemas.b",
            "src/antiphon/schemas/b.py": "",
        },
        {"src/antiphon/runtime/a.py": "from antiphon import event", "src/antiphon/__init__.py": ""},
    ],
    adapters_meeting: [
        {"src/antiphon/brokers/kafka.py": "from .memory import x", "src/antiphon/brokers/memory.py": ""},
        {
            "src/antiphon/brokers/__init__.py": "from antiphon.brokers.embedded import E",
            "src/antiphon/brokers/embedded/__init__.py": "",
        },
    ],
    back_doors: [
        {
            "src/antiphon/cli/a.py": "from antiphon.brokers.embedded import log",
            "src/antiphon/brokers/embedded/log.py": "",
        },
        {"src/antiphon/cli/a.py": "import antiphon.brokers._inner", "src/antiphon/brokers/_inner.py": ""},
    ],
    circles: [
        {
            "src/antiphon/events/a.py": "from antiphon.events import b",
            "src/antiphon/events/b.py": "def f():\n    from antiphon.events.a import x",
        },
    ],
    heavy_ground: [{"src/antiphon/events/a.py": "import pydantic"}],
    scattered_drivers: [
        {"src/antiphon/storage/a.py": "import sqlite3", "src/antiphon/brokers/b.py": "from sqlite3 import Row"},
        {"src/antiphon/events/a.py": "import typer"},
    ],
    broker_concerns: [{"src/antiphon/brokers/kafka/tracing.py": ""}],
    long_functions: [{"src/antiphon/errors.py": "def f():\n" + "    x = 1\n" * 60}],
    long_classes: [{"src/antiphon/errors.py": "class A:\n" + "    x = 1\n" * 300}],
    long_files: [{"src/antiphon/errors.py": "x = 1\n" * 501}],
    many_parameters: [{"src/antiphon/errors.py": "def f(self, a, b, c, d, e, *, f, g, h, i): ..."}],
}


@pytest.mark.parametrize("rule", [*LAYOUT_RULES, *SIZE_RULES], ids=lambda rule: rule.__name__)
def test_each_rule_can_be_broken(rule: Callable[[House], Iterator[str]]) -> None:
    for sources in BAD[rule]:
        assert list(rule(House.drawn(sources))), sources
