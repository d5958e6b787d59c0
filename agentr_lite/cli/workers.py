"""The options that say where waves are done, and which share of the work."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from agentr_lite.cli.common import F
from agentr_lite.runs.shards import Shard
from agentr_lite.scale.choice import HERE, WorkerChoice


def worker_options(function: F) -> Callable[..., Any]:
    """``--executor`` and its companions; the command gets them as ``where: WorkerChoice``."""

    @functools.wraps(function)
    def command(
        *arguments: Any,
        executor: str,
        workers: int | None,
        worker_threads: int,
        worker_gpus: float,
        **named: Any,
    ) -> Any:
        where = WorkerChoice(executor, workers, worker_threads, worker_gpus).checked()
        return function(*arguments, where=where, **named)

    wrapped: Callable[..., Any] = command
    for option in (
        click.option(
            "--worker-gpus",
            type=click.FloatRange(0),
            default=0.0,
            metavar="G",
            help="GPUs of each worker; a fraction shares one.  [default: none]",
        ),
        click.option(
            "--worker-threads",
            type=click.IntRange(1),
            default=1,
            show_default=True,
            metavar="N",
            help="CPU threads of each worker.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(1),
            default=None,
            metavar="N",
            help="Number of workers.  [default: as many as there is room for]",
        ),
        click.option(
            "--executor",
            default=HERE,
            show_default=True,
            metavar="here|ray[:ADDRESS]",
            help="Where waves are done: in this process, or by workers of Ray (docs/scale.md).",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


class _ShardType(click.ParamType[Shard]):
    name = "K/N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Shard:
        return value if isinstance(value, Shard) else Shard.parse(str(value))


def shard_option(help_text: str) -> Callable[[F], F]:
    """``--shard K/N``; the command gets ``shard: Shard | None``."""
    return click.option("--shard", type=_ShardType(), default=None, metavar="K/N", help=help_text)
