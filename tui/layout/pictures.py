"""The screen as an SVG file that needs nothing from the network."""

from __future__ import annotations

import re
from typing import Any

from textual.app import App

_FONTS = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def svg_of(app: App[Any], *, title: str = "") -> str:
    """What is on the screen.

    Textual's picture names fonts on somebody's server. Here the viewer's own monospaced font is
    used; the width of every text is part of the picture, so that columns stand in line in any.

    Args:
        app: a running application.
        title: what stands above the screen.
    """
    svg = app.export_screenshot(title=title, simplify=True)
    svg = re.sub(r"@font-face\s*\{[^}]*\}\s*", "", svg)
    return re.sub(r"font-family:\s*(?:Fira Code|arial)[^;]*;", f"font-family: {_FONTS};", svg)
