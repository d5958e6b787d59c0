"""``agentr-lite envs``: list environments, show their tasks, check them, write a new one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentr_lite.cli.common import json_option, oracle_actions, usage_errors_kept
from agentr_lite.cli.completion import complete_environments
from agentr_lite.cli.env_options import env_settings
from agentr_lite.console.streams import emit, emit_json, emit_lines, emit_table, say
from agentr_lite.console.text import Styled, clean
from agentr_lite.core.errors import EXIT_FAILED, AgentrError
from agentr_lite.core.secrets import Secrets

if TYPE_CHECKING:
    from agentr_lite.core.tasks import Task
    from agentr_lite.envs.base import Environment
    from agentr_lite.envs.checker import Finding
    from agentr_lite.serving.serve import Protocol
    from agentr_lite.serving.stage import Stage


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def envs(context: click.Context, as_json: bool) -> None:
    """List, show, check and write environments."""
    if context.invoked_subcommand is None:
        context.invoke(list_envs, as_json=as_json)


@envs.command("list")
@json_option
def list_envs(as_json: bool = False) -> None:
    """List the environments that are installed, with the number of tasks in each split."""
    from agentr_lite.agent.boundary import guarded_tasks
    from agentr_lite.core.tasks import SPLITS
    from agentr_lite.envs.registry import ADAPTERS, env_names, env_origin, make_env
    from agentr_lite.runs.closing import closed_at_end

    rows: list[dict[str, Any]] = []
    for name in env_names():
        row: dict[str, Any] = {"name": name, "origin": env_origin(name), "error": ""}
        try:
            with closed_at_end(make_env(name)) as env:
                row.update({split: len(guarded_tasks(env, split)) for split in SPLITS})
        except AgentrError as error:
            # One broken plugin must not hide the others.
            row["error"] = error.message
        rows.append(row)
    if as_json:
        emit_json(rows)
        return
    emit_table(
        ["environment", *SPLITS, "from"],
        [
            [row["name"], *(row.get(split) for split in SPLITS), row["error"] or row["origin"]]
            for row in rows
        ],
    )
    say("Also by address:")
    for form, meaning in [
        *((adapter.form, adapter.meaning) for adapter in ADAPTERS.values()),
        ("path/to/file.py[:CLASS]", "your own environment; `envs new` writes one"),
    ]:
        say(f"  {form}  {meaning}")


@envs.command("show")
@click.argument("name", shell_complete=complete_environments)
@click.option("--task", help="Show this task, with a solution.")
@click.option("--split", help="Look in this split only.")
@click.option("--tasks", "list_tasks", is_flag=True, help="List the tasks.")
@click.option("--brief", is_flag=True, help="Show the short instructions (for trained models).")
@env_settings
@json_option
def show_env(
    name: str,
    task: str | None,
    split: str | None,
    list_tasks: bool,
    brief: bool,
    settings: dict[str, Any],
    as_json: bool,
) -> None:
    """Show an environment's instructions and splits, or one of its tasks with a solution."""
    from agentr_lite.agent.boundary import guarded_tasks
    from agentr_lite.envs.registry import find_task, make_env
    from agentr_lite.runs.closing import closed_at_end

    with closed_at_end(make_env(name, settings)) as env, usage_errors_kept():
        if task is not None:
            _show_task(env, find_task(env, task, split, listing=guarded_tasks), as_json)
        else:
            _show_splits(env, split, list_tasks=list_tasks, brief=brief, as_json=as_json)


def _show_splits(
    env: Environment, split: str | None, *, list_tasks: bool, brief: bool, as_json: bool
) -> None:
    from agentr_lite.agent.boundary import guarded_instructions, guarded_tasks
    from agentr_lite.core.tasks import SPLITS

    splits = {where: guarded_tasks(env, where) for where in ((split,) if split else SPLITS)}
    if list_tasks:
        tasks = [task for members in splits.values() for task in members]
        if as_json:
            emit_json(tasks)
            return
        emit_table(
            ["task", "split", "level", "goal"],
            [[task.name, task.split, task.level, task.goal] for task in tasks],
            keep=["task"],
            hide=["level", "split"],
        )
        return
    instructions = guarded_instructions(env, brief=brief)
    if as_json:
        emit_json(
            {
                "name": env.name,
                "instructions": instructions,
                "splits": {where: _levels(tasks) for where, tasks in splits.items()},
            }
        )
        return
    emit_lines([*instructions.expandtabs(4).split("\n"), ""])
    levels = sorted({task.level for members in splits.values() for task in members})
    rows: list[list[Any]] = []
    for where, members in splits.items():
        counts = _levels(members)
        rows.append([where, len(members), *(counts.get(str(level), 0) for level in levels)])
    emit_table(["split", "tasks", *(f"level {level}" for level in levels)], rows)


