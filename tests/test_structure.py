"""The shape of the tree: who may import whom, no cycles, and files that can be read in one sitting.

Everything here is read from the files themselves, so a new file is held to it without being listed.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "agentr_lite": ROOT / "agentr_lite",
    "agentr_lite_tui": ROOT / "tui",
    "agentr_lite_recipes": ROOT / "recipes",
}
"""Import name to folder of each of our packages."""

MOST_LINES = 450
MOST_LINES_OF_A_TEST = 500
MOST_ROOT_MODULES = 8

LAYERS: dict[str, tuple[str, ...]] = {
    "core": (),
    "console": ("core",),
    "recipe": ("core",),
    "envs": ("core",),
    "agent": ("core", "envs"),
    "actors": ("core", "console"),
    "convert": ("core", "console", "actors"),
    "store": ("core",),
    "metrics": ("core", "store"),
    "search": ("core", "recipe", "envs", "agent", "actors", "store"),
    "splice": ("core", "recipe", "envs", "agent", "actors", "store"),
    "imitate": ("core", "console", "recipe", "envs", "agent", "actors", "store"),
    # Good trajectories are chosen in one place, for export as for training.
    "train": ("core", "console", "recipe", "agent", "actors", "convert", "store", "splice"),
    "evaluate": ("core", "recipe", "envs", "agent", "actors", "store", "metrics"),
    "report": ("core", "console", "recipe", "agent", "store", "metrics"),
    "tui": ("core", "console", "recipe", "envs", "agent", "store", "metrics", "report"),
}
"""Package -> the packages of ours that it may import."""
TOP = ("runs", "scale", "serving", "api", "study", "cli", "starter", "__main__")
"""Packages above the layers. Each may import every layer and those before it in this list;
``starter`` holds the maker of the bundled model, which nothing else imports."""


@cache
def modules() -> dict[str, Path]:
    """Full name of each of our modules to its file."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in folder.rglob("*.py"):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imported_names(module: str, path: Path) -> Iterator[str]:
    """Full names that a file imports, wherever in it: in functions and for types, too."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *filter(None, [node.module])])
            # `from agentr_lite.store import runs` names a module as well as a package.
            yield from (f"{origin}.{alias.name}" for alias in node.names)


@cache
def imports() -> dict[str, frozenset[str]]:
    """Module to the modules of ours that it imports."""
    known = modules()

    def owner(name: str) -> str:
        while name and name not in known:
            name = name.rpartition(".")[0]
        return name

    return {
        module: frozenset(map(owner, imported_names(module, path))) - {"", module}
        for module, path in known.items()
    }


def layer_of(module: str) -> str:
    """``store`` of ``agentr_lite.store.trees``; ``tui`` of the inspector's modules."""
    package, _, rest = module.partition(".")
    if package != "agentr_lite":
        return package.removeprefix("agentr_lite_")
    return rest.partition(".")[0]


def cycles(graph: dict[str, frozenset[str]]) -> list[list[str]]:
    """Groups of modules that reach each other (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = lowest[module] = len(index)
        stack.append(module)
        for target in graph[module]:
            if target not in index:
                visit(target)
                lowest[module] = min(lowest[module], lowest[target])
            elif target in stack:
                lowest[module] = min(lowest[module], index[target])
        if lowest[module] == index[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1:
                groups.append(sorted(group))

    for module in graph:
        if module not in index:
            visit(module)
    return groups


def test_cycles_are_found() -> None:
    graph = {"a": frozenset("b"), "b": frozenset("c"), "c": frozenset("b"), "d": frozenset("a")}
    assert cycles(graph) == [["b", "c"]]


def test_no_import_cycle() -> None:
    assert not cycles(imports())


@pytest.mark.parametrize("layer", [*LAYERS, *TOP])
def test_imports_point_one_way(layer: str) -> None:
    below = LAYERS[layer] if layer in LAYERS else (*LAYERS, *TOP[: TOP.index(layer)])
    # The package's own root has the version; the recipes are files.
    allowed = {layer, *below, "", "recipes"}
    wrong = [
        f"{module} imports {target}"
        for module, targets in imports().items()
        if layer_of(module) == layer
        for target in sorted(targets)
        if layer_of(target) not in allowed
    ]
    assert not wrong


def test_every_package_has_its_place() -> None:
    assert {layer_of(module) for module in modules()} <= {*LAYERS, *TOP, "", "recipes"}


@pytest.mark.parametrize("top", ["cli", "starter"])
def test_nothing_imports_the_top(top: str) -> None:
    inside = {top, "__main__"}
    users = [
        f"{module} imports {target}"
        for module, targets in imports().items()
        for target in targets
        if layer_of(target) == top and layer_of(module) not in inside
    ]
    assert not users


def test_only_its_command_opens_the_inspector() -> None:
    users = {
        module
        for module, targets in imports().items()
        if layer_of(module) != "tui" and any(layer_of(target) == "tui" for target in targets)
    }
    assert users <= {"agentr_lite.cli.tui"}


def test_the_root_holds_a_handful_of_modules() -> None:
    assert len(list((ROOT / "agentr_lite").glob("*.py"))) <= MOST_ROOT_MODULES


@pytest.mark.parametrize("folder", ["agentr_lite", "tui", "recipes", "benchmarks", "docs", "tests"])
def test_files_can_be_read_in_one_sitting(folder: str) -> None:
    most = MOST_LINES_OF_A_TEST if folder == "tests" else MOST_LINES
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {name: lines for name, lines in lengths.items() if lines > most} == {}


def test_tests_lie_where_their_package_does() -> None:
    shared = {"support", "data", "golden", "benchmarks", "soak"}
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    assert folders - {"__pycache__"} - shared <= {*LAYERS, *TOP}


def test_the_wheel_holds_every_package_but_the_maker() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    packages = {
        module
        for module, path in modules().items()
        if path.name == "__init__.py" and ".maker" not in module
    }
    assert set(settings["packages"]) == packages
