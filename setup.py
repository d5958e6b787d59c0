"""The description on the package index; everything else about the build is in pyproject.toml.

The README's links and pictures are paths in this repository, which a package index cannot follow.
Where ``project.urls`` has ``Source``, the address of the repository, they are made absolute with
it. Without it, links become plain text and pictures are left out, because neither leads anywhere.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).parent
_PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
# A link's text may hold one picture, whose address may itself be in brackets.
_LINK = re.compile(r"(?<!!)\[((?:!\[[^\]]*\]\([^)\s]*\)|[^\[\]])*)\]\(([^)\s]+)\)")
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)
_FENCE = "```"


def described(readme: str, source: str | None) -> str:
    """The README as a package index can show it.

    Args:
        readme: Markdown, whose relative links begin at the repository's root.
        source: the repository's address at a host that knows ``/blob/HEAD/PATH`` and
            ``/raw/HEAD/PATH`` (GitHub, GitLab); None: there is none.
    """
    base = source.rstrip("/") if source else None

    def picture(match: re.Match[str]) -> str:
        text, target = match.groups()
        if _ELSEWHERE.match(target):
            return match[0]
        return f"![{text}]({base}/raw/HEAD/{target})" if base else ""

    def link(match: re.Match[str]) -> str:
        text, target = match.groups()
        if _ELSEWHERE.match(target):
            return match[0]
        if not base:
            return text
        # A heading of the README itself is looked up where the README is.
        page = f"README.md{target}" if target.startswith("#") else target
        return f"[{text}]({base}/blob/HEAD/{page})"

    kept: list[str] = []
    for block, is_code in _blocks(readme.splitlines()):
        text = "\n".join(block)
        if not is_code:
            text = _LINK.sub(link, _PICTURE.sub(picture, text))
            # Where a picture stood alone, a blank line too many is left.
            text = re.sub(r"\n{3,}", "\n\n", text)
        kept.append(text)
    return "\n".join(kept) + "\n"


def _blocks(lines: Iterable[str]) -> Iterable[tuple[list[str], bool]]:
    """Runs of lines, and whether they are code; a link may begin in one line and end in another."""
    block: list[str] = []
    was_code, in_fence = False, False
    for line in lines:
        fence = line.startswith(_FENCE)
        is_code = in_fence or fence or line.startswith("    ")
        if block and is_code != was_code:
            yield block, was_code
            block = []
        block.append(line)
        was_code, in_fence = is_code, in_fence != fence
    yield block, was_code


def main(setup: Callable[..., object]) -> None:
    """Build, with the description in the place of ``readme``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    readme = (ROOT / "README.md").read_text("utf-8")
    setup(
        long_description=described(readme, project["urls"].get("Source")),
        long_description_content_type="text/markdown",
    )


if __name__ == "__main__":
    import setuptools

    main(setuptools.setup)
