"""Databases for the tests of the HTML report, made by the real stages, and a reader of pages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.cli import main
from agentr_lite.core.usage import ModelCall
from agentr_lite.recipe.settings import EnvironmentSettings, Recipe
from agentr_lite.report.render.page import render_page
from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store, runs, splices, trees
from agentr_lite.store.records import JudgementRow, NodeRow
from tests.support import loop_case
from tests.support.corridor import Corridor
from tests.support.planted_trees import node

VOID = {"meta", "link", "input", "br", "img"}

HOSTILE = (
    "</script><script>window.owned = 1</script><img src=x onerror='window.owned = 1'>"
    "<!-- {{ 7 * 7 }} & \x1b[31mred\x1b[0m nul\x00 \u202eright to left\u202c שלום 🦙"
)


class Page(HTMLParser):
    """A page's elements and texts; its tags must nest."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = source
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in self.inside:
            self.inside[tag].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in self.inside:
            self.inside[self._open[-1]][-1] += data
        else:
            self.texts.append(data)

    def of(self, tag: str, class_: str = "") -> list[dict[str, str | None]]:
        """Attributes of the elements with a tag and a class."""
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and (not class_ or class_ in (attributes.get("class") or "").split())
        ]

    @property
    def text(self) -> str:
        """All text that a reader could see."""
        return " ".join(" ".join(self.texts).split())

    @property
    def data(self) -> dict[str, Any]:
        """What the page's script reads."""
        return json.loads(self.inside["script"][0])


def make_database(folder: Path, *options: str) -> Path:
    """A whole run of two rounds, with a scripted player."""
    path = folder / "runs.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGENTR_LITE_HOME", str(folder / "home"))
        loop_case.install(patch.setattr)
        recipe = loop_case.write_recipe(folder)
        with pytest.raises(SystemExit) as ended:
            main(["run", str(recipe), "-d", str(path), *options])
        assert not ended.value.code
    return path


def page_of(path: Path, **options: Any) -> Page:
    """The report of a database's newest run."""
    with Store.open(path, create=False, read_only=True) as store:
        run = runs.get_run(store, "latest")
        return Page(render_page([(store, run.id)], **options))


def plant(path: Path, nodes: Sequence[NodeRow], text: str = "") -> str:
    """A run with one tree of given nodes and, where ``text`` is given, one splice that says it."""
    with Store.open(path) as store:
        run = create_run(
            store, Recipe(env=(EnvironmentSettings("corridor"),), name=text or "custom")
        )
        tree = trees.save_tree(
            store,
            run_id=run,
            round_index=1,
            wave=0,
            env="corridor",
            task=Corridor().tasks("train")[0],
            instructions=text or "Open the door.",
            nodes=nodes,
            calls=[ModelCall(0, (1, 2, 3), 20, 5, 9)],
            simulations=1,
            error=text or None,
        )
        if text:
            good = splices.save_trajectory(store, tree, 1, kind="good", reward=1.0, steps=1)
            bad = splices.save_trajectory(store, tree, 2, kind="bad", reward=0.0, steps=1)
            splices.save_judgements(store, [JudgementRow(bad, 0, 2, "bad", "reason", reason=text)])
            messages = [
                {"role": role, "content": text}
                for role in ("system", "user", "assistant", "user", "assistant")
            ]
            splices.save_revision(
                store,
                run_id=run,
                round_index=1,
                good_id=good,
                bad_id=bad,
                parting_step=0,
                cut_step=1,
                reflection=text,
                revision_length=1,
                naive_reward=0.0,
                status="recovered",
                reason=text,
                messages=messages,  # type: ignore[arg-type]
                loss=[False, False, False, False, True],
            )
        runs.set_run_status(store, run, "failed", error=text or "cut")
    return run


def hostile_database(path: Path) -> Path:
    """A run in which every text that a model or an environment could write is hostile."""
    said = {"text": f"{HOSTILE}\nAction: {HOSTILE}", "action": HOSTILE, "observation": HOSTILE}
    plant(
        path,
        [
            node(0, None, 0, visits=3, value_sum=1.0, observation=HOSTILE),
            node(1, 0, 1, reward=1.0, terminated=True, visits=1, value_sum=1.0, **said),
            node(2, 0, 1, terminated=True, visits=1, **said),
        ],
        HOSTILE,
    )
    return path
