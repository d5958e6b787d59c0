"""Write commands.md, recipes.md, schema.md, and what other pages take from the program.

``python docs/generate.py``

A test renders the pages again and compares them with the files, so the files stay current.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import sqlite3
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from agentr_lite.cli import cli
from agentr_lite.console.glossary import BY_WORD
from agentr_lite.recipe import loading, settings
from agentr_lite.recipe.environments import SHORT_KEYS
from agentr_lite.recipe.fields import Setting, settings_of
from agentr_lite.store.migrations import migrate
from agentr_lite.store.views import VIEW_MEANINGS

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
PROGRAM = "agentr-lite"
_NOTE = "<!-- Written by `python docs/generate.py`; change the program, not this file. -->\n"

_COMMANDS_HEAD = """\
# Commands

Every command has `--help`. Commands that print data have `--json`. Data goes to stdout, everything
else to stderr.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | the work failed, or all of its tasks did |
| 2 | wrong usage, wrong recipe |
| 3 | the model or an adapter is missing or unusable |
| 4 | the database is unusable: newer, locked, corrupt, no space |
| 5 | finished, but some tasks failed; `agentr-lite trees` says why |
| 6 | nothing to learn: the trees gave no example to train on, and the message says why |
| 130 | interrupted (Ctrl-C, SIGTERM, a closed terminal); finished work is kept, and the message \
names the command that resumes |

With `--json`, an error is `{"error": {"kind", "message", "hint"}}` on stdout.

| variable | meaning |
|---|---|
| `AGENTR_LITE_HOME` | folder of the database and the adapters; default: `agentr-lite` in the XDG \
data directory |
| `AGENTR_LITE_DB` | the database; `-d` overrides it |
| `AGENTR_LITE_MODELS` | folder of downloaded models; default: `models` in the folder above |
| `AGENTR_LITE_COMPILED` | folder of the kernels that are compiled on this machine, which several \
homes may share; default: `cache` in the folder of `AGENTR_LITE_HOME` |
| `AGENTR_LITE_API_KEY`, `AGENTR_LITE_SERVER_*` \
| for models behind a server; see [models](models.md) |
| `AGENTR_LITE_AGENTGYM_LOGIN` | `USER:PASSWORD` for AgentGym servers that ask for them |
| `AGENTR_LITE_THEME` | colours of `agentr-lite tui`: `auto`, `dark` or `light`; \
`--theme` overrides it |
| `GLIBC_TUNABLES` | on Linux, commands that compute begin with `glibc.malloc.hugetlb=1` in it, \
see [engine](engine.md); with `glibc.malloc.hugetlb=0` they do not |
| `NO_COLOR` | no colours |

No variable changes a result; only a recipe, `--set`, `--model` and `--seed` do.

The Tab key completes commands, options, environments, recipes and their keys, run ids and models,
once the shell has read one line:

| shell | file | line |
|---|---|---|
| bash | `~/.bashrc` | `eval "$(_AGENTR_LITE_COMPLETE=bash_source agentr-lite)"` |
| zsh | `~/.zshrc` | `eval "$(_AGENTR_LITE_COMPLETE=zsh_source agentr-lite)"` |
| fish | `~/.config/fish/completions/agentr-lite.fish` | \
`_AGENTR_LITE_COMPLETE=fish_source agentr-lite \\| source` |
"""

_RECIPES_HEAD = """\
# Recipes

A recipe is a YAML file with everything that a run's result depends on, besides the model file
itself. The resolved recipe, with every key, is stored with the run; `agentr-lite runs show --json`
prints it.

    agentr-lite recipes                        # what is bundled
    agentr-lite recipes show textcraft         # every key, resolved
    agentr-lite run mine.yaml                  # your own
    agentr-lite run textcraft --set search.width=6 --set rounds=3 --seed 7

A key that is left out has its default. An unknown key, a wrong type or a value out of range is an
error; the message names the key, and the nearest known key. `--set` overrides the file and takes
YAML values; `--model PATH` and `--seed N` are short for `--set model=PATH` and `--set seed=N`. A
path may be relative to the directory in which the run begins; the run stores it as an absolute
path.

