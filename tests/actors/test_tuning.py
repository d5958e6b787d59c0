"""``doctor --tune``: what it chooses, what it stores, and that the engine follows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from agentr_lite.actors.base import GenerateRequest, Sampling
from agentr_lite.actors.digest import file_sha256
from agentr_lite.actors.llamacpp import calibrate, tuning
from agentr_lite.actors.llamacpp.actor import LlamaCppActor
from agentr_lite.actors.llamacpp.calibrate import Shape, _choose
from agentr_lite.actors.llamacpp.library import Gpu
from agentr_lite.actors.llamacpp.tuning import Tuning
from agentr_lite.core.errors import ModelError
from tests.support.command_line import Call, one_error
from tests.support.tiny_gguf import write_tiny_model

DEFAULT = Tuning(32, 256, False)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny.gguf")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two shapes and short prompts: this is about what follows, not about figures."""
    monkeypatch.setattr(calibrate, "PROMPT_TOKENS", 64)
    monkeypatch.setattr(calibrate, "PREFIX_TOKENS", 32)
    monkeypatch.setattr(calibrate, "MICRO_BATCHES", (256, 512))
    monkeypatch.setattr(calibrate, "WIDTHS", (4, 32))


def test_measuring_gives_a_figure_for_everything(model: Path) -> None:
    turns: list[tuple[int, int]] = []
    found = calibrate.calibrate(model, turns=1, on_turn=lambda *turn: turns.append(turn))
    assert turns[-1] == (len(found.shapes), len(found.shapes))
    assert {(s.micro_batch, s.flash_attention) for s in found.shapes} == {
        (size, flash) for size in calibrate.MICRO_BATCHES for flash in (False, True)
    }
    for shape in found.shapes:
        assert shape.prefill > 0
        assert set(shape.decode) == set(calibrate.WIDTHS)
        assert min(shape.decode.values()) > 0
    assert found.speedup >= 1.0


def shapes(**rates: float) -> list[Shape]:
    """Four shapes of equal speed but for those named ``on512`` and the like."""
    return [
        Shape(size, flash, 1000.0, {4: 100 * rate, 32: 400 * rate, 64: 400 * rate})
        for size in (256, 512)
        for flash in (False, True)
        for rate in [rates.get(f"{'on' if flash else 'off'}{size}", 1.0)]
    ]


def test_the_fastest_is_chosen_with_the_narrowest_width_that_is_as_fast() -> None:
    found = _choose(shapes(on512=2.0), DEFAULT, 1, 0.0)
    assert found.best == Tuning(32, 512, True)
    assert found.speedup > 1.5


def test_the_defaults_stay_where_little_is_gained() -> None:
    found = _choose(shapes(on512=1.02), DEFAULT, 1, 0.0)
    assert (found.best, found.speedup) == (DEFAULT, 1.0)


def test_what_is_fast_at_one_width_only_is_not_chosen() -> None:
    found = shapes()
    found[1] = Shape(256, True, 1000.0, {4: 20.0, 32: 80.0, 64: 800.0})
    assert _choose(found, DEFAULT, 1, 0.0).best == DEFAULT


def test_a_measurement_is_valid_for_the_card_that_it_was_made_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = []
    for cards in ([], ["A"], ["B"], ["A", "A"]):
        found = [Gpu(name, 1, 1, False) for name in cards]
        monkeypatch.setattr(tuning, "gpus", lambda found=found: found)
        names.append(tuning.machine_name())
    assert len(set(names)) == 4
    assert "CPU" in names[0]


def test_settings_are_kept_by_model_and_machine(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Tuning(16, 128, True)
    assert not tuning.any_stored()
    tuning.store("a" * 64, "a", mine)
    assert tuning.stored("a" * 64) == mine
    assert tuning.stored("b" * 64) is None
    monkeypatch.setattr(tuning, "physical_cores", lambda: 97)
    assert tuning.stored("a" * 64) is None
    assert not tuning.forget("a" * 64)
    monkeypatch.undo()


def test_the_engine_uses_what_is_stored(model: Path) -> None:
    mine = Tuning(8, 128, True)
    tuning.store(file_sha256(model), "tiny", mine)
    request = GenerateRequest(
        [{"role": "user", "content": "Go"}], tuple(range(1, 25)), Sampling(max_tokens=6)
    )
    tuned, plain = LlamaCppActor(model), LlamaCppActor(model, tuned=False)
    try:
        assert tuned.description["tuning"] == dataclasses.asdict(mine)
        assert "tuning" not in plain.description
        tuned.generate([request])
        plain.generate([request])
        assert max(tuned._lanes.counters().widths) <= 8
        assert max(plain._lanes.counters().widths) > 8
    finally:
        tuned.close()
        plain.close()
    assert tuning.forget(file_sha256(model))
    again = LlamaCppActor(model)
    assert "tuning" not in again.description
    again.close()


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"m": 3}', '{"MACHINE": {"DIGEST": {"width": 0}}}']
)
def test_a_damaged_file_is_said(model: Path, content: str) -> None:
    path = tuning.tuning_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    content = content.replace("MACHINE", tuning.machine_name())
    path.write_text(content.replace("DIGEST", file_sha256(model)))
    with pytest.raises(ModelError) as caught:
        LlamaCppActor(model)
    assert "--tune" in caught.value.hint


@pytest.mark.usefixtures("quick")
def test_the_command_measures_stores_and_forgets(model: Path, cli: Call) -> None:
    code, out, err = cli("doctor", "--tune", "--model", model)
    assert code == 0, err
    assert "flash attention" in out
    assert str(tuning.tuning_file()) in err
    assert tuning.stored(file_sha256(model)) is not None
    code, out, _ = cli("doctor", "--tune", "--model", model, "--json")
    report = json.loads(out)
    assert report["best"].keys() == {"width", "micro_batch", "flash_attention"}
    assert len(report["shapes"]) == 4
    assert json.loads(cli("doctor", "--untune", "--model", model, "--json")[1])["forgotten"]
    assert tuning.stored(file_sha256(model)) is None


@pytest.mark.parametrize(
    "arguments", [("--tune", "--untune"), ("--model", "starter"), ("--tune", "--model", "none")]
)
def test_wrong_usage(arguments: tuple[str, ...], cli: Call) -> None:
    code, _, err = cli("doctor", *arguments)
    assert code in (2, 3)
    assert one_error(err)


def test_a_run_that_goes_on_with_another_tuning_says_so(model: Path, cli: Call, db: Path) -> None:
    arguments = ("--tasks", "1", "--max-steps", "1", "--no-recovery", "-d", db)
    code, out, err = cli("eval", "textcraft", "--model", model, *arguments, "--json")
    assert code == 0, err
    run = json.loads(out)["run"]
    assert "tuned differently" not in cli("eval", run, "-d", db)[2]
    tuning.store(file_sha256(model), "tiny", Tuning(8, 128, False))
    assert "tuned differently" in cli("eval", run, "-d", db)[2]
