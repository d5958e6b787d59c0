"""The HTML report in a real browser: it loads nothing, says no errors, and the trees unfold.

Skipped where there is no Chromium; see ``tests/support/browser.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agentr_lite.report.render.excerpts import shorten
from agentr_lite.report.render.page import render_page
from agentr_lite.store import Store, runs
from tests.support.browser import DESK, PHONE, browser, visit
from tests.support.planted_trees import node
from tests.support.report_case import HOSTILE, hostile_database, make_database, plant

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator
    from playwright.sync_api import Page as Tab

__all__ = ["browser"]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    return write(make_database(folder), folder / "report.html", tasks=["corridor-3-1"])


def write(database: Path, target: Path, **options: Any) -> Path:
    with Store.open(database, create=False, read_only=True) as store:
        page = render_page([(store, runs.get_run(store, "latest").id)], **options)
    target.write_text(page, "utf-8")
    return target


def rows(tab: Tab) -> Locator:
    return tab.locator(".tree:not([hidden]) [role=treeitem]")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_it_loads_without_a_request_or_a_complaint(
    browser: Browser, report: Path, scheme: str, viewport: dict[str, int]
) -> None:
    seen = visit(browser, report, color_scheme=scheme, viewport=viewport)
    seen.tab.wait_for_load_state("networkidle")
    assert seen.requests == [report.as_uri()]
    assert seen.complaints == []
    plots = seen.tab.locator("figure svg.plot")
    assert plots.count() == 11
    for at in range(plots.count()):
        box = plots.nth(at).bounding_box()
        assert box is not None
        assert box["width"] > 250
        assert box["height"] > 60
    # Nothing sticks out sideways.
    assert seen.tab.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    # Every part can be reached: no link of the heading is cut.
    for link in seen.tab.locator(".top nav a").all():
        box = link.bounding_box()
        assert box is not None and box["x"] + box["width"] <= viewport["width"]
    # The colours are the scheme's.
    light = seen.tab.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).map(Number)[0]"
    )
    assert (light > 128) == (scheme == "light")


def test_a_tree_unfolds_by_mouse_and_by_keyboard(browser: Browser, report: Path) -> None:
    tab = visit(browser, report).tab
    tab.get_by_role("button", name="Close all").first.click()
    assert rows(tab).count() == 1
    assert rows(tab).first.get_attribute("aria-expanded") == "false"
    rows(tab).first.locator(".twist").click()
    opened = rows(tab).count()
    assert opened > 1
    rows(tab).first.focus()
    tab.keyboard.press("ArrowLeft")
    assert rows(tab).count() == 1
    tab.keyboard.press("ArrowRight")
    assert rows(tab).count() == opened
    tab.keyboard.press("ArrowDown")
    chosen = tab.locator(".tree:not([hidden]) [aria-selected=true]")
    assert chosen.count() == 1
    assert chosen.get_attribute("data-at") == "1"
    assert chosen.evaluate("row => row === document.activeElement")
    tab.keyboard.press("End")
    assert chosen.evaluate("row => row === document.activeElement")
    tab.keyboard.press("Home")
    assert chosen.get_attribute("data-at") == "0"
    tab.get_by_role("button", name="Open all").first.click()
    assert rows(tab).count() > opened


def test_a_node_shows_its_turn_and_its_answer(browser: Browser, report: Path) -> None:
    tab = visit(browser, report).tab
    tab.get_by_role("button", name="Best path").first.click()
    detail = tab.locator(".tree:not([hidden]) .detail")
    assert "on the best path" in detail.inner_text()
    assert "reward 1" in detail.inner_text()
    assert "The agent said" in detail.inner_text()
    data = tab.evaluate("JSON.parse(document.getElementById('data').textContent)")
    tree = data["trees"][0]
    end = tree["best"][-1]
    assert data["texts"][tree["observation"][end]] in detail.inner_text()
    # The drawing and the list show the same node; what was never visited has no height in it.
    drawn = max(at for at in tree["best"] if tree["visits"][at])
    tab.locator(f".tree:not([hidden]) [role=treeitem][data-at='{drawn}'] .what").click()
    assert tab.locator(".tree:not([hidden]) .cell.now").get_attribute("data-at") == str(drawn)
    tab.locator(".tree:not([hidden]) .cell").first.click(force=True)
    assert tab.locator("[aria-selected=true]").first.get_attribute("data-at") == "0"


def test_searching_marks_and_walks_the_hits(browser: Browser, report: Path) -> None:
    tab = visit(browser, report).tab
    field_ = tab.locator(".tree:not([hidden]) input[type=search]")
    field_.fill("hold the key")
    told = tab.locator(".tree:not([hidden]) .tools output")
    count = int(told.inner_text().split()[0])
    assert count > 1
    field_.press("Enter")
    field_.press("Enter")
    assert told.inner_text() == f"2 of {count}"
    assert "hold the key" in tab.locator(".tree:not([hidden]) .detail").inner_text()


def test_never_visited_nodes_are_said_and_shown_on_request(browser: Browser, report: Path) -> None:
    tab = visit(browser, report).tab
    tab.get_by_role("button", name="Open all").first.click()
    more = tab.locator(".tree:not([hidden]) .row.more").first
    hidden = int(more.inner_text().split()[1])
    before = rows(tab).count()
    more.click()
    assert rows(tab).count() == before + hidden


def test_choosing_another_tree_and_following_a_splice(browser: Browser, report: Path) -> None:
    tab = visit(browser, report).tab
    assert tab.locator(".tree").count() == 2
    assert tab.locator(".tree:visible").count() == 1
    tab.locator(".pick").nth(1).click()
    assert tab.locator(".tree:visible").get_attribute("id") == "tree-2"
    link = tab.locator(".tree .links a").first
    anchor = (link.get_attribute("href") or "").removeprefix("#")
    tab.locator(".pick").first.click()
    link.click()
    assert tab.locator(f"#{anchor}").evaluate("splice => splice.open")
    # Measured at once: the page may still be scrolling to it.
    tops = tab.locator(f"#{anchor} .sides").evaluate(
        "sides => [...sides.children].map(side => side.getBoundingClientRect().top)"
    )
    assert len(tops) == 2 and tops[0] == tops[1]


def test_the_theme_can_be_chosen(browser: Browser, report: Path) -> None:
    tab = visit(browser, report, color_scheme="light").tab
    button = tab.locator("#theme")

    def paper() -> str:
        return str(tab.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = paper()
    button.click()
    assert (button.inner_text(), paper()) == ("Theme: light", light)
    button.click()
    assert button.inner_text() == "Theme: dark"
    assert paper() != light


def test_text_has_contrast_in_both_schemes(browser: Browser, report: Path) -> None:
    for scheme in ("light", "dark"):
        tab = visit(browser, report, color_scheme=scheme).tab
        worst = tab.evaluate(CONTRAST)
        # WCAG 2.2, 1.4.3: 4.5 to 1.
        assert worst["ratio"] >= 4.5, (scheme, worst)


CONTRAST = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = channels(colour).map((c) => {
      c /= 255;
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let worst = { ratio: 99 };
  for (const box of document.querySelectorAll("main *, header *, footer")) {
    if (!box.checkVisibility() || box.closest("svg, .dropped, .never")) continue;
    const own = [...box.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own) continue;
    let behind = box;
    while (behind && channels(getComputedStyle(behind).backgroundColor)[3] === 0) {
      behind = behind.parentElement;
    }
    const paper = getComputedStyle(behind || document.body).backgroundColor;
    const [a, b] = [light(getComputedStyle(box).color), light(paper)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const text = box.textContent.slice(0, 40);
    if (ratio < worst.ratio) worst = { ratio, text, at: box.className };
  }
  return worst;
}"""


