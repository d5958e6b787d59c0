"""The screen as an SVG file that needs nothing from the network."""

from __future__ import annotations

import re
from typing import Any

from textual.app import App

_FONTS = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def svg_of(app: App[Any], *, title: str = "") -> str:
    """The screen as an SVG document.

    Textual's picture loads fonts from a server. This one uses the viewer's own monospaced font;
    the picture holds the width of every text, so columns are aligned in any font.

    Args:
        app: a running application.
        title: text above the screen.
    """
    svg = app.export_screenshot(title=title, simplify=True)
    svg = re.sub(r"@font-face\s*\{[^}]*\}\s*", "", svg)
    return re.sub(r"font-family:\s*(?:Fira Code|arial)[^;]*;", f"font-family: {_FONTS};", svg)
