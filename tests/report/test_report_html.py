"""The HTML report: one file that loads nothing, says what was measured, and trusts no text."""

from __future__ import annotations

import base64
import hashlib
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentr_lite.report.model.chosen import choose_trees
from agentr_lite.report.model.comparison import method_names, run_labels
from agentr_lite.report.render.excerpts import Excerpts, shorten
from agentr_lite.report.render.page import embedded_json, render_page
from agentr_lite.report.render.tree_page import NODE_LIMIT, best_path, kept_nodes
from agentr_lite.store import Store, runs
from agentr_lite.store.inspection import TreeShape
from agentr_lite.store.splices import list_revisions
from agentr_lite.store.trees import list_trees, load_tree
from tests.support.command_line import Call
from tests.support.planted_trees import node
from tests.support.report_case import HOSTILE, Page, hostile_database, make_database, page_of, plant


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_database(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same recipe with another seed, in a database of its own."""
    return make_database(tmp_path_factory.mktemp("other"), "--seed", "6")


@pytest.fixture(scope="module")
def page(database: Path) -> Page:
    return page_of(database)


def test_the_page_names_no_other_file(page: Page) -> None:
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert name != "style", tag
            assert not name.startswith("on"), (tag, name)
            if name in ("href", "src", "action", "data", "poster", "srcset", "xlink:href"):
                assert value == "data:," or (value or "").startswith("#"), (tag, name, value)
    assert not re.search(r"@import|url\(", page.inside["style"][0])
    assert not re.search(
        r"\b(fetch|XMLHttpRequest|WebSocket|import)\b *\(", page.inside["script"][1]
    )
    assert "http://" not in page.source
    assert "https://" not in page.source


def test_its_policy_allows_its_own_script_and_style_alone(page: Page) -> None:
    policy = next(m["content"] for m in page.of("meta") if m.get("http-equiv")) or ""
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for rule, source in (
        ("script-src", page.inside["script"][1]),
        ("style-src", page.inside["style"][0]),
    ):
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_links_lead_somewhere_and_ids_are_one_of_a_kind(page: Page) -> None:
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for link in page.of("a"):
        assert (link["href"] or "").removeprefix("#") in ids


def test_every_plot_is_sound_and_has_words_and_figures(page: Page) -> None:
    plots = re.findall(r"<svg[^>]*class=\"plot\".*?</svg>", page.source, re.DOTALL)
    figures = page.of("figure")
    assert len(figures) == 11
    for drawn in plots:
        assert ET.fromstring(drawn).get("aria-label")
    parts = page.source.split("<figure")[1:]
    assert all("<table>" in part and "<figcaption>" in part for part in parts)


def test_the_tables_say_what_the_report_in_the_terminal_says(
    page: Page, database: Path, cli: Call
) -> None:
    _, out, _ = cli("report", "-d", database, "--md")
    for line in out.splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            for cell in line.strip("| ").split(" | "):
                assert cell.replace("\\", "").strip() in page.text


def test_recipe_seed_and_versions_are_there(page: Page, database: Path) -> None:
    with Store.open(database, read_only=True) as store:
        run = runs.get_run(store, "latest")
    assert f"Run {run.id}" in page.text
    assert "recovery_attempts: 2" in page.text
    assert f"seed: {run.seed}" in page.text
    for name, version in run.versions.items():
        assert f"{name} {version}" in page.text


def test_the_trees_are_those_of_the_database(database: Path) -> None:
    with Store.open(database, read_only=True) as store:
        run = runs.get_run(store, "latest").id
        page = Page(render_page([(store, run)], tasks=["corridor-3-1"]))
        stored = list_trees(store, run, task="corridor-3-1")
        nodes = [load_tree(store, tree.id) for tree in stored]
    records = page.data["trees"]
    assert len(records) == len(stored) == len(page.of("section", "tree"))
    texts, marks = page.data["texts"], page.data["marks"]
    for record, rows in zip(records, nodes, strict=True):
        assert record["idx"] == [row.idx for row in rows]
        assert record["parent"][0] == -1
        assert record["parent"][1:] == [row.parent_idx for row in rows[1:]]
        assert record["visits"] == [row.visits for row in rows]
        assert record["value"] == pytest.approx([row.value for row in rows], abs=1e-4)
        for at, row in enumerate(rows):
            assert record["reward"][at] == (row.reward if row.ended else None)
            assert texts[record["observation"][at]] == row.observation
            if row.action is not None:
                assert texts[record["action"][at]] == row.action
            assert (marks[record["mark"][at]][0] == "✓") == (row.terminated and row.reward == 1)
        if record["best"]:
            assert record["best"][0] == 0
            end = rows[record["best"][-1]]
            assert end.reward == max(row.reward for row in rows if row.ended)


def test_every_splice_shows_both_sides_the_cut_and_the_outcome(database: Path) -> None:
    with Store.open(database, read_only=True) as store:
        run = runs.get_run(store, "latest").id
        names = sorted({tree.task.name for tree in list_trees(store, run)})
        page = Page(render_page([(store, run)], tasks=names))
        revisions = list_revisions(store, run)
    assert {row.status for row in revisions} >= {"replayed", "recovered"}
    parts = page.source.split('<details class="splice card"')[1:]
    assert len(parts) == len(revisions)
    for part in parts:
        assert part.count('class="side bad-side"') == part.count('class="side good-side"') == 1
        assert part.count('<li class="cut"') == 1
    splices = "".join(parts)
    recovered = "Accepted: a recovery search found a continuation that earns the reward"
    assert splices.count(recovered) == sum(row.status == "recovered" for row in revisions)
    for row in revisions:
        assert row.reflection in page.text
    # The kind of a cut, which the sentence after it repeats, is left out.
    assert "judged bad" in splices and "judged: step" not in splices
    # The learnt turns are marked, and no others.
    learnt = sum(sum(row.loss or ()) for row in revisions)
    assert splices.count('<span class="loss" title="learnt">') == learnt


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    page = page_of(hostile_database(tmp_path / "runs.db"))
    assert len(page.inside["script"]) == 2
    assert not page.of("img")
    assert not re.search("[\x00\x1b\u202e\u202c]", page.source)
    # As it is in the tree's texts and in the splice, its dangerous characters visible.
    shown = shorten(HOSTILE, 1000)
    assert shown in page.data["texts"]
    assert " ".join(shown.split()) in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "שלום 🦙" in page.text


def test_a_huge_observation_is_cut_and_said(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    huge = "x" * 1_000_000
    plant(path, [node(0, None, 0, observation=huge), node(1, 0, 1, observation=huge)])
    page = page_of(path)
    assert len(page.source) < 200_000
    assert any(text.endswith("[980,000 more characters]") for text in page.data["texts"])


def test_a_chain_of_2000_steps(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    chain = [node(0, None, 0)] + [node(i, i - 1, i) for i in range(1, 2000)]
    plant(path, chain)
    record = page_of(path).data["trees"][0]
    assert record["nodes"] == 2000
    assert len(record["idx"]) == NODE_LIMIT
    assert record["hidden"][-1] == 1


def test_a_run_without_anything_is_a_page_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    plant(path, [node(0, None, 0)])
    page = page_of(path, trees=0)
    assert "Nothing has been evaluated yet." in page.text
    assert "failed: cut" in page.text
    assert page.data["trees"] == []


def test_the_same_database_gives_the_same_page(database: Path, page: Page) -> None:
    assert page_of(database).source == page.source


def test_runs_of_two_databases_are_pooled_and_compared(database: Path, other: Path) -> None:
    with Store.open(database, read_only=True) as one, Store.open(other, read_only=True) as two:
        sources = [(store, runs.get_run(store, "latest").id) for store in (one, two)]
        page = Page(render_page(sources))
    assert "2 runs compared" in page.text
    assert "seed 5 · seed 6" in page.text
    # The same tasks in both: pooled over seeds, each run in the table of runs.
    assert "Held-out tasks solved" in page.text
    assert "Between the methods" not in page.text
    assert all(run in page.text for _, run in sources)
    assert len(page.of("details", "run")) == 2
    trees = page.of("section", "tree")
    assert len(trees) == 6


def test_labels_say_what_differs(database: Path) -> None:
    with Store.open(database, read_only=True) as store:
        run = runs.get_run(store, "latest")
    from dataclasses import replace

    loose = {**run.recipe, "splice": {**run.recipe["splice"], "verify": "off"}}
    rows = [run, replace(run, id="b", seed=9), replace(run, id="c", recipe=loose)]
    methods = method_names(rows)
    assert methods[0] == methods[1] == "loop, verify replay"
    assert methods[2] == "loop, verify off"
    assert run_labels(rows, methods) == [
        "loop, verify replay, seed 5",
        "loop, verify replay, seed 9",
        "loop, verify off, seed 5",
    ]
    # Twins have nothing but their ids.
    twins = [run, replace(run, id="twin")]
    assert run_labels(twins, method_names(twins)) == [run.id, "twin"]


def test_trees_are_chosen_for_what_they_show(database: Path) -> None:
    with Store.open(database, read_only=True) as store:
        run = runs.get_run(store, "latest").id
        few = choose_trees(store, run, limit=3)
        all_of_them = choose_trees(store, run, limit=99)
        count = len(list_trees(store, run))
    assert len(few) == 3
    assert few[0].why.startswith("the joined texts failed their replay")
    assert any(row.status == "recovered" for row in few[0].revisions)
    assert len({choice.tree.id for choice in all_of_them}) == len(all_of_them) == count


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 30), st.data())
def test_of_a_large_tree_the_visited_part_is_kept_with_its_ways(
    parents: list[int], limit: int, data: st.DataObject
) -> None:
    parent = [-1] + [p % (i + 1) for i, p in enumerate(parents)]
    size = len(parent)
    visits = [1] * size
    for idx in range(size - 1, 0, -1):
        visits[parent[idx]] += visits[idx]
    shape = TreeShape(parent, visits, [0.0] * size, [0.0] * size, [0] * size, [0] * size)
    wanted = data.draw(st.sets(st.integers(0, size - 1), max_size=3))
    kept = kept_nodes(shape, wanted, limit)
    assert kept == sorted(set(kept))
    assert set(kept) >= wanted
    assert all(parent[idx] in kept for idx in kept if idx)
    ways = {0}
    for idx in wanted:
        while idx > 0:
            ways.add(idx)
            idx = parent[idx]
    assert len(kept) == min(size, max(limit, len(ways)))


def test_the_best_path_is_the_shortest_to_the_highest_reward() -> None:
    shape = TreeShape(
        parent=[-1, 0, 1, 0, 3],
        visits=[4, 2, 1, 1, 1],
        value=[0.0] * 5,
        reward=[0.0, 0.0, 1.0, 1.0, 0.5],
        kind=[0, 1, 1, 1, 1],
        flags=[0, 0, 1, 1, 1],
    )
    assert best_path(shape) == [0, 3]
    assert best_path(TreeShape([-1], [1], [0.0], [0.0], [0], [0])) == []


@given(st.text(max_size=80), st.integers(1, 40))
def test_excerpts_are_safe_and_say_what_is_left_out(text: str, limit: int) -> None:
    shown = shorten(text, limit)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", shown)
    assert ("more characters]" in shown) == (len(text) > limit or "more characters]" in text)


def test_excerpts_keep_to_a_budget_and_each_text_once() -> None:
    texts = Excerpts()
    assert [texts.add("a" * 5000), texts.add("b"), texts.add("a" * 5000)] == [0, 1, 0]
    assert texts.finish()[0] == "a" * 5000
    cut, short = texts.finish(budget=3000)
    assert cut.startswith("a" * 2000 + " … [3,000")
    assert short == "b"


@given(st.text(max_size=60))
def test_embedded_data_cannot_end_its_element(text: str) -> None:
    import json

    written = str(embedded_json({"text": text}))
    assert not set("<>&") & set(written)
    assert json.loads(written) == {"text": text}


def test_the_command_writes_a_file_and_overwrites_on_request_only(
    database: Path, tmp_path: Path, cli: Call
) -> None:
    target = tmp_path / "out" / "report.html"
    assert cli("report", "-d", database, "--html", target)[0] == 2
    assert not target.parent.exists()
    target.parent.mkdir()
    code, out, err = cli("report", "-d", database, "--html", target)
    assert (code, out) == (0, "")
    assert f"Wrote {target}" in err
    assert Page(target.read_text("utf-8")).of("figure")
    code, _, err = cli("report", "-d", database, "--html", target)
    assert code == 2
    assert "Add --force to overwrite it." in err
    assert cli("report", "-d", database, "--html", target, "--force", "--trees", 1)[0] == 0
    assert len(Page(target.read_text("utf-8")).data["trees"]) == 1
    assert list(target.parent.iterdir()) == [target]


def test_a_dash_is_stdout_and_runs_may_come_from_elsewhere(
    database: Path, other: Path, cli: Call
) -> None:
    code, out, err = cli("report", "-d", database, "latest", f"{other}:latest", "--html", "-")
    assert (code, err) == (0, "")
    assert "2 runs compared" in Page(out).text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--html", "x.html", "--md"], "--html and --md exclude each other"),
        (["--task", "corridor-3-1"], "--task goes with --html only"),
        (["--html", "x.html", "--task", "a", "--trees", "2"], "--task and --trees exclude"),
        (["--html", "x.html", "--task", "corridor-3-11"], "did you mean 'corridor-3-1'?"),
        (["latest", "latest", "--html", "x.html"], "is named twice"),
        (["nowhere.db:latest", "--html", "x.html"], "nowhere.db"),
    ],
)
def test_wrong_usage_leaves_no_file(
    database: Path,
    cli: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = cli("report", "-d", database, *arguments)
    assert code in (2, 4)
    assert said in " ".join(err.split())
    assert not (tmp_path / "x.html").exists()
