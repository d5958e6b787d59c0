"""Loads environments from Python files that no package has registered."""

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

    The file may import modules beside it, like a script. If it belongs to a package (a folder with
    ``__init__.py``), it is imported as the package's module, so that relative imports work.

    Args:
        path: the file; its code runs only once in a process.
        attribute: a name in it; default: the only environment that the file defines.

    Raises:
        UsageError: there is no such file, or it does not define that name, or it does not define
            exactly one environment.
        Exception: any error that the file's code raises.
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
    environments = _environments(module)
    if len(environments) != 1:
        what = "defines several environments" if environments else "defines no environment"
        raise UsageError(f"{path} {what}", hint=_choices(path, module))
    return environments[0][1]


def _environments(module: ModuleType) -> list[tuple[str, type[Environment]]]:
    """The environments that the file itself defines, without those that it imports."""
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
    # Last, not first as for a script: a file beside it must not hide an installed package.
    if str(root) not in sys.path:
        sys.path.append(str(root))
    if len(names) > 1:
        return _import_from_package(".".join(names), path)
    # A unique name: `random.py` must not be taken for the standard library's module.
    name = f"{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # it ends in .py
    module = importlib.util.module_from_spec(spec)
    # Register it before it runs, or its dataclasses and pickles would not find their module.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _import_from_package(name: str, path: Path) -> ModuleType:
    module = importlib.import_module(name)
    imported = Path(module.__file__ or "").resolve()
    if imported != path:
        raise UsageError(
            f"{path} is hidden by another module named {name}: {imported}",
            hint="Rename the package, or uninstall the other one.",
        )
    return module
