"""Recipes, studies, ``--set`` and ``-o`` with YAML that is hostile: exit 2 and one line."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.core.test_yaml_values import HOSTILE
from tests.support.command_line import Call, one_error


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
class TestHostileYaml:
    def test_in_files(self, cli: Call, tmp_path: Path, text: str) -> None:
        path = tmp_path / "hostile.yaml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        grouped = tmp_path / "grouped.yaml"
        indented = text.replace("\n", "\n    ")
        grouped.write_bytes(
            f"env: textcraft\nenv_options:\n  x:\n    {indented}".encode("utf-8", "surrogatepass")
        )
        for words in (("run", path, "--plan"), ("run", grouped, "--plan"), ("study", path)):
            started = time.process_time()
            code, out, err = cli(*words)
            assert (code, out) == (2, ""), err
            one_error(err)
            assert time.process_time() - started < 5

    def test_in_values(self, cli: Call, text: str) -> None:
        # The system allows 128 kB for an argument; a longer text is no longer hostile when cut.
        value = "[" + text[:100_000]
        for key in ("search.width", "env_options.x", "name"):
            code, out, err = cli("run", "textcraft", "--plan", "--set", f"{key}={value}")
            assert (code, out) == (2, ""), err
            one_error(err)
        for words in (
            ("run", "textcraft", "--plan", "-o", f"x={value}"),
            ("envs", "show", "textcraft", "-o", f"x={value}"),
            ("study", "study-small", "--plan", "--set", f"rounds={value}"),
        ):
            code, out, err = cli(*words)
            assert (code, out) == (2, ""), err
            one_error(err)


@pytest.mark.parametrize(
    "override",
    [
        "a" + ".a" * 60_000 + "=1",
        "env_options." + "a." * 30_000 + "a=1",
        "search." + "." * 1000 + "=1",
        "env_options={1: 2}",
        "env_options={null: 2}",
        "env.textcraft.options={1: 2}",
        "seed=18446744073709551615",
        "seed=.nan",
        "seed=.inf",
        "search.exploration=1.7976931348623157e+309",
    ],
)
def test_odd_overrides(cli: Call, override: str) -> None:
    code, out, err = cli("run", "textcraft", "--plan", "--set", override)
    assert (code, out) == (2, ""), err
    one_error(err)


def test_an_endless_file(cli: Call, tmp_path: Path) -> None:
    path = tmp_path / "endless.yaml"
    path.symlink_to("/dev/zero")
    for verb in ("run", "study"):
        code, _, err = cli(verb, path, "--plan")
        assert code == 2 and "longer than" in one_error(err)
