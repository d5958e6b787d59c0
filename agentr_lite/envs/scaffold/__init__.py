"""The package of a new environment, which ``agentr-lite envs new`` writes.

The templates are beside this file, with the placeholders ``$name``, ``$class_name`` and
``$version``. ``NAME`` in a file's name is replaced by the name. ``.txt`` prevents tools from
treating a template as code or settings of this project.
"""

from __future__ import annotations

import keyword
import re
import sys
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from string import Template

from agentr_lite.core.errors import UsageError

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_FILES = {
    "pyproject.toml.txt": "pyproject.toml",
    "README.md.txt": "README.md",
    "recipe.yaml.txt": "recipe.yaml",
    "init.py.txt": "src/NAME/__init__.py",
    "env.py.txt": "src/NAME/env.py",
    "test.py.txt": "tests/test_NAME.py",
}


def class_name(name: str) -> str:
    """``river_crossing`` to ``RiverCrossing``."""
    return "".join(word.capitalize() for word in name.split("_"))


def environment_source(name: str) -> str:
    """The name of the new environment's module."""
    return _filled("env.py.txt", name)


def write_package(name: str, folder: Path, taken: list[str]) -> list[Path]:
    """Write a package with a working example environment.

    Args:
        name: the name of the environment, the package and the folder.
        folder: the folder in which the package's folder is made.
        taken: names of existing environments.

    Returns:
        The files, in a good order for reading them.

    Raises:
        UsageError: the name cannot be a package's name or is taken, or the folder exists.
    """
    check_name(name, taken)
    target = folder / name
    if target.exists():
        raise UsageError(
            f"{target} exists already", hint="Choose another name, or --into another folder."
        )
    written = []
    for template, path in _FILES.items():
        file = target / path.replace("NAME", name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_filled(template, name), "utf-8")
        written.append(file)
    return written


def check_name(name: str, taken: list[str]) -> None:
    """Refuse a name that cannot be a package's name.

    Raises:
        UsageError: see ``write_package``.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise UsageError(
            f"'{name}' cannot be a package's name",
            hint="Use lower case letters, digits and underscores, starting with a letter: my_game.",
        )
    if name in taken:
        raise UsageError(f"there is an environment '{name}' already", hint="Choose another name.")
    existing = find_spec(name)
    # A folder without code has no origin and hides nothing.
    if name in sys.stdlib_module_names or (existing is not None and existing.origin is not None):
        raise UsageError(
            f"there is a Python module '{name}' already, which would hide the new one",
            hint="Choose another name.",
        )


def _filled(template: str, name: str) -> str:
    from agentr_lite import __version__

    text = resources.files(__name__).joinpath(template).read_text("utf-8")
    return Template(text).substitute(name=name, class_name=class_name(name), version=__version__)