def _levels(tasks: Sequence[Task]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for task in tasks:
        counts[str(task.level)] = counts.get(str(task.level), 0) + 1
    return dict(sorted(counts.items()))


def _show_task(env: Environment, task: Task, as_json: bool) -> None:
    from agentr_lite.agent.boundary import guarded_reset

    observation = guarded_reset(env, task)
    solution = oracle_actions(env, task)
    if as_json:
        emit_json(
            {
                "task": task.name,
                "split": task.split,
                "level": task.level,
                "observation": observation,
                "solution": solution,
            }
        )
        return
    say(f"Task {task.name}, split {task.split}, level {task.level}")
    emit(clean(observation))
    if solution is not None:
        emit("\nA solution:\n" + clean("\n".join(solution)))


@envs.command("check")
@click.argument("name", shell_complete=complete_environments)
@click.option(
    "--episodes",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="Number of tasks on which determinism and snapshots are tried.",
)
@click.option("--quick", is_flag=True, help="Try the oracle on those tasks only, not on all.")
@env_settings
@json_option
@click.pass_context
def check_env(
    context: click.Context,
    name: str,
    episodes: int,
    quick: bool,
    settings: dict[str, Any],
    as_json: bool,
) -> None:
    """Check that an environment keeps its promises, and that its game can be learnt.

    Broken promises fail: unstable tasks, episodes that differ, snapshots that restore another
    state, rewards outside [0, 1] or given twice, an oracle that does not win, valid actions that
    are refused. Remarks do not fail: seeds that change nothing, actions without effect, solutions
    longer than the recipe's longest episode. What could not be tried is called "not tried".

    Exits with 1 if a check fails.
    """
    from agentr_lite.envs.checker import check_environment
    from agentr_lite.envs.registry import make_env
    from agentr_lite.runs.closing import closed_at_end
    from agentr_lite.runs.targets import usual_recipe

    with closed_at_end(make_env(name, settings)) as env:
        recipe, origin = usual_recipe(name, env.name)
        findings = check_environment(
            env,
            other=lambda: make_env(name, settings),
            episodes=episodes,
            solve_all=not quick,
            limits={
                "search.depth": recipe.search.depth,
                "eval.max_steps": recipe.eval.max_steps,
            },
            limits_of=origin,
        )
    failed = sum(finding.failed for finding in findings)
    untried = [finding.check for finding in findings if finding.outcome == "not tried"]
    if as_json:
        emit_json(
            {
                "environment": name,
                "ok": not failed,
                "not_tried": untried,
                "findings": [finding.to_json() for finding in findings],
            }
        )
    else:
        _show_findings(name, findings)
    if failed:
        context.exit(EXIT_FAILED)


_OUTCOME_COLOURS = {"ok": "green", "remark": "yellow", "not tried": "yellow", "failed": "red"}


def _show_findings(name: str, findings: Sequence[Finding]) -> None:
    """A table on stdout; below it, on stderr, what to do and the verdict."""
    emit_table(
        ["check", "result", "cases", "detail"],
        [
            [
                finding.check,
                Styled(
                    "FAILED" if finding.failed else finding.outcome,
                    fg=_OUTCOME_COLOURS[finding.outcome],
                ),
                finding.cases,
                finding.detail,
            ]
            for finding in findings
        ],
        keep=["result"],
        hide=["cases"],
    )
    by_outcome: dict[str, list[str]] = {}
    for finding in findings:
        by_outcome.setdefault(finding.outcome, []).append(finding.check)
        if finding.outcome != "ok" and finding.hint:
            say(f"{finding.check}: {finding.hint}")
    failed, untried = by_outcome.get("failed", []), by_outcome.get("not tried", [])
    remarks = by_outcome.get("remark", [])
    also = f"; not tried: {', '.join(untried)}" if untried else ""
    also += f"; remarks on: {', '.join(remarks)}" if remarks else ""
    # An address may hold a password.
    shown = Secrets([]).in_message(name)
    if failed:
        say(f"{shown}: {len(failed)} of {len(findings)} checks failed{also}")
    elif untried:
        say(f"{shown}: no check failed{also}")
    else:
        say(f"{shown}: sound{also}")


@envs.command("new")
@click.argument("name")
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    metavar="DIR",
    help="Directory for the package's folder.  [default: the current directory]",
)
@json_option
def new_env(name: str, into: Path, as_json: bool) -> None:
    """Write a small package that you can turn into your own environment.

    It works as it is: a game of numbers with tests, to be replaced by your game.
    """
    from agentr_lite.envs.registry import env_names
    from agentr_lite.envs.scaffold import write_package

    files = write_package(name, into, env_names())
    folder = files[0].parent
    if as_json:
        emit_json({"name": name, "folder": folder, "files": files})
        return
    emit(clean("\n".join(str(file) for file in files)))
    module = folder / "src" / name / "env.py"
    say(
        f"The game is in {module}. Next:\n"
        f"  agentr-lite envs check {module}\n"
        f"  agentr-lite run {module} --recipe {folder / 'recipe.yaml'}\n"
        f"  pip install -e {folder}   # then it is called {name}"
    )


@envs.command("serve")
@click.argument("name", shell_complete=complete_environments)
@click.option(
    "--protocol",
    type=click.Choice(["openenv", "agentgym"]),
    default="openenv",
    show_default=True,
    help="openenv: any environment, for OpenEnv's client and the trainers that use it. agentgym:"
    " textcraft, webshop or sciworld, for AgentGym's own client.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen at; 0.0.0.0 lets other machines play. There is no password.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="0 = any free port.",
)
@click.option(
    "--sessions",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Most episodes at the same time. Beyond that, openenv refuses, and agentgym forgets the"
    " one that has not been used for longest.",
)
@env_settings
@json_option
def serve_env(
    name: str,
    protocol: Protocol,
    host: str,
    port: int,
    sessions: int,
    settings: dict[str, Any],
    as_json: bool,
) -> None:
    """Let other programs play an environment, over a server.

    Prints the server's address and serves until Ctrl-C or SIGTERM, which end it with exit code 0.
    Calls are carried out one at a time. Protocol openenv needs the extra of the same name.
    """
    from agentr_lite.serving.serve import serve

    def ready(address: str, stage: Stage) -> None:
        if as_json:
            emit_json(
                {
                    "url": address,
                    "protocol": protocol,
                    "environment": stage.env.name,
                    "sessions": stage.most,
                }
            )
        else:
            emit(address)
            say(f"Serving {clean(stage.env.name)} ({protocol}). Ctrl-C stops the server.")

    try:
        serve(name, settings, protocol, host=host, port=port, sessions=sessions, ready=ready)
    except KeyboardInterrupt:
        say("Stopped.")
