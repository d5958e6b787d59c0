"""The command line: one module for each command, imported only when that command runs."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

import click

from agentr_lite import __version__
from agentr_lite.console.interrupts import terminations_interrupt
from agentr_lite.console.large_pages import begin_with_large_pages, computes
from agentr_lite.console.stdout import (
    command_begins,
    data_stream,
    has_data,
    keep_stdout_for_data,
    release_streams,
)
from agentr_lite.core.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    AgentrError,
    Interrupted,
    UsageError,
    from_os_error,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from click.shell_completion import CompletionItem

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("agentr_lite.cli.run:run", "The whole loop: search, splice, train, evaluate."),
    "study": ("agentr_lite.cli.study:study", "Compare methods over environments and seeds."),
    "imitate": ("agentr_lite.cli.imitate:imitate", "Learn from demonstrations before round 1."),
    "search": ("agentr_lite.cli.search:search", "Grow search trees for a round of a run."),
    "splice": ("agentr_lite.cli.splice:splice", "Make revision data from a round's trees."),
    "train": ("agentr_lite.cli.train:train", "Train a LoRA adapter on a round's data."),
    "eval": ("agentr_lite.cli.eval:evaluate", "Evaluate a round on held-out tasks."),
    "report": ("agentr_lite.cli.report:report", "Tables of the results of one or more runs."),
    "runs": ("agentr_lite.cli.runs:runs", "List, show, copy and delete runs."),
    "trees": ("agentr_lite.cli.trees:trees", "Look at the search trees of a run."),
    "tui": ("agentr_lite.cli.tui:tui", "Walk through runs and trees in the terminal."),
    "demos": ("agentr_lite.cli.demos:demos", "Collect demonstrations to learn from."),
    "export": ("agentr_lite.cli.export:export", "Write revision data as JSON or JSONL."),
    "envs": ("agentr_lite.cli.envs:envs", "List and check environments."),
    "play": ("agentr_lite.cli.play:play", "Play an environment yourself."),
    "recipes": ("agentr_lite.cli.recipes:recipes", "List and show run recipes."),
    "models": ("agentr_lite.cli.models:models", "List, download and name models."),
    "convert": (
        "agentr_lite.cli.convert:convert",
        "Convert models and adapters, MLX and GGUF.",
    ),
    "doctor": ("agentr_lite.cli.doctor:doctor", "Check this machine and installation."),
}
"""Command -> (where its code is, its line in ``--help``): listing them imports none."""


_MESSAGE_CHARS = 1_000
_NUMBER_BITS = 63
"""Of a number from the command line, without its sign."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        _prepare_command(command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Completes commands by name; click's own method would import each of them."""
        from click.shell_completion import CompletionItem

        matching = [
            CompletionItem(name, help=text)
            for name, (_, text) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*matching, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from agentr_lite.core.suggestions import did_you_mean

            known = did_you_mean(args[0], list(COMMANDS))
            raise click.UsageError(f"No such command '{args[0]}'{known}.", ctx)
        return super().resolve_command(ctx, args)


def _prepare_command(command: click.Command) -> None:
    """Give a command, and those below it, what all have: ``--debug``, and numbers with bounds.

    When one of them begins, stdout is kept for what it prints itself.
    """
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        _prepare_command(below)
    if any("--debug" in parameter.opts for parameter in command.params):
        return
    for parameter in command.params:
        _bound(parameter)
    text = "Show the whole traceback of errors, an environment's as well."
    command.params.append(click.Option(["--debug"], is_flag=True, expose_value=False, help=text))
    if command.callback is not None:
        command.callback = _beginning(command.callback)


def _beginning(callback: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(callback)
    def begin(*arguments: Any, **named: Any) -> Any:
        # A group's callback comes before a command below it, whose help may be asked for.
        if click.get_current_context().invoked_subcommand is None:
            command_begins()
        return callback(*arguments, **named)

    return begin


def _bound(parameter: click.Parameter) -> None:
    """Refuse whole numbers that neither a database nor an array can hold."""
    own = parameter.callback

    def check(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        if isinstance(value, int) and value.bit_length() > _NUMBER_BITS:
            raise click.BadParameter(f"a number of more than {_NUMBER_BITS + 1} bits.", ctx, param)
        return own(ctx, param, value) if own is not None else value

    parameter.callback = check


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="agentr-lite")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """A small local model teaches itself to notice its own mistakes and recover.

    Begin with `agentr-lite run textcraft`.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False


def main(args: list[str] | None = None) -> None:
    """Entry point: runs the command and turns every error into one line and an exit code."""
    if args is None and computes(sys.argv[1:]):
        begin_with_large_pages()
    _prepare_streams()
    keep_stdout_for_data()
    arguments = sys.argv[1:] if args is None else args
    with terminations_interrupt():
        try:
            code = _run(arguments)
        except KeyboardInterrupt:  # before the command began, or while its end was reported
            _report(Interrupted("interrupted"), "--json" in arguments)
            code = EXIT_INTERRUPTED
    release_streams()
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    debug = "--debug" in arguments
    with _shown_log() if debug else contextlib.nullcontext():
        return _run_reported(arguments, debug=debug)


def _run_reported(arguments: list[str], *, debug: bool) -> int:
    as_json = "--json" in arguments
    try:
        _check_arguments(arguments)
        code = cli.main(args=arguments, prog_name="agentr-lite", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.Abort:
        # click's word for Ctrl-C, and for the end of the input where an answer was needed.
        _report(Interrupted("interrupted"), as_json)
        return EXIT_INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        _say(error.format_message())
        return EXIT_USAGE
    except click.ClickException as error:
        _report_usage(error, as_json)
        return error.exit_code
    except AgentrError as error:
        if debug:
            _show_traceback(error)
        _report(error, as_json)
        return error.exit_code
    except OSError as error:
        if debug:
            _show_traceback(error)
        _report(from_os_error(error), as_json)
        return EXIT_FAILED


def _check_arguments(arguments: list[str]) -> None:
    """Refuse an argument whose bytes are no text: it cannot be stored, printed or compared.

    Raises:
        UsageError: there is one.
    """
    for argument in arguments:
        try:
            argument.encode()
            if "\0" in argument:
                raise UsageError(f"the argument {argument[:80]!r} holds a null character")
        except UnicodeEncodeError:
            raise UsageError(
                f"the argument {argument!r} is not valid UTF-8",
                hint="Rename the file, or write the argument in a terminal that uses UTF-8.",
            ) from None


@contextlib.contextmanager
def _shown_log() -> Generator[None]:
    """Write the program's debug log to stderr: tracebacks of what a fault's row only names."""
    import logging

    from agentr_lite.console.text import clean

    class Cleaned(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return clean(super().format(record))

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Cleaned("%(name)s: %(message)s"))
    logger = logging.getLogger("agentr_lite")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


def _show_traceback(error: BaseException) -> None:
    import traceback

    from agentr_lite.console.text import clean

    _say(clean("".join(traceback.format_exception(error))).rstrip())


def _report(error: AgentrError, as_json: bool) -> None:
    from agentr_lite.console.text import clean

    # After data, an error would be a second document.
    if as_json and not has_data():
        _print_json_error(error.kind, error.message, error.hint)
        return
    _say(f"Error: {_clipped(clean(error.message))}")
    if error.hint:
        _say(f"Hint: {_clipped(clean(error.hint))}")


def _report_usage(error: click.ClickException, as_json: bool) -> None:
    """Report an error that click has found, with the usage line of the command."""
    from agentr_lite.console.text import clean

    message = error.format_message()
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "agentr-lite"
    if as_json:
        _print_json_error("usage", message, _usage_hint(error, command))
        return
    if context is not None:
        _say(context.get_usage())
    _say(f"Error: {_clipped(clean(message))}")
    _say(f"Hint: {_usage_hint(error, command)}")


def _usage_hint(error: click.ClickException, command: str) -> str:
    """What to do next: a recipe key that was written as an option belongs behind ``--set``."""
    option = error.option_name if isinstance(error, click.NoSuchOption) else ""
    known = getattr(error, "ctx", None)
    parameters = known.command.params if known is not None else ()
    if option and any("--set" in parameter.opts for parameter in parameters):
        from agentr_lite.recipe.keys import key_values
        from agentr_lite.recipe.settings import Recipe

        name = option.lstrip("-").replace("-", "_")
        keys = [key for key in key_values(Recipe) if name in (key, key.rpartition(".")[2])]
        if keys:
            options = " or ".join(f"`--set {key}=VALUE`" for key in keys)
            return f"{option} is a key of the recipe: {options}."
    return f"`{command} --help` says how it is used."


def _clipped(line: str) -> str:
    """A line that a person can read: it may quote an argument of any length."""
    return line if len(line) <= _MESSAGE_CHARS else f"{line[:_MESSAGE_CHARS]}…"


def _print_json_error(kind: str, message: str, hint: str) -> None:
    from agentr_lite.console.json import dump_json

    payload: dict[str, Any] = {"error": {"kind": kind, "message": message, "hint": hint}}
    with contextlib.suppress(OSError):
        click.echo(dump_json(payload, indent=None), file=data_stream())


def _say(line: str) -> None:
    # Where stderr is gone, the exit code has to be enough.
    with contextlib.suppress(OSError):
        click.echo(line, err=True)


def _prepare_streams() -> None:
    """Make every text printable: a closed stream drops it, a narrow encoding escapes it."""
    sys.stdout = sys.stdout or _null()
    sys.stderr = sys.stderr or _null()
    for stream in (sys.stdout, sys.stderr):
        narrow = (stream.encoding or "").lower().replace("-", "") != "utf8"
        if narrow and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _null() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - lives to the end


__all__ = ["COMMANDS", "cli", "main"]
