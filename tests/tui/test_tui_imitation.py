"""The inspector names the rounds of a run with imitation."""

from __future__ import annotations

from pathlib import Path

from agentr_lite_tui.screens.episodes import EpisodesScreen
from agentr_lite_tui.screens.evals import lay_out_plots

from agentr_lite.store import Store, runs
from agentr_lite.store.evals import list_evals
from tests.support import loop_case
from tests.support.command_line import Call


def test_rounds_have_their_names(loop: Call, tmp_path: Path, db: Path) -> None:
    recipe = loop_case.write_recipe(tmp_path / "case", loop_case.IMITATION)
    assert loop("run", recipe, "--set", "rounds=0", "-d", db)[0] == 0
    with Store.open(db, create=False) as store:
        run_id = runs.get_run(store, "latest").id
        evals = list_evals(store, run_id)
        plots = lay_out_plots(evals, runs.list_metrics(store, run_id), 80, imitates=True)
        text = "\n".join("".join(str(span[0]) for span in line) for line in plots)
        assert "base" in text and "loss by step, imitation" in text
        start = next(row for row in evals if (row.round, row.mode) == (0, "greedy"))
        screen = EpisodesScreen(store, run_id, start.id)
        # What imitation gained is seen against the base.
        assert screen._base is not None and screen._base.round == -1