A resolved recipe holds its environments as a list, even of one: `env: [{name: textcraft, options:
{}, ...}]`. A file may be shorter: a name, a list of names, or a mapping of names to settings.
"""


def commands_page() -> str:
    """docs/commands.md."""
    parts = [_NOTE + _COMMANDS_HEAD]
    for path, command, context in _walk(cli, click.Context(cli, info_name=PROGRAM)):
        parts.append(_command(path, command, context))
    return "\n".join(parts)


def _walk(
    group: click.Group, context: click.Context
) -> Iterator[tuple[list[str], click.Command, click.Context]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        inner = click.Context(command, info_name=name, parent=context)
        yield inner.command_path.split(), command, inner
        if isinstance(command, click.Group):
            yield from _walk(command, inner)


def _command(path: list[str], command: click.Command, context: click.Context) -> str:
    pieces = " ".join(command.collect_usage_pieces(context))
    lines = ["#" * len(path) + " " + " ".join(path), "", f"    {' '.join(path)} {pieces}", ""]
    lines += [*_paragraphs(command.help or ""), ""]
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    if options:
        lines += ["| option | meaning |", "|---|---|"]
        lines += [f"| {_names(o, context)} | {_meaning(o)} |" for o in options]
        lines.append("")
    return "\n".join(lines)


def _paragraphs(text: str) -> Iterator[str]:
    for index, block in enumerate(inspect.cleandoc(text).split("\n\n")):
        if index:
            yield ""
        if block.startswith("\b"):
            # click's mark for text that keeps its lines.
            yield from ("    " + line.strip() for line in block.splitlines()[1:])
        else:
            yield " ".join(block.split())


def _names(option: click.Option, context: click.Context) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    if option.secondary_opts:
        names += " / " + ", ".join(f"`{name}`" for name in option.secondary_opts)
    if option.is_flag:
        return names
    whole = isinstance(option.type, click.types.IntParamType) and option.metavar is None
    return f"{names} {'N' if whole else _cell(option.make_metavar(context))}"


def _meaning(option: click.Option) -> str:
    text = " ".join((option.help or "").split())
    if option.required:
        text += " Required."
    if option.show_default:
        text += f" Default: {option.default}."
    if option.multiple and "repeated" not in text:
        text = f"{text.rstrip('.')}. May be repeated."
    return _cell(text)


def recipes_page() -> str:
    """docs/recipes.md."""
    parts = [_NOTE + _RECIPES_HEAD, _bundled()]
    parts.append(_group("Top level", settings.Recipe, "", _SHORT_ROWS))
    title = "`env.NAME`, of several environments"
    parts.append(_group(title, settings.EnvironmentSettings, "env.NAME."))
    for name, kind in typing.get_type_hints(settings.Recipe).items():
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            parts.append(_group(f"`{name}`", kind, f"{name}."))
    return "\n".join(parts)


def _bundled() -> str:
    lines = ["| bundled recipe | what it is |", "|---|---|"]
    for name in loading.recipe_names():
        first = loading.recipe_text(name).split("\n", 1)[0].lstrip("# ").strip()
        lines.append(f"| `{name}` | {_cell(first)} |")
    return "\n".join([*lines, ""])


def _group(
    title: str, kind: type, prefix: str, short_rows: Mapping[str, Sequence[str]] | None = None
) -> str:
    """A section with a table of one dataclass's keys.

    Args:
        title: of the section.
        kind: the dataclass.
        prefix: what its keys begin with.
        short_rows: field name to further rows that follow it.

    Raises:
        KeyError: a field that was not declared with ``setting``.
    """
    hints, declared = typing.get_type_hints(kind), settings_of(kind)
    lines = [f"## {title}", "", " ".join((kind.__doc__ or "").split()), ""]
    lines += ["| key | default | values | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(kind):
        # An environment's name is the NAME in its keys.
        if (
            dataclasses.is_dataclass(hints[field.name])
            or f"{prefix}{field.name}" == "env.NAME.name"
        ):
            continue
        own, key = declared[field.name], f"{prefix}{field.name}"
        keys = settings.own_keys().get(field.name) if prefix == "env.NAME." else None
        meaning = own.meaning + (f" Keys: {', '.join(f'`{k}`' for k in keys)}." if keys else "")
        lines.append(_row(key, _default(field), _values(hints[field.name], own), meaning))
        lines += (short_rows or {}).get(field.name, ())
    return "\n".join([*lines, ""])


def _row(key: str, default: Any, values: str, meaning: str) -> str:
    shown = json.dumps(list(default) if isinstance(default, tuple) else default)
    return f"| `{key}` | `{shown}` | {values} | {_cell(meaning)} |"


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    if field.name == "env":
        # In its short form.
        return settings.EnvironmentSettings.name
    return field.default


def _values(hint: Any, declared: Setting) -> str:
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(hint))
    if hint == typing.get_type_hints(settings.Recipe)["env"]:
        return "text, a list of text, or a mapping"
    name = declared.span or {bool: "true or false", str: "text"}.get(hint, "a mapping")
    return f"a list of {name}" if origin is tuple else name


def _cell(text: str) -> str:
    """Safe inside a table: a bar would end the cell, a square bracket could begin a link."""
    return text.replace("|", "\\|")


_SHORT_ROWS = {
    "env": [_row(key, {}, "a mapping", short.meaning) for key, short in SHORT_KEYS.items()]
}
"""Rows for the keys that a file may have instead of what the recipe holds."""

_SCHEMA_HEAD = """\
# The database

A run's database is one SQLite file that other programs may read. Datasette shows it as it is:

    datasette runs.db

Begin with the views: the program does not need them, they are for people. Times are UTC, lengths of
time are in milliseconds (`_ms`) or seconds (`_s`), and rewards lie between 0 and 1. A text is
stored once, in `texts`.

