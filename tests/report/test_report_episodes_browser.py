"""Held-out episodes in a real browser: filtered, sorted, opened, by mouse, keys and on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agentr_lite.report.render.page import render_page
from agentr_lite.store import Store
from tests.support.browser import DESK, PHONE, browser, visit
from tests.support.episode_case import EPISODES, REFUSED, plant_episodes, step
from tests.support.report_case import HOSTILE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator
    from playwright.sync_api import Page as Tab

__all__ = ["browser"]


def write(folder: Path, *runs: str) -> Path:
    target = folder / "report.html"
    with Store.open(folder / "runs.db", create=False, read_only=True) as store:
        target.write_text(render_page([(store, run) for run in runs]), "utf-8")
    return target


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("episodes")
    return write(folder, plant_episodes(folder / "runs.db"))


def names(tab: Tab) -> list[str]:
    tab.wait_for_selector(".played tbody button")
    return tab.locator(".played:visible tbody th .dim").all_inner_texts()


def opened(tab: Tab, name: str) -> Locator:
    tab.locator(".played:visible tbody tr", has_text=name).first.locator("button").click()
    tab.wait_for_selector(".transcript .opened")
    return tab.locator(".transcript:visible")


def press(tab: Tab, name: str) -> None:
    tab.locator(".filters button", has_text=name).click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_opening_an_episode_asks_for_nothing_and_nothing_sticks_out(
    browser: Browser, report: Path, scheme: str, viewport: dict[str, int]
) -> None:
    seen = visit(browser, report, color_scheme=scheme, viewport=viewport)
    opened(seen.tab, "gained")
    assert seen.requests == [report.as_uri()]
    assert seen.complaints == []
    assert seen.tab.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def test_filters_say_how_many_and_show_them(browser: Browser, report: Path) -> None:
    tab = visit(browser, report).tab
    assert names(tab) == ["gained", "lost", "failed", "kept"]
    assert tab.locator(".filters button").all_inner_texts() == [
        "All 4",
        "▲ Gained 1",
        "▼ Lost 1",
        "✓ Kept 1",
        "✗ Failed 1",
    ]
    for label, left in (("Gained", "gained"), ("Lost", "lost"), ("Kept", "kept")):
        press(tab, label)
        assert names(tab) == [left]
    press(tab, "Failed")
    assert names(tab) == ["failed"]
    # Against round 1 instead, nothing was lost.
    tab.locator("select.right").select_option("1")
    press(tab, "Lost")
    tab.wait_for_selector(".played tbody:not(:has(tr))", state="attached")
    assert "▼ Lost 0" in tab.locator(".filters").inner_text()


def test_a_task_is_found_by_name_or_goal(browser: Browser, report: Path) -> None:
    tab = visit(browser, report).tab
    names(tab)
    field = tab.get_by_label("Find a task by its name or goal")
    field.fill("THING: KEP")
    assert names(tab) == ["kept"]
    assert tab.locator(".played .tools output").first.inner_text() == "1 of 4 tasks"
    field.fill("")
    assert len(names(tab)) == 4


def test_columns_sort_both_ways(browser: Browser, report: Path) -> None:
    tab = visit(browser, report).tab
    names(tab)

    def sort(column: str) -> list[str]:
        tab.locator(".played thead button", has_text=column).click()
        return names(tab)

    assert sort("task") == ["failed", "gained", "kept", "lost"]
    assert sort("task") == ["lost", "kept", "gained", "failed"]
    assert tab.locator("th[aria-sort=descending]").inner_text().startswith("task")
    assert sort("steps")[0] == "gained"
    assert sort("reward")[-2:] == ["lost", "failed"]


def test_the_two_sides_are_aligned_from_their_first_difference_on(
    browser: Browser, report: Path
) -> None:
    tab = visit(browser, report).tab
    panel = opened(tab, "gained")
    assert "They differ from step 2 on: get 9 suns against get 2 log." in panel.inner_text()
    assert panel.locator(".apart").all_inner_texts() == ["first difference · step 2"] * 2
    tops = (
        panel.locator(".beside")
        .last.locator(".side")
        .evaluate_all(
            "sides => sides.map(s => [...s.querySelectorAll('li')].map("
            "li => Math.round(li.getBoundingClientRect().top)))"
        )
    )
    assert len(tops) == 2
    assert tops[0][: len(tops[1])] == tops[1]
    left = panel.locator(".beside").last.locator(".side").first
    assert left.get_by_label("invalid action").count() == 2
    assert left.get_by_label("repeats the steps just before it").count() == 1
    # What both share is folded away.
    assert not panel.locator(".same .turn").first.is_visible()
    panel.locator(".same summary").click()
    assert panel.locator(".same .turn").all_inner_texts()[0].startswith("1")


def test_equal_episodes_are_shown_whole(browser: Browser, report: Path) -> None:
    panel = opened(visit(browser, report).tab, "kept")
    assert "The two episodes are the same." in panel.inner_text()
    assert panel.locator(".turn:visible").count() == 4
    assert panel.locator(".side h4").all_inner_texts() == ["base ✓ solved", "round 2 ✓ solved"]
    assert panel.locator(".apart").count() == 0


def test_on_a_phone_one_side_is_below_the_other(browser: Browser, report: Path) -> None:
    tab = visit(browser, report, viewport=PHONE).tab
    panel = opened(tab, "gained")
    # Measured at once: the page may still be scrolling to it.
    above, below = (
        panel.locator(".beside")
        .last.locator(".side")
        .evaluate_all("sides => sides.map(side => side.getBoundingClientRect().toJSON())")
    )
    assert above["left"] == below["left"]
    assert above["bottom"] <= below["top"]


def test_other_rounds_are_chosen_and_the_transcript_follows(browser: Browser, report: Path) -> None:
    tab = visit(browser, report).tab
    panel = opened(tab, "gained")
    tab.locator("select.left").select_option("1")
    tab.wait_for_selector("text=They differ from step 2 on: craft thing against get 2 log.")
    assert panel.locator(".side h4").all_inner_texts() == ["round 1 ✓ solved", "round 2 ✓ solved"]
    tab.locator("select.right").select_option("1")
    assert tab.locator("select.left").input_value() == "0"


def test_keys_walk_through_tasks_and_transcripts(browser: Browser, report: Path) -> None:
    tab = visit(browser, report).tab
    names(tab)
    tab.locator(".played tbody button").first.focus()
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".transcript .opened >> text=lost")
    assert tab.evaluate("document.activeElement.className") == "transcript"
    tab.keyboard.press("ArrowRight")
    tab.wait_for_selector(".opened >> text=3 of 4")
    tab.keyboard.press("ArrowLeft")
    tab.wait_for_selector(".opened >> text=2 of 4")
    assert tab.locator("tr[aria-current] .dim").inner_text() == "lost"
    tab.keyboard.press("Escape")
    assert not tab.locator(".transcript").is_visible()
    assert tab.evaluate("document.activeElement.textContent") == "craft a thing: lost"


def test_opening_unpacks_one_block(browser: Browser, tmp_path: Path) -> None:
    many = {f"task-{at}": [[step(f"look {at}", REFUSED)]] * 2 for at in range(60)}
    page = write(tmp_path, plant_episodes(tmp_path / "runs.db", many))
    counting = "const inflate_ = Blob.prototype.stream; window.inflated = 0;"
    counting += "Blob.prototype.stream = function () {"
    counting += " window.inflated += 1; return inflate_.call(this); };"
    context = browser.new_context()
    context.add_init_script(counting)
    tab = context.new_page()
    tab.goto(page.as_uri())
    assert len(names(tab)) == 60
    assert tab.evaluate("window.inflated") == 1, "the table"
    opened(tab, "task-3")
    assert tab.evaluate("window.inflated") == 3, "the table, the common texts, one block"
    opened(tab, "task-4")
    assert tab.evaluate("window.inflated") == 3


def test_more_tasks_come_on_request(browser: Browser, tmp_path: Path) -> None:
    many = {f"task-{at}": [[step("look")]] * 2 for at in range(410)}
    tab = visit(browser, write(tmp_path, plant_episodes(tmp_path / "runs.db", many))).tab
    assert len(names(tab)) == 200
    tab.get_by_role("button", name="Show 200 more of 210").click()
    assert len(names(tab)) == 400
    tab.get_by_role("button", name="Show 10 more of 10").click()
    assert len(names(tab)) == 410
    assert not tab.locator("button.more-tasks").is_visible()


def test_an_address_leads_to_an_episode(browser: Browser, report: Path) -> None:
    tab = visit(browser, report).tab
    opened(tab, "lost")
    address = tab.url
    assert "#played-1-task-" in address
    other = browser.new_context(offline=True).new_page()
    other.goto(address)
    other.wait_for_selector(".transcript .opened >> text=lost")


def test_of_several_runs_one_table_is_shown(browser: Browser, tmp_path: Path) -> None:
    ids = [plant_episodes(tmp_path / "runs.db", seed=seed) for seed in (1, 2)]
    tab = visit(browser, write(tmp_path, *ids)).tab
    names(tab)
    assert not tab.locator("#episodes .unscripted").is_visible()
    assert tab.locator(".played:visible").count() == 1
    tab.locator(".choice").nth(1).click()
    assert tab.locator(".played:visible").get_attribute("id") == "played-2"
    assert "They differ" in opened(tab, "gained").inner_text()


def test_without_a_script_the_table_is_there(browser: Browser, report: Path) -> None:
    tab = visit(browser, report, java_script_enabled=False).tab
    assert tab.locator(".played tbody tr").count() == len(EPISODES)
    told = tab.locator("#episodes .unscripted")
    assert told.is_visible()
    assert told.inner_text().startswith("The transcripts need JavaScript.")
    assert "0 → 1" in tab.locator(".played tbody tr").first.inner_text()


def test_a_browser_without_unpacking_says_so(browser: Browser, report: Path) -> None:
    context = browser.new_context(offline=True)
    context.add_init_script("delete window.DecompressionStream")
    tab = context.new_page()
    tab.goto(report.as_uri())
    tab.wait_for_selector("text=it has no DecompressionStream")
    assert tab.locator(".played tbody tr").count() == len(EPISODES)


def test_hostile_episodes_run_nothing(browser: Browser, tmp_path: Path) -> None:
    said = step("look", HOSTILE)
    run = plant_episodes(
        tmp_path / "runs.db", {HOSTILE: [[said], [said]]}, observation=HOSTILE, goal=HOSTILE
    )
    seen = visit(browser, write(tmp_path, run))
    names(seen.tab)
    opened(seen.tab, "window.owned")
    assert seen.tab.evaluate("window.owned") is None
    assert seen.complaints == []


def test_a_term_leads_to_its_line(browser: Browser, report: Path) -> None:
    tab = visit(browser, report).tab
    names(tab)
    term = tab.locator("#tables .term").first
    href = term.get_attribute("href") or ""
    term.click()
    target = tab.locator(f"{href}:target")
    assert target.count() == 1
    assert target.locator("dd").inner_text() == term.get_attribute("title")
