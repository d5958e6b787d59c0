"""Environments out of a Python file that no package has registered."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

from agentr_lite.core.errors import UsageError
from agentr_lite.core.suggestions import did_you_mean
from agentr_lite.envs.base import Environment


def load_from_file(path: Path, attribute: str = "") -> Any:
    """The environment class, or the function that makes one, in a Python file.

    The file may import its neighbours, as a script may; one that belongs to a package (a folder
    with ``__init__.py``) is imported as that package's module, so that relative imports work.

    Args:
        path: of the file; runs once a process, however often it is asked for.
        attribute: a name in it; default: the only environment that the file defines.

    Raises:
        UsageError: no such file, nothing of that name in it, or several to choose from.
        Exception: whatever the file's code raises.
    """
    path = path.expanduser()
    if not path.is_file():
        raise UsageError(
            f"there is no file {path}",
            hint="An environment in a file is named path/to/file.py:Class.",
        )
    module = _import(path.resolve())
    if attribute:
        if not hasattr(module, attribute):
            close = did_you_mean(attribute, [name for name, _ in _environments(module)])
            raise UsageError(f"{path} has no '{attribute}'{close}", hint=_choices(path, module))
        return getattr(module, attribute)
    found = _environments(module)
    if len(found) != 1:
        what = "defines several environments" if found else "defines no environment"
        raise UsageError(f"{path} {what}", hint=_choices(path, module))
    return found[0][1]


def _environments(module: ModuleType) -> list[tuple[str, type[Environment]]]:
    """The environments that the file itself defines, not those it imports."""
    return [
        (name, value)
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, Environment)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
    ]


def _choices(path: Path, module: ModuleType) -> str:
    names = [name for name, _ in _environments(module)]
    if not names:
        return "It needs a subclass of agentr_lite.envs.base.Environment with all of its methods."
    return f"Name one: {', '.join(f'{path}:{name}' for name in names)}."


def _import(path: Path) -> ModuleType:
    root, names = path.parent, [path.stem]
    while (root / "__init__.py").is_file():
        names.insert(0, root.name)
        root = root.parent
    # Last, not first as for a script: a neighbour must not hide an installed package.
    if str(root) not in sys.path:
        sys.path.append(str(root))
    if len(names) > 1:
        return _import_from_package(".".join(names), path)
    # A name of its own: `random.py` must not be taken for the standard library's.
    name = f"{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # it ends in .py
    module = importlib.util.module_from_spec(spec)
    # Before it runs, or its dataclasses and pickles would not find their module.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _import_from_package(name: str, path: Path) -> ModuleType:
    module = importlib.import_module(name)
    found = Path(module.__file__ or "").resolve()
    if found != path:
        raise UsageError(
            f"{path} is hidden by another module of the name {name}: {found}",
            hint="Rename the package, or uninstall the other one.",
        )
    return module
