"""What a study writes: figures that agree, plots that are sound, documents for people."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.metrics.estimates import Estimate
from agentr_lite.metrics.measures import SUCCESS
from agentr_lite.metrics.pooling import difference_of
from agentr_lite.recipe.groups import EvalSettings
from agentr_lite.recipe.settings import EnvironmentSettings, Recipe
from agentr_lite.report.model.rounds import load_rounds
from agentr_lite.report.tables.methods import method_sections
from agentr_lite.report.tables.wording import difference_phrase, difference_sentence
from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store
from agentr_lite.store.runs import get_run, list_stages, set_run_status
from agentr_lite.study.jobs.cells import FLAWLESS, Cell
from agentr_lite.study.methods import METHODS
from agentr_lite.study.outcomes.results import CellResult, EnvResults
from agentr_lite.study.writeup.ablations import ablation_section
from agentr_lite.study.writeup.document import Chapter, Document, Figure
from agentr_lite.study.writeup.findings import environment_findings
from agentr_lite.study.writeup.glance import glance_sections
from agentr_lite.study.writeup.plots import environment_plot, sheet
from tests.support.stages import eval_stage
from tests.support.stairs import Policy, Scripted, Stairs, act

RECIPE = Recipe(
    env=(EnvironmentSettings("stairs"),), rounds=1, eval=EvalSettings(max_steps=4, batch=8)
)
SVG = "{http://www.w3.org/2000/svg}"


def solves(share: int) -> Policy:
    """Solves ``share`` of every ten tasks."""

    def policy(messages: Any, seed: int) -> str:
        number = int(messages[1]["content"].partition(":")[0].removeprefix("task"))
        return act("up" if number % 10 < share else "rest")

    return policy


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "s.db")


def result(store: Store, method: str, seed: int, *shares: int) -> CellResult:
    recipe = Recipe(**{**RECIPE.__dict__, "seed": seed, "rounds": len(shares) - 1})
    run = create_run(store, recipe)
    for number, share in enumerate(shares):
        env = Stairs(per_split=60)
        eval_stage(store, run, number, RECIPE, env, Scripted(solves(share)))
    set_run_status(store, run, "finished")
    label = METHODS[method].label if method in METHODS else method
    cell = Cell("stairs", method, seed, recipe, label)
    rounds, stages = load_rounds(store, run), list_stages(store, run)
    return CellResult(method, seed, get_run(store, run), rounds, stages, cell)


@pytest.fixture
def results(store: Store) -> EnvResults:
    """40 % before; 70 % with verified splices, 50 % with good data, over three seeds."""
    built = EnvResults(env="stairs", recipe=RECIPE)
    for method, share in (("base", 4), ("verified", 7), ("good", 5)):
        shares = (4,) if method == "base" else (4, share)
        built.runs += [result(store, method, seed, *shares) for seed in (1, 2, 3)]
        built.labels[method] = METHODS[method].label
        built.planned[method] = 3
    return built


def test_values_and_differences(results: EnvResults) -> None:
    value = results.value(SUCCESS, "verified", 1)
    assert value is not None
    assert (value.value, value.n, value.seeds) == (pytest.approx(0.7), 60, (1, 2, 3))
    gain = results.versus_base(SUCCESS, "verified", 1)
    assert gain is not None
    assert gain.value == pytest.approx(0.3)
    assert gain.by_seed == pytest.approx((0.3,) * 3)
    assert gain.p is not None and gain.p < 0.001
    between = results.between(SUCCESS, "verified", "good", 1)
    assert between is not None
    assert between.value == pytest.approx(0.2)
    assert results.value(SUCCESS, "verified", 2) is None
    assert results.value(SUCCESS, "base", 0) is not None


def test_three_copies_of_the_tasks_are_no_more_certain_than_one(results: EnvResults) -> None:
    seeds = results.seeds("verified")
    single = difference_of(SUCCESS, {1: seeds[1]}, 1, {1: seeds[1]}, 0)
    three = results.versus_base(SUCCESS, "verified", 1)
    assert single is not None
    assert three is not None
    assert (single.low, single.high) == (pytest.approx(three.low), pytest.approx(three.high))


def test_sections_say_what_is_noise(results: EnvResults) -> None:
    sections = {section.title: section for section in method_sections(results)}
    success = sections["Success"]
    assert [str(row[0]) for row in success.rows] == [
        "base",
        "Agent-R, verified, round 1",
        "good data only, round 1",
    ]
    assert [str(cell) for cell in success.rows[1][1:4]] == ["3", "60", "70.0 %"]
    assert str(success.rows[1][-1]) == "+30.0, +30.0, +30.0"
    assert str(success.notes[0]).startswith("Agent-R, verified solves 30.0 points more than base")
    between = sections["Between the methods"]
    assert str(between.rows[0][0]) == "Agent-R, verified − good data only"
    assert str(between.rows[0][2]) == "+20.0"
    assert len(sections["Seed by seed"].rows) == 6
    assert {"Behaviour", "Behaviour against the base", "Cost"} <= set(sections)
    # Rewards here are all or nothing: their mean is the success rate.
    assert "Mean reward" not in sections


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.02, 0.1, "+5.0 points (95 % interval +2.0 to +10.0)"),
        (-0.02, 0.1, "+5.0 points (95 % interval −2.0 to +10.0), inside the noise"),
        (0.0, 0.0, "no difference in any task"),
    ],
)
def test_a_difference_in_words(low: float, high: float, words: str) -> None:
    difference = Estimate(0.05, low, high, 10)
    assert difference_phrase(SUCCESS, difference) == words
    sentence = difference_sentence("A", SUCCESS, difference).text
    assert ("noise" in sentence) == (low < 0)
    assert ("no difference" in sentence) == (low == high)


def test_the_plot_is_sound_and_serves_both_schemes(results: EnvResults) -> None:
    drawn = environment_plot(results)
    assert drawn is not None
    root = ET.fromstring(drawn)
    assert root.tag == f"{SVG}svg"
    style = root.find(f"{SVG}style")
    assert style is not None
    assert style.text is not None
    assert "prefers-color-scheme:dark" in style.text
    # What is no plain colour is not understood by every viewer.
    assert "light-dark" not in style.text
    assert "var(" not in style.text
    words = {element.text for element in root.iter(f"{SVG}text")}
    assert {"base", "Agent-R, verified", "good data only", "Success", "Repeated actions"} <= words
    marks = {e.get("class") for e in root.iter() if (e.get("class") or "").startswith("dot")}
    assert {"dot s0", "dot s1", "dot s7"} <= marks
    for mark in marks:
        assert f".{str(mark).replace(' ', '.')}{{fill:#" in style.text
    titles = [e.text or "" for e in root.iter(f"{SVG}title")]
    assert any(t.startswith("Agent-R, verified, round 1: 70 % (") and "n = 60" in t for t in titles)


def test_foreign_names_cannot_break_a_plot() -> None:
    drawn = sheet([], [("<script>&\x1b[2J\x00", 1)], label="<x>")
    root = ET.fromstring(drawn)
    assert "script" not in {element.tag for element in root.iter()}


def test_before_training_there_is_nothing_to_plot(store: Store) -> None:
    built = EnvResults([result(store, "base", 1, 4)], {"base": "base"}, "stairs", RECIPE)
    built.planned["base"] = 1
    assert environment_plot(built) is None
    [success] = [s for s in method_sections(built) if s.title == "Success"]
    assert "Nothing has been trained yet." in success.notes


def test_ablations_are_shown_beside_the_methods_they_change(
    store: Store, results: EnvResults
) -> None:
    results.runs += [result(store, FLAWLESS, seed, 4, 6) for seed in (1, 2, 3)]
    results.labels[FLAWLESS] = "no reflections"
    results.ablation_of[FLAWLESS] = "flawless"
    assert results.methods == ["verified", "good"]
    section = ablation_section([results], "flawless")
    rows = [[str(cell) for cell in row] for row in section.rows]
    assert [row[0] for row in rows] == [
        "stairs: Agent-R, verified",
        "stairs: good data only",
        "stairs: no reflections",
    ]
    at = section.columns.index("outcome vs verified")
    assert [row[at] for row in rows] == ["None", "−20.0", "−10.0"]
    assert "no reflections solves 10.0 points fewer than verified" in str(section.notes[1])


def test_at_a_glance(results: EnvResults) -> None:
    outcomes, against = glance_sections([results])
    assert [str(row[0]) for row in outcomes.rows] == [
        "stairs: base",
        "stairs: Agent-R, verified",
        "stairs: good data only",
    ]
    assert [str(cell) for cell in outcomes.rows[1][1:5]] == ["1", "3", "60", "70.0 %"]
    assert "success and recovery in stairs" in str(outcomes.notes[0])
    [row] = against.rows
    assert [str(cell) for cell in row[:3]] == [
        "stairs: Agent-R, verified − good data only",
        "1",
        "+20.0",
    ]
    gains, order, recovery, *_ = environment_findings(results)
    assert gains.startswith(
        "Agent-R, verified, round 1: success 70.0 %, +30.0 points against the base"
    )
    assert order.startswith("success after round 1, best first: Agent-R, verified 70.0 %, good")
    assert order.endswith("differs from good data only (+20.0) by more than the noise.")
    assert recovery.startswith("recovery after round 1, best first: Agent-R, verified")


def test_all_rounds_at_a_glance(store: Store) -> None:
    built = EnvResults(env="stairs", recipe=RECIPE)
    for method, shares in (("verified", (4, 7, 5)), ("good", (4, 4, 5))):
        built.runs.append(result(store, method, 1, *shares))
        built.labels[method] = METHODS[method].label
        built.planned[method] = 1
    *_, against, together = glance_sections([built])
    assert [[str(cell) for cell in row[:3]] for row in against.rows] == [
        ["stairs: Agent-R, verified − good data only", "1", "+30.0"],
        ["stairs: Agent-R, verified − good data only", "2", "0.0"],
    ]
    assert together.title == "All rounds together"
    assert [[str(cell) for cell in row[:4]] for row in together.rows] == [
        ["stairs: Agent-R, verified", "1 to 2", "1", "60.0 %"],
        ["stairs: good data only", "1 to 2", "1", "45.0 %"],
    ]
    than = together.columns.index("Agent-R, verified − it")
    assert [str(row[than]) for row in together.rows] == ["None", "+15.0"]
    _, _, first, _, over_rounds, *_ = environment_findings(built)
    assert first.startswith("recovery after round 1, best first: Agent-R, verified")
    assert over_rounds.startswith("recovery over rounds 1 to 2, best first: Agent-R, verified")


def test_a_documents_three_forms(results: EnvResults) -> None:
    chapter = Chapter(
        "stairs",
        method_sections(results),
        facts=["60 tasks"],
        findings=["it *rises*"],
        figure=Figure("stairs", "<svg/>"),
    )
    glance = glance_sections([results])
    facts = ["one study"]
    document = Document("Results", "agentr-lite study x", facts, "How to read.", [chapter], glance)
    text = document.markdown("plots")
    assert re.search(r"^# Results\n\nWritten by `agentr-lite study x`", text)
    assert "- stairs: it \\*rises\\*" in text
    assert "![stairs: results by round and method](plots/stairs.svg)" in text
    assert "### Success" in text
    assert text.index("## At a glance") < text.index("## In short") < text.index("## stairs")
    shown = document.terminal(width=100)
    assert max(len(line) for line in re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()) <= 180
    assert shown.rstrip().endswith("stairs: it *rises*")
    data = document.as_json()
    assert data["in_short"] == ["stairs: it *rises*"]
    assert data["parts"][0]["sections"][0]["title"] == "Success"
