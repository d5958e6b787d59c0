"""What the packages of a release say of themselves and hold."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def test_the_metadata_is_complete() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {"authors", "classifiers", "urls", "license", "keywords"} <= set(project)
    assert project["dynamic"] == ["readme"]
    # PEP 639: a licence expression takes the place of the classifiers.
    assert not [name for name in project["classifiers"] if name.startswith("License ::")]
    assert project["classifiers"] == sorted(project["classifiers"])


def test_the_sdist_holds_docs_changelog_and_tests() -> None:
    lines = (ROOT / "MANIFEST.in").read_text("utf-8").splitlines()
    rules = [line.split() for line in lines if line and not line.startswith("#")]
    named = {name for rule in rules if rule[0] in ("include", "graft") for name in rule[1:]}
    assert {"CHANGELOG.md", "constraints.txt", "docs", "tests"} <= named
    assert all((ROOT / name).exists() for name in named)


@pytest.fixture(scope="module")
def build() -> ModuleType:
    """setup.py, without running it."""
    spec = importlib.util.spec_from_file_location("package_build", ROOT / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_CODE = re.compile(r"```.*?```|^    .*?$", re.DOTALL | re.MULTILINE)
_TARGET = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("source", [None, "https://example.org/us/agentr-lite/"])
def test_every_link_of_the_package_page_leads_somewhere(
    build: ModuleType, source: str | None
) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    page = build.described(readme, source)
    targets = _TARGET.findall(_CODE.sub("", page))
    assert targets and all(target.startswith("https://") for target in targets)
    assert _CODE.findall(page) == _CODE.findall(readme), "code stays as it is"
    own = [target.partition("#")[0] for target in targets if source and source in target]
    assert bool(own) == bool(source)
    for target in own:
        where, _, path = target.removeprefix("https://example.org/us/agentr-lite/").partition(
            "/HEAD/"
        )
        assert where in ("blob", "raw") and (ROOT / path).exists(), target
        assert (where == "raw") == path.endswith(".svg")
    assert page.count("![") == (readme.count("![") if source else 0)


@pytest.mark.parametrize(
    ("text", "alone", "with_source"),
    [
        ("See [a page](docs/a.md#b).", "See a page.", "See [a page](S/blob/HEAD/docs/a.md#b)."),
        ("[below](#end)", "below", "[below](S/blob/HEAD/README.md#end)"),
        ("[paper](https://x.org/p)", "[paper](https://x.org/p)", "[paper](https://x.org/p)"),
        ("![a](p.svg)", "", "![a](S/raw/HEAD/p.svg)"),
        ("![a](https://x.org/p.svg)",) * 3,
        ("[![a](p.svg)](q.md)", "", "[![a](S/raw/HEAD/p.svg)](S/blob/HEAD/q.md)"),
        ("[two\nlines](q.md)", "two\nlines", "[two\nlines](S/blob/HEAD/q.md)"),
        ("a\n\n![b](p.svg)\n\nc", "a\n\nc", "a\n\n![b](S/raw/HEAD/p.svg)\n\nc"),
        ("```\nx[0](y)\n```",) * 3,
        ("    x[0](y)",) * 3,
        (
            "[`code`](q.md) and [x] (y)",
            "`code` and [x] (y)",
            "[`code`](S/blob/HEAD/q.md) and [x] (y)",
        ),
    ],
)
def test_links_of_the_package_page(
    build: ModuleType, text: str, alone: str, with_source: str
) -> None:
    assert build.described(text, None).rstrip("\n") == alone
    assert build.described(text, "S").rstrip("\n") == with_source


def test_the_build_takes_this_page(build: ModuleType) -> None:
    """setuptools reads pyproject.toml and setup.py as a build does, and stops before it builds."""
    pytest.importorskip("setuptools")
    asked = [sys.executable, "setup.py", "--name", "--long-description"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, timeout=120)
    readme = (ROOT / "README.md").read_text("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    expected = build.described(readme, project["urls"].get("Source"))
    assert done.stdout.strip() == f"agentr-lite\n{expected.strip()}", done.stderr
