"""Every option and argument of every command, given what nobody means, found by asking click.

As a command, it makes every call, or those of the commands named, and prints the ones that end
otherwise than documented::

    python -m tests.support.hostile_options [COMMAND]...
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from agentr_lite.cli import cli, main
from tests.support.report_case import make_database

NUMBERS = ("9" * 400, "-1", f"-{'9' * 30}", "1e999", "nan", "inf", "-inf", "0x10", "1_0", "")
TEXTS = (
    *("\udcff", "a/\udcff.gguf", "\ud800", "", " ", "x" * 5_000, "a\0b", "\x1b[2J", "[" * 9_000),
    *("/dev/null", "/dev/zero", ".", "-", "=", "a=", "=a", "9" * 5_000, "a\nb", "%s", "{}"),
    *("openai:", "openai:http://[", "mlx:", "mlx:\0", "x#\ufffe", "../" * 2_000, "nan", "1e999"),
)
SKIPPED = {"tui", "play", "models pull"}
"""Where the values are acceptable, they take the terminal or ask the network."""
FIXED = {
    "run": ("textcraft", "--plan"),
    "imitate": ("textcraft", "--plan"),
    "search": ("textcraft", "--model", "nowhere.gguf"),
    "eval": ("textcraft", "--model", "nowhere.gguf"),
    "study": ("study-small", "--plan"),
    "demos import": ("nowhere.jsonl", "textcraft"),
    "demos make": ("textcraft", "--source", "model", "--model", "nowhere.gguf"),
    "demos export": ("-o", "out.jsonl"),
    "demos show": ("1",),
    "runs delete": ("nothing",),
    "train": ("nothing",),
    "splice": ("nothing",),
    "export": ("latest", "-o", "out.jsonl"),
    "envs check": ("textcraft", "--episodes", "1"),
    "envs new": ("textcraft",),
    "envs show": ("textcraft",),
    "recipes show": ("smoke",),
    "models add": ("starter", "nowhere.gguf"),
    "models remove": ("nothing",),
    "models show": ("starter",),
    "convert adapter": ("nowhere", "-o", "out.gguf", "--base", "nowhere.gguf"),
    "convert model": ("nowhere", "-o", "out"),
    "doctor": ("--model", "nowhere.gguf"),
}
"""Words with which a command works or is refused soon."""
DOCUMENTED = {0, 1, 2, 3, 4, 5, 6, 130}


def commands(group: click.Group, above: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that has none below it, with the words that name it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{above}{name} ")
        elif command is not None and above + name not in SKIPPED:
            yield above + name, command


def calls(name: str, command: click.Command) -> Iterator[tuple[list[str], bool]]:
    """Argument lists, and whether the value in them can never be right."""
    fixed = list(FIXED.get(name, ()))
    for parameter in command.params:
        numeric = isinstance(parameter.type, click.types.IntParamType | click.FloatRange)
        if isinstance(parameter, click.Argument):
            rest = fixed[1:] if fixed and not fixed[0].startswith("-") else fixed
            for value in NUMBERS if numeric else TEXTS:
                yield [*name.split(), *rest, "--", value], _never_right(value, numeric)
        elif not getattr(parameter, "is_flag", False):
            option = parameter.opts[-1]
            for value in NUMBERS if numeric else TEXTS:
                words = [*name.split(), *fixed, option, value]
                yield words, _never_right(value, numeric)


def _never_right(value: str, numeric: bool) -> bool:
    if numeric:
        return value not in ("-1", "0x10", "1_0", "inf", "-inf")
    return any("\ud800" <= character <= "\udfff" for character in value)


def fault(words: list[str], never_right: bool) -> str:
    """What is wrong with the way in which a call ends; empty: nothing."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(words)
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        return traceback.format_exc(limit=-4)
    said = err.getvalue()
    errors = [line for line in said.splitlines() if line.startswith("Error: ")]
    if "Traceback" in said or code not in DOCUMENTED:
        return f"exit {code}: {said[-500:]}"
    if never_right and code != 2:
        return f"exit {code}, not 2: {said[-200:]}"
    # A plan is a list of checks, and says there what is wrong.
    if code not in (0, 1, 5, 130) and len(errors) != 1 and (errors or "--plan" not in words):
        return f"exit {code} with {len(errors)} errors: {said[-300:]}"
    if any(len(line) > 1_100 for line in errors):
        return f"an error of {max(map(len, errors)):,} characters: {errors[0][:120]}"
    return ""


def try_all(names: list[str]) -> None:
    """Make the calls, beside a database with a whole run in it."""
    made: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AGENTR_LITE_HOME"] = str(Path(folder) / "home")
        os.environ["AGENTR_LITE_DB"] = str(make_database(Path(folder)))
        os.chdir(folder)
        for name, command in commands(cli):
            if names and name not in names:
                continue
            for words, never_right in calls(name, command):
                print(name, ascii(words[-2:])[:90], file=sys.__stderr__, flush=True)
                wrong = fault(words, never_right)
                made[name] += 1
                if wrong:
                    print(f"--- {ascii(words)[:200]}\n{wrong}", file=sys.__stdout__, flush=True)
        os.chdir("/")
    print(f"{sum(made.values()):,} calls of {len(made)} commands", file=sys.__stdout__)


if __name__ == "__main__":
    try_all(sys.argv[1:])