def test_hostile_text_runs_nothing(browser: Browser, tmp_path: Path) -> None:
    page = write(hostile_database(tmp_path / "runs.db"), tmp_path / "page.html")
    seen = visit(browser, page)
    seen.tab.get_by_role("button", name="Best path").click()
    assert seen.tab.evaluate("window.owned") is None
    assert seen.complaints == []
    assert seen.requests == [page.as_uri()]
    said = seen.tab.locator(".detail pre").first
    assert shorten(HOSTILE, 1000) in (said.text_content() or "")


def test_an_injected_script_would_not_run(browser: Browser, report: Path, tmp_path: Path) -> None:
    tampered = tmp_path / "tampered.html"
    script = "<script>window.owned = 1</script><img src='http://127.0.0.1:9/x'>"
    tampered.write_text(report.read_text("utf-8").replace("<footer>", f"{script}<footer>"), "utf-8")
    seen = visit(browser, tampered)
    assert seen.tab.evaluate("window.owned") is None
    assert any("Content Security Policy" in complaint for complaint in seen.complaints)
    assert rows(seen.tab).count() > 0


def test_a_deep_chain_unfolds(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    plant(path, [node(0, None, 0)] + [node(i, i - 1, i) for i in range(1, 2000)])
    seen = visit(browser, write(path, tmp_path / "page.html"))
    seen.tab.get_by_role("button", name="Open all").click()
    assert rows(seen.tab).count() == 1500
    assert "not in this page" in seen.tab.locator(".row.more").inner_text()
    assert seen.complaints == []


def test_without_a_script_the_figures_and_splices_are_there(browser: Browser, report: Path) -> None:
    tab = visit(browser, report, java_script_enabled=False).tab
    assert tab.locator("figure svg.plot").count() == 11
    assert tab.locator(".tree:visible").count() == 2
    assert tab.locator("noscript").count() == 2
    tab.locator(".splice summary").first.click()
    assert "The best path:" in tab.locator(".tree").first.inner_text()