What a release has written, later releases can read. They bring an older file up to date.
"""


def schema_page() -> str:
    """docs/schema.md, from a database as it is made now."""
    conn = sqlite3.connect(":memory:", isolation_level=None)
    migrate(conn)
    rows = conn.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE type IN ('table', 'view')"
        " AND name NOT LIKE 'sqlite_%' ORDER BY type = 'table', name"
    ).fetchall()
    parts = [_NOTE + _SCHEMA_HEAD]
    for kind, name, sql in rows:
        parts.append(_relation(conn, kind, name, sql))
    return "\n".join(parts)


def _relation(conn: sqlite3.Connection, kind: str, name: str, sql: str) -> str:
    """A table or a view with its columns."""
    columns = conn.execute(f"PRAGMA table_info({name})").fetchall()
    if kind == "view":
        listed = ", ".join(f"`{column[1]}`" for column in columns)
        return f"## View `{name}`\n\n{VIEW_MEANINGS[name]}\n\nColumns: {listed}.\n"
    targets = {row[3]: row[2] for row in conn.execute(f"PRAGMA foreign_key_list({name})")}
    meanings = _column_comments(sql)
    lines = [f"## Table `{name}`", "", "| column | type | meaning |", "|---|---|---|"]
    for _, column, declared, required, _, key in columns:
        type_ = " ".join(filter(None, [declared.lower(), "" if required or key else "or null"]))
        said = [meanings.get(column, "")]
        said += [f"An `id` of `{targets[column]}`."] if column in targets else []
        meaning = _cell(" ".join(filter(None, said)))
        lines.append(f"| `{column}` | {type_} | {meaning} |")
    return "\n".join([*lines, ""])


def _column_comments(sql: str) -> dict[str, str]:
    """Column to the comment that stands above it in a table's definition."""
    meanings: dict[str, str] = {}
    comment: list[str] = []
    for line in map(str.strip, sql.splitlines()):
        if line.startswith("--"):
            comment.append(line.removeprefix("--").strip())
            continue
        if comment:
            meanings[line.split(" ")[0]] = " ".join(comment)
        comment = []
    return meanings


PAGES = {"commands.md": commands_page, "recipes.md": recipes_page, "schema.md": schema_page}

_TREE = ("<!-- tree -->\n", "<!-- end of tree -->\n")
"""What the tree in the README stands between."""
_WORDS = ("<!-- words -->\n", "<!-- end of words -->\n")
"""What the words in how-it-works.md stand between."""
_NEEDED = (
    *("episode", "step", "base", "parting", "t′", "critic", "alpha", "beta", "reflection"),
    *("revision", "naive", "verified", "recovery", "revision length", "inside the noise"),
    "too few to tell",
)
_OTHER_FOLDERS = {
    "recipes": "The bundled recipes",
    "benchmarks": "Speed, side by side; each module is a command",
    "docs": "The pages (index.md lists them); generate.py writes three of them and this tree",
    "tests": "Tests, which mirror the packages; no network, and no model but the bundled one",
}
_BY_LAYER = (
    *("core", "console", "recipe", "envs", "agent", "actors", "convert", "store", "metrics"),
    *("search", "splice", "imitate", "train", "evaluate"),
    *("runs", "scale", "report", "api", "study", "starter", "cli"),
)
"""Packages in the order in which they may import each other."""


def readme_with_tree() -> str:
    """README.md with the tree of the packages as they are, each with its docstring's first line."""
    text = (ROOT / "README.md").read_text("utf-8")
    before, begin, rest = text.partition(_TREE[0])
    _, end, after = rest.partition(_TREE[1])
    lines = ["agentr_lite/"]
    for name in _BY_LAYER:
        lines += _folder(ROOT / "agentr_lite" / name, 1)
    lines += _folder(ROOT / "tui", 0)
    lines += [f"{f'{name}/':<18}{remark}" for name, remark in _OTHER_FOLDERS.items()]
    return before + begin + "".join(f"    {line}\n" for line in lines) + end + after


def _folder(path: Path, depth: int) -> list[str]:
    """A package and the packages in it, a line each."""
    docstring = ast.get_docstring(ast.parse((path / "__init__.py").read_text("utf-8"))) or ""
    remark = docstring.split("\n")[0].rstrip(".")
    lines = [f"{'  ' * depth}{f'{path.name}/':<{18 - 2 * depth}}{remark}"]
    for inner in sorted(path.iterdir()):
        if (inner / "__init__.py").is_file():
            lines += _folder(inner, depth + 1)
    return lines


def page_with_words() -> str:
    """docs/how-it-works.md with the words that it needs, as the program explains them."""
    text = (FOLDER / "how-it-works.md").read_text("utf-8")
    before, begin, rest = text.partition(_WORDS[0])
    _, end, after = rest.partition(_WORDS[1])
    rows = [f"| {word} | {_cell(BY_WORD[word].meaning)} |\n" for word in _NEEDED]
    return before + begin + "| word | meaning |\n|---|---|\n" + "".join(rows) + end + after


def main() -> None:
    """Write the pages, the words and the README's tree."""
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
        print(f"docs/{name}", file=sys.stderr)
    (FOLDER / "how-it-works.md").write_text(page_with_words(), encoding="utf-8")
    print("docs/how-it-works.md", file=sys.stderr)
    (ROOT / "README.md").write_text(readme_with_tree(), encoding="utf-8")
    print("README.md", file=sys.stderr)


if __name__ == "__main__":
    main()
