"""The bundled recipe book: a text file in our own notation -> a recipe table.

The facts (which inputs make which item, and how many) follow the game behind TextCraft; the
selection and the notation are ours. The first lines of ``data/recipes.txt`` explain the notation.
"""

from __future__ import annotations

import itertools
import re
from functools import lru_cache
from importlib import resources

from agentr_lite.envs.textcraft.rules import Recipe, RecipeSyntaxError, RecipeTable

_PART = re.compile(r"(?:([0-9]+) )?([a-z0-9_:.]+)")
_OUTPUT = re.compile(r"([a-z0-9_:.]+)(?:\*([0-9]+))?")
_VARIABLE = re.compile(r"\{([a-z_]+)\}")


@lru_cache(maxsize=1)
def bundled_table() -> RecipeTable:
    """The table of the bundled book; the same object in the whole process."""
    text = resources.files(__package__).joinpath("data/recipes.txt").read_text("utf-8")
    return parse_book(text)


def parse_book(text: str) -> RecipeTable:
    """Read a book in the notation of ``data/recipes.txt``.

    Raises:
        RecipeSyntaxError: a line cannot be read; the message has its number.
    """
    variables: dict[str, list[str]] = {}
    tags: dict[str, list[str]] = {}
    recipes: list[Recipe] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        try:
            if line.startswith("each "):
                _, variable, *values = line.split()
                variables[variable] = values
            elif line.startswith("tag "):
                _, tag, *members = line.split()
                tags[tag] = [name for m in members for name in _expand(m, variables)]
            else:
                recipes.extend(_recipe(expanded) for expanded in _expand(line, variables))
        except ValueError as error:
            raise RecipeSyntaxError(
                f"recipe book, line {number}: {error}",
                hint="The form is: stick*4 = 2 planks",
            ) from error
    return RecipeTable(recipes, tags=tags)


def _expand(line: str, variables: dict[str, list[str]]) -> list[str]:
    """``line`` for every combination of values of its variables."""
    used = list(dict.fromkeys(_VARIABLE.findall(line)))
    unknown = [name for name in used if name not in variables]
    if unknown:
        raise ValueError(f"no 'each {unknown[0]} ...' before it")
    expanded = []
    for values in itertools.product(*(variables[name] for name in used)):
        filled = line
        for name, value in zip(used, values, strict=True):
            filled = filled.replace(f"{{{name}}}", value)
        expanded.append(filled)
    return expanded


def _recipe(line: str) -> Recipe:
    output, equals, inputs = (part.strip() for part in line.partition("="))
    made = _OUTPUT.fullmatch(output)
    parts = [_PART.fullmatch(part.strip()) for part in inputs.split("+")]
    if not equals or made is None:
        raise ValueError(f"not a recipe: {line!r}")
    counted = []
    for part in parts:
        if part is None:
            raise ValueError(f"not a list of inputs: {inputs!r}")
        counted.append((int(part.group(1) or 1), part.group(2)))
    count = int(made.group(2) or 1)
    if count < 1 or any(n < 1 for n, _ in counted):
        raise ValueError("counts start at 1")
    return Recipe(made.group(1), count, tuple(counted))
