"""What the packages of a release say of themselves and hold."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_metadata_is_complete() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {"authors", "classifiers", "urls", "license", "readme", "keywords"} <= set(project)
    # PEP 639: a licence expression takes the place of the classifiers.
    assert not [name for name in project["classifiers"] if name.startswith("License ::")]
    assert project["classifiers"] == sorted(project["classifiers"])


def test_the_sdist_holds_docs_changelog_and_tests() -> None:
    lines = (ROOT / "MANIFEST.in").read_text("utf-8").splitlines()
    rules = [line.split() for line in lines if line and not line.startswith("#")]
    named = {name for rule in rules if rule[0] in ("include", "graft") for name in rule[1:]}
    assert {"CHANGELOG.md", "constraints.txt", "docs", "tests"} <= named
    assert all((ROOT / name).exists() for name in named)
