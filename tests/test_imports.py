"""What a command imports when it starts: nothing heavy before it is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import agentr_lite
from agentr_lite.cli import COMMANDS
from agentr_lite.store import Store

PACKAGE = Path(agentr_lite.__file__).parent

HEAVY = (
    "numpy",
    "sqlite_utils",
    "textual",
    "transformers",
    "mlx",
    "mlx_lm",
    "llama_cpp",
    "llguidance",
    "gguf",
    "torch",
    "jinja2",
    "ray",
)

PROBE = """
import json, sys
from agentr_lite.cli import main
try:
    main(json.loads(sys.argv[1]))
except SystemExit as error:
    assert not error.code, error.code
found = sorted({name.partition(".")[0] for name in sys.modules})
print("\\n" + json.dumps(found), file=sys.stderr)
"""


def modules_after(arguments: list[str], **env: str) -> set[str]:
    """Top-level modules that a fresh process has imported once the command has ended."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **env},
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["run", "textcraft", "--plan", "--no-probe"],
        ["recipes"],
        ["runs"],
    ],
)
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    loaded = modules_after(arguments)
    # The plan and the recipes are YAML; a list of no runs needs no database.
    assert not loaded & set(HEAVY)


def test_no_verbs_help_imports_anything_heavy() -> None:
    program = (
        "import sys\n"
        "from agentr_lite.cli import COMMANDS, main\n"
        "for verb in COMMANDS:\n"
        "    try:\n"
        "        main([verb, '--help'])\n"
        "    except SystemExit as error:\n"
        "        assert not error.code, verb\n"
        f"    assert not set({HEAVY!r}) & set(sys.modules), verb\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    "words",
    [
        "agentr-lite ",
        "agentr-lite r",
        "agentr-lite run --",
        "agentr-lite run te",
        "agentr-lite runs show ",
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_imports_nothing_heavy(words: str, shell: str, db: Path) -> None:
    Store.open(db).close()
    env = {
        "AGENTR_LITE_DB": str(db),
        "_AGENTR_LITE_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": words,
        # fish passes the word, the others its number.
        "COMP_CWORD": words.split(" ")[-1] if shell == "fish" else str(words.count(" ")),
    }
    loaded = modules_after([], **env)
    assert not loaded & set(HEAVY)
    if not words.endswith("--"):
        assert "agentr_lite" in loaded


def test_completion_of_a_verb_imports_no_verb() -> None:
    program = (
        "import os, sys\n"
        "from agentr_lite.cli import main\n"
        "try:\n"
        "    main([])\n"
        "except SystemExit:\n"
        "    pass\n"
        "assert not [m for m in sys.modules if m.startswith('agentr_lite.cli.')]\n"
    )
    env = {**os.environ, "_AGENTR_LITE_COMPLETE": "bash_complete"}
    env |= {"COMP_WORDS": "agentr-lite r", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == 0, done.stderr
    verbs = [line.partition(",")[2] for line in done.stdout.split()]
    assert verbs == [verb for verb in COMMANDS if verb.startswith("r")]


def test_module_and_script_are_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agentr_lite", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"agentr-lite, version {agentr_lite.__version__}\n"
