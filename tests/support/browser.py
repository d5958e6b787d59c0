"""Pages in a real browser.

Tests that use ``browser`` are skipped where there is no Chromium: `apt install
chromium-headless-shell`, `playwright install chromium`, or the path of one in ``CHROMIUM``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.report import find_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import Page as Tab

DESK = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 740}


@dataclass
class Visit:
    """A tab with what it asked for and complained of."""

    tab: Tab
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    playwright_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'"
    )
    path = find_browser()
    with playwright_api.sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        if path is None and not Path(own).exists():
            pytest.skip("no Chromium here: install one, or name it in CHROMIUM")
        # Without the sandbox, so that it starts as root in a container; it opens our page alone.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def visit(browser: Browser, path: Path, **options: Any) -> Visit:
    """Open a file; the browser is told to be offline, and what it asks for is written down."""
    context = browser.new_context(offline=True, **{"viewport": DESK, **options})
    seen = Visit(context.new_page())
    seen.tab.on("request", lambda request: seen.requests.append(request.url))
    seen.tab.on("console", lambda message: seen.complaints.append(message.text))
    seen.tab.on("pageerror", lambda error: seen.complaints.append(str(error)))
    seen.tab.goto(path.as_uri())
    return seen
