"""A run on several environments in the HTML report, the study's tables and the inspector."""

from __future__ import annotations

from pathlib import Path

import pytest
from agentr_lite_tui.app import Inspector
from agentr_lite_tui.screens.compare import CompareScreen
from agentr_lite_tui.screens.episodes import EpisodesScreen
from agentr_lite_tui.widgets.table import Table
from textual.pilot import Pilot

from agentr_lite.cli import main
from agentr_lite.envs import registry
from agentr_lite.metrics.measures import SUCCESS
from agentr_lite.metrics.methods import MethodRuns
from agentr_lite.metrics.pooling import difference_of
from agentr_lite.report.model.chosen import choose_trees
from agentr_lite.report.model.comparison import gather_compared
from agentr_lite.report.model.run import gather
from agentr_lite.report.model.series import load_series
from agentr_lite.report.tables.methods import method_sections
from agentr_lite.report.tables.run import run_sections
from agentr_lite.store import Store, runs
from tests.runs.test_multitask import HALL, OWN
from tests.support import loop_case
from tests.support.inspector_cases import drive, picture, press
from tests.support.report_case import page_of

ENVS = ["corridor", "hall"]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the scripted player on two environments."""
    folder = tmp_path_factory.mktemp("shown")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGENTR_LITE_HOME", str(folder / "home"))
        loop_case.install(patch.setattr)
        patch.setattr(registry, "_BUILT_IN", {**registry._BUILT_IN, "hall": HALL})
        recipe = loop_case.write_recipe(folder)
        text = recipe.read_text().replace("env: corridor\n", OWN)
        recipe.write_text(text.replace("tasks: 5", "tasks: 6"))
        with pytest.raises(SystemExit) as ended:
            main(["run", str(recipe), "-d", str(folder / "runs.db")])
        assert not ended.value.code
    return folder / "runs.db"


def test_the_page_names_the_environments(database: Path) -> None:
    page = page_of(database)
    legends = [part.partition("</ul>")[0] for part in page.source.split('<ul class="legend">')[1:]]
    named = [legend for legend in legends if all(f" {env}</li>" in legend for env in ENVS)]
    assert len(named) >= 3, "success, recovery, repeated steps"
    assert all(" mean</li>" in legend for legend in named)
    for env in ENVS:
        assert f"{env}, round 1" in page.text
        assert f"{env} · round" in page.text, "at a tree"
    assert "the mean of corridor, hall" in page.text


def test_trees_are_chosen_from_each(database: Path) -> None:
    with Store.open(database, create=False) as store:
        run = runs.get_run(store, "latest").id
        for limit, counts in ((2, [1, 1]), (3, [2, 1]), (6, [3, 3]), (100, None)):
            chosen = [choice.tree for choice in choose_trees(store, run, limit=limit)]
            envs = [tree.task.env for tree in chosen]
            assert envs == sorted(envs), "one environment after the other"
            assert len({tree.id for tree in chosen}) == len(chosen)
            assert counts is None or [envs.count(env) for env in ENVS] == counts


def test_series_of_the_mean_count_environments_alike(database: Path) -> None:
    with Store.open(database, create=False) as store:
        series = load_series(store, gather(store, "latest"))
    assert list(series.by_env) == ENVS
    for number, mean in series.repeated.items():
        values = [series.by_env[env].repeated[number].value for env in ENVS]
        assert mean.value == pytest.approx(sum(values) / 2)
    assert series.learnt_lengths and series.losses


def test_a_comparison_averages_as_one_run_does(database: Path) -> None:
    with Store.open(database, create=False) as store:
        [one] = gather_compared([(store, runs.get_run(store, "latest").id)])
    [line] = [x for x in one.report.evals_of("greedy", "test") if x.round == 2]
    assert line.figures.versus_base and line.figures.by_env and line.figures.success
    wanted = line.figures.versus_base.success
    own = {one.played.seed: one.played.rounds}
    found = difference_of(SUCCESS, own, 2, own, 0, seed=one.played.seed)
    assert found is not None
    for end in ("value", "low", "high"):
        assert getattr(found, end) == pytest.approx(getattr(wanted, end))
    results = MethodRuns([one.played], {one.method: "loop"})
    assert results.envs == ENVS
    sections = {section.title: section for section in method_sections(results)}
    for env in ENVS:
        row = sections[f"Success, {env}"].rows[-1]
        share = line.figures.by_env[env].success
        assert share and row[3] == f"{100 * share.value:.1f} %"
    mean = sections["Success, mean over the environments"].rows[-1]
    assert mean[3] == f"{100 * line.figures.success.value:.1f} %"


def test_endings_are_counted_in_each_environment(database: Path) -> None:
    with Store.open(database, create=False) as store:
        report = gather(store, "latest")
    [behaviour] = [s for s in run_sections(report) if s.title == "Behaviour on test, greedy"]
    [note] = [str(note) for note in behaviour.notes if "cut at a step limit" in str(note)]
    assert [f"({env}, base)" in note for env in ENVS] == [True, True] and "mean" not in note
    [base] = [x for x in report.evals_of("greedy", "test") if x.round == 0]
    assert base.endings.cut == sum(part.endings.cut for part in base.by_env()) > 0


def test_the_inspector_shows_one_environment_or_all(database: Path) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        def envs(column: int) -> set[str]:
            return {str(row.cells[column][0]) for row in app.screen.query_one(Table).rows}

        await press(pilot, "enter")
        assert envs(2) == set(ENVS)
        await press(pilot, "E")
        assert envs(2) == {"corridor"} and "corridor" in picture(app).splitlines()[-2]
        await press(pilot, "E")
        assert envs(2) == {"hall"}
        await press(pilot, "E", "e")
        assert envs(1) == {*ENVS, "mean"}
        text = picture(app)
        assert "success, greedy, test, corridor" in text
        # The first row is of one environment: so are its episodes.
        await press(pilot, "home", "enter")
        assert isinstance(app.screen, EpisodesScreen) and envs(2) == {"corridor"}
        await press(pilot, "E", "E")
        assert envs(2) == set(ENVS)
        await press(pilot, "escape", "home", "t")
        assert isinstance(app.screen, CompareScreen) and envs(2) == {"corridor"}
        await press(pilot, "E")
        assert envs(2) == {"hall"}

    drive(database, script)
