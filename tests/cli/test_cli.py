"""Every command's help, and the pages of docs/ that are made from the program."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from agentr_lite.cli import COMMANDS, cli, main
from agentr_lite.envs import registry as environments
from agentr_lite.envs.checker import check_environment
from agentr_lite.recipe import settings as recipe

ROOT = Path(__file__).parents[2]


def every_command(
    group: click.Group = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))


EVERY = [pytest.param(path, command, id=" ".join(path)) for path, command in every_command()]


@pytest.mark.parametrize(("path", "command"), EVERY)
def test_help(
    path: tuple[str, ...], command: click.Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*path, "--help"])
    shown = capsys.readouterr()
    assert not caught.value.code and shown.err == ""
    assert shown.out.startswith(f"Usage: agentr-lite {' '.join(path)}")
    assert command.help
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{option.name} has no help"
            assert option.opts[0] in shown.out


def test_the_short_flag_for_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", "-h"])
    assert not caught.value.code
    assert capsys.readouterr().out.startswith("Usage: agentr-lite run")


def test_verbs_that_print_data_have_json() -> None:
    no_data = {"tui", "play", "export", "convert"}
    for path, command in every_command():
        if path[0] in no_data or path == ("demos", "export"):
            continue
        assert any("--json" in option.opts for option in command.params), path


def test_without_a_verb_the_help_is_narration(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    shown = capsys.readouterr()
    assert caught.value.code == 2
    assert shown.out == "" and all(verb in shown.err for verb in COMMANDS)


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["commands.md", "recipes.md", "schema.md"])
def test_the_pages_are_current(generate: ModuleType, page: str) -> None:
    there = (ROOT / "docs" / page).read_text("utf-8")
    assert there == generate.PAGES[page](), "run `python docs/generate.py`"


def test_the_readmes_tree_is_current(generate: ModuleType) -> None:
    there = (ROOT / "README.md").read_text("utf-8")
    assert there == generate.readme_with_tree(), "run `python docs/generate.py`"


def test_the_words_of_how_it_works_are_current(generate: ModuleType) -> None:
    there = (ROOT / "docs" / "how-it-works.md").read_text("utf-8")
    assert there == generate.page_with_words(), "run `python docs/generate.py`"


def test_every_command_and_option_is_on_the_page() -> None:
    page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    for path, command in every_command():
        section = page.partition(f" agentr-lite {' '.join(path)}\n")[2].partition("\n## ")[0]
        assert section, path
        for option in command.params:
            if isinstance(option, click.Option):
                assert f"`{option.opts[-1]}`" in section


def test_every_recipe_key_is_on_the_page(generate: ModuleType) -> None:
    page = (ROOT / "docs" / "recipes.md").read_text("utf-8")
    for name, hint in typing.get_type_hints(recipe.Recipe).items():
        if not dataclasses.is_dataclass(hint):
            assert f"| `{name}` |" in page
            continue
        for field in dataclasses.fields(hint):
            assert f"| `{name}.{field.name}` |" in page
    assert "| `env_options` |" in page


def test_the_readme_names_only_what_exists() -> None:
    """Commands in the README's code blocks parse, files in its tree are there."""
    text = (ROOT / "README.md").read_text("utf-8")
    for line in text.splitlines():
        words = line.strip().removeprefix("$ ").split("#")[0].split()
        if words[:1] != ["agentr-lite"] or not line.startswith("    "):
            continue
        verb = words[1]
        command = dict(every_command()).get((verb,))
        assert command is not None, line
        known = {opt for param in command.params for opt in (*param.opts, *param.secondary_opts)}
        if isinstance(command, click.Group):
            continue
        for word in words[2:]:
            if word.startswith("-") and word != "-":
                assert word.partition("=")[0] in known, line
    for path in tree_of(text):
        assert (ROOT / path).exists(), path


def test_the_readmes_environment_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example passes the checker and can be searched."""
    text = (ROOT / "README.md").read_text("utf-8")
    code = text.partition("<!-- example: environment -->\n```python\n")[2].partition("```")[0]
    module = ModuleType("readme_example")
    exec(code, module.__dict__)
    monkeypatch.setitem(sys.modules, "readme_example", module)
    monkeypatch.setitem(environments._BUILT_IN, "jugs", "readme_example:Jugs")
    env = environments.make_env("jugs")
    findings = check_environment(env, other=lambda: environments.make_env("jugs"), episodes=5)
    assert not [finding for finding in findings if finding.failed]

    tasks = [task for split in ("train", "dev", "test") for task in env.tasks(split)]
    assert len(env.tasks("test")) >= 100
    env.reset(next(task for task in tasks if task.name == "5-8-6"))
    words = ("fill b", "pour b a", "empty a", "pour b a", "fill b", "pour b a", "x")
    results = [env.step(word) for word in words]
    assert [result.reward for result in results] == [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]


def tree_of(text: str) -> list[str]:
    """Paths in the README's annotated tree: two spaces of indent a level, then a remark."""
    block = text.partition("<!-- tree -->\n")[2].partition("<!-- end of tree -->")[0]
    stack: list[str] = []
    paths = []
    for line in block.splitlines():
        bare = line.removeprefix("    ")
        if not bare.strip() or bare == line:
            continue
        depth = (len(bare) - len(bare.lstrip())) // 2
        name = bare.split()[0]
        stack[depth:] = [name]
        paths.append("/".join(part.rstrip("/") for part in stack))
    assert len(paths) > 20
    return paths
