"""Commands x kinds of damage: an answer, or one clear line and exit code 4; never a trace."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from agentr_lite_tui.app import Inspector

from agentr_lite.store import Store, runs, trees
from agentr_lite.store.files import database_exists
from tests.support import loop_case
from tests.support.command_line import Call, one_error
from tests.support.damages import (
    Damage,
    all_damages,
    byte_flips,
    missing_table,
    truncation,
    version,
    wrong_value,
)
from tests.support.inspector_cases import drive, press

EVERYTHING = bool(os.environ.get("DAMAGED_DATABASE_ALL"))
"""Try every command on every kind of damage, instead of a sample."""
SAMPLE = 12
"""Kinds of damage that each command meets in the sample."""
FLIPS = 400 if EVERYTHING else 40

READERS: list[tuple[str, ...]] = [
    ("runs",),
    ("runs", "show"),
    ("runs", "show", "--json"),
    ("trees",),
    ("trees", "--tree", "1"),
    ("trees", "--tree", "1", "--json"),
    ("report",),
    ("report", "--md"),
    ("report", "--json"),
    ("report", "--html", "-"),
    ("export", "-o", "-", "--kind", "all"),
    ("demos",),
    ("demos", "list", "--each"),
    ("demos", "export", "-o", "-"),
    ("runs", "export", "--to", "saved.db"),
]
WORKERS: list[tuple[str, ...]] = [
    ("run", "--resume", "latest"),
    ("splice",),
    ("splice", "--redo"),
    ("train", "latest", "--redo"),
    ("eval", "latest"),
    ("runs", "delete", "latest", "--yes"),
    ("demos", "delete", "--yes"),
]
USAGE = 2
"""Also fits where the damage took away what was named: a run, a tree, revision data."""
ALLOWED = {0, 1, USAGE, 4, 5, 6}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a whole run in it that began with demonstrations."""
    from agentr_lite.cli import main

    folder = tmp_path_factory.mktemp("sound")
    path = folder / "runs.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGENTR_LITE_HOME", str(folder / "home"))
        loop_case.install(patch.setattr)
        recipe = loop_case.write_recipe(folder / "case", loop_case.IMITATION)
        with pytest.raises(SystemExit) as ended:
            main(["run", str(recipe), "-d", str(path)])
        assert not ended.value.code
    return path


@pytest.fixture
def tried(
    loop: Call, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """Runs a command on a damaged copy, and checks how it ends; gives its exit code."""
    monkeypatch.chdir(tmp_path)
    db = tmp_path / "runs.db"

    def try_it(words: tuple[str, ...], name: str, damage: Damage, seed: int = 0) -> int:
        for path in tmp_path.glob("*.db*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copyfile(sound, db)
        damage(db, random.Random(f"{seed} {name}"))
        try:
            code, out, err = loop(*words, "-d", db)
            if "--json" in words and code:
                error = json.loads(out)["error"]
                err += f"Error: {error['message']}\nHint: {error['hint']}"
        except BaseException as error:
            error.add_note(f"{' '.join(words)} with {name}")
            raise
        assert "Traceback" not in err, (words, name)
        assert code in ALLOWED, (words, name, code, err)
        if code in (1, USAGE, 4, 6):
            assert err.count("Error: ") == 1 or code in (1, 6), (words, name, err)
            assert "Error(" not in err and "KeyError" not in err, (words, name, err)
        if words in READERS:
            assert code in (0, USAGE, 4) or (code == 5 and "saved.db" in words), (words, name, err)
            assert code != 4 or "Hint: " in err, (words, name, err)
        return code

    return try_it


@pytest.mark.parametrize("words", [pytest.param(w, id="-".join(w)) for w in READERS + WORKERS])
def test_every_command_on_every_kind_of_damage(
    tried: Callable[..., int], sound: Path, words: tuple[str, ...]
) -> None:
    known = all_damages(sound)
    chosen = list(known)
    if not EVERYTHING:
        chosen = random.Random("-".join(words)).sample(chosen, SAMPLE)
    codes = [tried(words, name, known[name]) for name in chosen]
    assert codes


@pytest.mark.parametrize("in_json", [False, True])
def test_flipped_bytes(tried: Callable[..., int], in_json: bool) -> None:
    draw = random.Random(int(in_json))
    for seed in range(FLIPS):
        count = draw.choice((1, 1, 4, 32))
        tried(draw.choice(READERS), f"{count}", byte_flips(count, in_json=in_json), seed)


@pytest.mark.parametrize(
    ("words", "damage"),
    [
        (("runs",), truncation),
        (("runs",), version(99)),
        (("runs",), version(6)),
        (("runs",), missing_table("rounds")),
        (("runs", "show"), wrong_value("runs", "recipe", '{"eval": 1}')),
        (("trees", "--tree", "1"), wrong_value("nodes", "parent_idx", 10**6, everywhere=True)),
        (("report",), wrong_value("evals", "summary", '{"success": {"n": 1}}', everywhere=True)),
        (("export", "-o", "-"), wrong_value("revisions", "messages", "[]", everywhere=True)),
        (("demos",), wrong_value("demonstrations", "steps_json", "[{}]", everywhere=True)),
    ],
)
def test_what_cannot_be_read_ends_with_4(
    tried: Callable[..., int], words: tuple[str, ...], damage: Damage
) -> None:
    assert tried(words, "known", damage) == 4


def test_a_lower_version_number_does_not_migrate_twice(loop: Call, sound: Path, db: Path) -> None:
    shutil.copyfile(sound, db)
    version(6)(db, random.Random(0))
    before = db.read_bytes()
    for words in (("runs",), ("runs", "delete", "latest", "--yes"), ("run", "--resume", "latest")):
        code, _, err = loop(*words, "-d", db)
        assert code == 4 and "its tables are of another" in one_error(err)
    assert db.read_bytes() == before


def test_the_inspector_leaves_a_damaged_run_with_a_message(sound: Path, db: Path) -> None:
    shutil.copyfile(sound, db)
    wrong_value("trees", "node_count", "many", everywhere=True)(db, random.Random(0))
    seen: list[str] = []

    async def script(app, pilot) -> None:
        before = type(app.screen).__name__
        await press(pilot, "enter")
        seen.extend([before, type(app.screen).__name__])
        seen.extend(note.message for note in app._notifications)

    app = drive(db, script, notifications=True)
    assert app.fault is None
    assert seen[0] == seen[1] == "RunsScreen"
    assert any("node_count" in text and "is damaged" in text for text in seen)


def test_the_inspector_ends_with_a_message_where_a_screen_meets_damage(
    sound: Path, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(sound, db)
    wrong_value("nodes", "reward", "much", everywhere=True)(db, random.Random(0))
    ended: list[int] = []
    with Store.open(db, read_only=True) as store:
        app = Inspector(store, poll_s=0)
        monkeypatch.setattr(app, "exit", lambda *, return_code: ended.append(return_code))
        app._handle_exception(TypeError("'str' and 'int'"))
    assert ended == [4]
    assert app.fault is not None
    assert f"database {db} is damaged" in app.fault.message


def test_a_bug_of_ours_is_not_called_damage(sound: Path) -> None:
    """A store that was opened to be written raises what it was raised, where the file is sound."""
    with pytest.raises(KeyError), Store.open(sound) as store:
        trees.get_tree(store, 10**6)
    assert database_exists(sound)
    with Store.open_to_read(sound) as store:
        assert runs.get_run(store, "latest").status == "finished"
