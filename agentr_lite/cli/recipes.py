"""``agentr-lite recipes``: list and show run recipes."""

from __future__ import annotations

import click

from agentr_lite.cli.common import json_option, set_option
from agentr_lite.cli.completion import complete_recipes
from agentr_lite.console.streams import emit, emit_json, emit_table


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def recipes(context: click.Context, as_json: bool) -> None:
    """List the bundled recipes, or show one."""
    if context.invoked_subcommand is None:
        _list(as_json)


@recipes.command("list")
@json_option
def list_recipes(as_json: bool) -> None:
    """List the bundled recipes."""
    _list(as_json)


@recipes.command("show")
@click.argument("name", shell_complete=complete_recipes)
@set_option("Override a key.")
@json_option
def show_recipe(name: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Show NAME, a bundled recipe or a YAML file, with every key resolved."""
    import yaml

    from agentr_lite.recipe.loading import load_recipe

    resolved = load_recipe(name, overrides).to_dict()
    if as_json:
        emit_json(resolved)
    else:
        emit(yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True).rstrip("\n"))


def _list(as_json: bool) -> None:
    from agentr_lite.recipe.loading import load_recipe, recipe_names, recipe_text

    rows = []
    for name in recipe_names():
        recipe = load_recipe(name)
        first = recipe_text(name).split("\n", 1)[0].lstrip("# ").strip()
        rows.append((name, recipe.env_label, recipe.model, recipe.rounds, first))
    if as_json:
        keys = ("name", "env", "model", "rounds", "about")
        emit_json([dict(zip(keys, row, strict=True)) for row in rows])
    else:
        emit_table(
            ["recipe", "environment", "model", "rounds", "about"],
            rows,
            keep=["recipe"],
            hide=["rounds", "model"],
        )
