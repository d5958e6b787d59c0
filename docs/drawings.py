"""Draws the two pictures of how-it-works.md.

python docs/drawings.py
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

PICTURES = Path(__file__).parent / "pictures"
STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1f2937; }
.small { font-size: 12px; fill: #4b5563; }
.mono { font: 12px ui-monospace, monospace; }
.box { fill: #ffffff; stroke: #64748b; stroke-width: 1.5; }
.good { fill: #dcfce7; stroke: #15803d; stroke-width: 1.5; }
.bad { fill: #fee2e2; stroke: #b91c1c; stroke-width: 1.5; }
.note { fill: #fef9c3; stroke: #a16207; stroke-width: 1.5; }
.line { fill: none; stroke: #64748b; stroke-width: 1.5; marker-end: url(#arrow); }
.plain { fill: none; stroke: #64748b; stroke-width: 1.5; }
.dashed { fill: none; stroke: #b91c1c; stroke-width: 1.5; stroke-dasharray: 5 4; }
"""


class Drawing:
    """Boxes, lines and words on a white ground."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
            f' width="{width}" height="{height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            '<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7"'
            ' markerHeight="7" orient="auto-start-reverse"><path d="M0 0L10 5L0 10z"'
            ' fill="#64748b"/></marker></defs>',
            f'<rect width="{width}" height="{height}" fill="#f8fafc"/>',
        ]

    def box(
        self, x: int, y: int, width: int, height: int, lines: Sequence[str], kind: str = "box"
    ) -> None:
        """A box with centred lines; the first one is larger."""
        self._parts.append(
            f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>'
        )
        top = y + height / 2 - 9 * (len(lines) - 1) + 5
        for number, line in enumerate(lines):
            size = "" if number == 0 else ' class="small"'
            self._parts.append(
                f'<text{size} x="{x + width / 2}" y="{top + 18 * number}"'
                f' text-anchor="middle">{escape(line)}</text>'
            )

    def text(self, x: int, y: int, words: str, kind: str = "small", anchor: str = "start") -> None:
        """Words that begin, are centred or end at a place."""
        self._parts.append(
            f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'
        )

    def path(self, commands: str, kind: str = "line") -> None:
        """A line, by SVG's path commands."""
        self._parts.append(f'<path class="{kind}" d="{commands}"/>')

    def save(self, name: str) -> Path:
        """Write it, and give its path."""
        path = PICTURES / name
        path.write_text("\n".join([*self._parts, "</svg>"]) + "\n", "utf-8")
        return path


def loop() -> Path:
    """The stages of a round, around the database."""
    drawing = Drawing(860, 330, "The stages of a round, around one database")
    stages = [
        ("search", "several ways to", "play each task"),
        ("splice", "cut at the first error,", "join a good end"),
        ("train", "a LoRA adapter on", "what was joined"),
        ("eval", "tasks that were", "never trained on"),
    ]
    for number, (name, first, second) in enumerate(stages):
        left = 30 + 210 * number
        drawing.box(left, 60, 170, 90, [name, first, second])
        drawing.path(f"M{left + 85} 150L{left + 85} 222")
        if number < 3:
            drawing.path(f"M{left + 170} 105L{left + 208} 105")
    drawing.box(
        30,
        225,
        800,
        70,
        [
            "one SQLite file",
            "trees · verdicts · revisions · adapters · episodes · settings",
        ],
        "note",
    )
    drawing.path("M745 60C745 15 115 15 115 57")
    drawing.text(430, 20, "the next round plays with the new adapter", anchor="middle")
    return drawing.save("how-loop.svg")


def splice() -> Path:
    """A tree, and the training example that is made of it."""
    drawing = Drawing(900, 410, "Two episodes of one tree, and what is learnt from them")
    drawing.text(30, 32, "the tree of one task", "")
    drawing.box(60, 50, 130, 44, ["task"])
    drawing.path("M125 94L125 122")
    drawing.box(60, 124, 130, 44, ["step 1", "shared"])
    drawing.path("M100 168C90 190 75 190 70 212")
    drawing.path("M150 168C165 190 215 190 225 212")
    drawing.box(20, 214, 110, 44, ["step 2", "good"], "good")
    drawing.path("M75 258L75 286")
    drawing.box(20, 288, 110, 44, ["step 3", "good"], "good")
    drawing.text(75, 356, "reward 1", anchor="middle")
    drawing.box(175, 214, 120, 44, ["step 2′", "first error"], "bad")
    drawing.path("M235 258L235 286")
    drawing.box(175, 288, 120, 44, ["step 3′", "bad"], "bad")
    drawing.text(235, 356, "reward 0", anchor="middle")
    drawing.path("M165 268L320 268", "dashed")
    drawing.text(326, 272, "t′: cut here")
    drawing.text(60, 196, "parting", anchor="end")

    drawing.text(480, 32, "the revision, executed before it counts", "")
    rows = [
        ("task", "context", "box"),
        ("step 1", "context", "box"),
        ("step 2′", "context: the error is not learnt", "bad"),
        ("“I made a mistake …”", "learnt", "note"),
        ("step 2", "learnt", "good"),
        ("step 3", "learnt; dropped if the reward is low", "good"),
    ]
    for number, (name, what, kind) in enumerate(rows):
        top = 50 + 58 * number
        drawing.box(480, top, 170, 40, [name], kind)
        drawing.text(664, top + 25, what)
        if number:
            drawing.path(f"M565 {top - 18}L565 {top - 1}")
    drawing.path("M340 200L460 200")
    return drawing.save("how-splice.svg")


if __name__ == "__main__":
    for made in (loop(), splice()):
        print(made)
