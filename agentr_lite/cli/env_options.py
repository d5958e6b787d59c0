"""Settings of an environment on the command line: ``-o KEY=VALUE`` and the flags for data."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import click

from agentr_lite.core.errors import UsageError


class DataFlag(NamedTuple):
    """A flag that names data for one environment: short for ``-o OPTION=PATH``."""

    flag: str
    option: str
    """The environment's option."""
    metavar: str
    help: str


DATA_FLAGS = (
    DataFlag(
        "--webshop-data",
        "data_dir",
        "DIR",
        "WebShop: the original files (items_shuffle*.json, items_ins_v2*.json) instead of the"
        " bundled catalogue.",
    ),
    DataFlag(
        "--recipes-dir",
        "recipes_dir",
        "DIR",
        "TextCraft: a Minecraft data pack (directory, .zip or .jar) instead of the bundled"
        " recipe book.",
    ),
)
"""In the reverse order of ``--help``."""


def env_settings(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--option`` and the flags for data; the command gets them as ``settings``, a dict."""

    @functools.wraps(function)
    def command(*arguments: Any, options: tuple[str, ...], **named: Any) -> Any:
        settings = parse_settings(options)
        for flag in DATA_FLAGS:
            path = named.pop(_parameter(flag))
            if path is not None:
                settings[flag.option] = path
        return function(*arguments, settings=settings, **named)

    wrapped: Callable[..., Any] = click.option(
        "-o",
        "--option",
        "options",
        multiple=True,
        metavar="KEY=VALUE",
        help="A setting of the environment; may be repeated.",
    )(command)
    for flag in DATA_FLAGS:
        option = click.option(flag.flag, _parameter(flag), metavar=flag.metavar, help=flag.help)
        wrapped = option(wrapped)
    return wrapped


def _parameter(flag: DataFlag) -> str:
    return flag.flag.lstrip("-").replace("-", "_")


def parse_settings(options: tuple[str, ...]) -> dict[str, Any]:
    """``key=value`` pairs, values as YAML.

    Raises:
        UsageError: not of that form.
    """
    settings: dict[str, Any] = {}
    if not options:
        return settings
    from agentr_lite.core.yaml_values import YamlError, load_yaml

    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise UsageError(f"--option {option}: needs the form key=value")
        try:
            settings[key.strip()] = load_yaml(value)
        except YamlError as error:
            raise UsageError(f"--option {key}: {error}") from error
    return settings
