"""The grammar that a recipe names: a file, a text, or the environment's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentr_lite.core.errors import GrammarError
from agentr_lite.recipe.grammars import read_grammar
from agentr_lite.recipe.loading import recipe_from_dict


def test_a_recipe_may_name_a_file(tmp_path: Path) -> None:
    file = tmp_path / "form.gbnf"
    file.write_text('root ::= "yes"\n')
    assert read_grammar(str(file)) == 'root ::= "yes"\n'
    assert read_grammar("env") == "env"
    assert read_grammar("") == ""
    file.write_text('root ::= "yes')
    with pytest.raises(GrammarError, match=r"grammar .*form\.gbnf, line 1, column 10"):
        read_grammar(str(file))
    with pytest.raises(GrammarError, match=r"cannot read '.*missing"):
        read_grammar(str(tmp_path / "missing.gbnf"))


def test_its_text_becomes_part_of_the_recipe_however_the_environments_are_written(
    tmp_path: Path,
) -> None:
    text, file = 'root ::= "yes"\n', tmp_path / "form.gbnf"
    file.write_text(text)
    agent = {"agent": {"grammar": str(file)}}
    for env in ({"a": agent, "b": {}}, [{"name": "a", **agent}, "b"]):
        a, b = recipe_from_dict({"env": env}).by_environment()
        assert (a.agent.grammar, b.agent.grammar) == (text, "")
    data = {"env": "a", **agent}
    assert recipe_from_dict(data).agent.grammar == text
    assert data["agent"] == {"grammar": str(file)}
