"""The Python interface, with a scripted player, and its notebook with the bundled model."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import types
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

import agentr_lite as al
from agentr_lite.console.notebooks import notebook_bar
from agentr_lite.core.errors import ModelError, StoreError, UsageError
from tests.support.command_line import Call

NOTEBOOK = Path(__file__).parents[2] / "docs" / "python.ipynb"


def test_the_package_loads_nothing_before_it_is_used() -> None:
    program = "import agentr_lite, sys; assert 'agentr_lite.api' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
    from agentr_lite import api

    assert set(al.__all__) == {*api.__all__, "__version__"}
    functions = ("run", "resume", "search", "evaluate", "load_run")
    assert all(callable(getattr(al, name)) for name in functions)
    # They are packages, too.
    from agentr_lite.evaluate import episodes
    from agentr_lite.search import mcts

    assert [module.__package__ for module in (episodes, mcts)] == [
        "agentr_lite.evaluate",
        "agentr_lite.search",
    ]
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        al.nonsense  # noqa: B018


def test_a_stored_run_is_read(filled: Path, cli: Call) -> None:
    result = al.load_run(filled)
    assert (result.status, result.database) == ("finished", filled)
    report = json.loads(cli("report", "-d", filled, "--json")[1])
    assert result.id == report["run"]["id"]
    assert [each.round for each in result.evaluations] == [e["round"] for e in report["evals"]]
    first = result.evaluations[0]
    assert first.success == report["evals"][0]["figures"]["success"]["value"]
    assert (first.difference, first.versus, first.too_few) == (None, "", False)
    episodes = result.episodes(round=0)
    assert len(episodes) == first.episodes and {episode.round for episode in episodes} == {0}
    assert sum(episode.success for episode in episodes) == first.success * len(episodes)
    assert {tree.round for tree in result.trees(round=1)} == {1}
    assert [stage.stage for stage in result.stages][:2] == ["eval", "search"]
    assert result.verdict and result.verdict in result._repr_markdown_()
    assert result.report().startswith("# ")


def test_rows_become_a_frame_where_pandas_is(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = al.load_run(filled)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="needs pandas"):
        result.to_frame()
    given: list[Any] = []
    pandas = types.SimpleNamespace(DataFrame=lambda rows: given.append(rows) or "frame")
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    assert result.to_frame() == "frame"
    assert given == [result.evaluations.to_dicts()]
    assert given[0][0]["name"] == "base"


def test_mistakes_are_the_programs_own_errors(db: Path) -> None:
    with pytest.raises(UsageError, match=r"did you mean 'search.width'"):
        al.run("textcraft", settings={"width": 3}, db=db)
    with pytest.raises(UsageError, match="no environment or recipe 'textcarft'"):
        al.run("textcarft", db=db)
    with pytest.raises(UsageError, match=r"search.width: .*not JSON serializable"):
        al.run("textcraft", settings={"search.width": object()}, db=db)
    with pytest.raises(ModelError, match="no model 'nope'"):
        al.search("textcraft", model="nope", db=db)
    with pytest.raises(StoreError, match="no database"):
        al.load_run(db)
    with pytest.raises(StoreError, match="no database"):
        al.resume(db=db)
    assert not db.exists()


def test_a_notebook_has_its_own_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    assert notebook_bar() is None
    shown: list[str] = []
    handle = types.SimpleNamespace(update=shown.append)

    def display(text: str, *, display_id: bool) -> Any:
        shown.append(text)
        return handle

    shell = types.SimpleNamespace(kernel=object())
    ipython = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(
        sys.modules, "IPython.display", types.SimpleNamespace(HTML=str, display=display)
    )
    bar = notebook_bar()
    assert bar is not None
    bar.draw("search: 1/4 <b>", 1, 4)
    bar.draw("search: 2/4", 2, 4)
    bar.remove()
    assert shown[0] == '<progress value="1" max="4"></progress> search: 1/4 &lt;b&gt;'
    assert shown[1:] == ['<progress value="2" max="4"></progress> search: 2/4', ""]


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with redirect_stdout(printed):
        for cell in cells:
            if cell["cell_type"] == "code":
                exec(compile(cell["source"], cell["id"], "exec"), names)
    assert names["result"].status == "finished"
    assert "did you mean 'imitation.tasks', 'search.tasks' or 'eval.tasks'" in printed.getvalue()
