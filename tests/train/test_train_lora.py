"""Training as a user sees it: the loss falls, a cut run goes on, both formats agree."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentr_lite.convert.hf_to_gguf import convert_to_gguf
from agentr_lite.core.errors import AgentrError, ModelError
from agentr_lite.core.messages import Message
from agentr_lite.recipe.groups import TrainSettings
from agentr_lite.train import checkpoint, lora
from agentr_lite.train.batches import TrainExample
from agentr_lite.train.checkpoint import fingerprint
from agentr_lite.train.lora import TrainResult, train_lora
from agentr_lite.train.memory import MemoryPlan
from tests.convert.test_convert import CHAT, EXACT, mlx_logits
from tests.support.llama_logits import llama_logits, llama_tokens
from tests.support.tiny_hf import TEXTS, make_tiny_hf

SETTINGS = TrainSettings(
    epochs=4, learning_rate=1e-2, rank=4, scale=2.0, batch_size=4, max_length=256, patience=0
)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_hf(tmp_path_factory.mktemp("tiny") / "model", width=32, feed_forward=64)


def examples(count: int, seed: int) -> list[TrainExample]:
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        messages: list[Message] = [
            {"role": "system", "content": "You craft."},
            {"role": "user", "content": f"Goal: craft {rng.randint(1, 9)} sticks."},
        ]
        flags = [False, False]
        for turn in range(rng.randint(1, 3)):
            messages.append({"role": "assistant", "content": TEXTS[1 + turn]})
            messages.append({"role": "user", "content": rng.choice(TEXTS[3:5])})
            flags += [turn > 0 or rng.random() < 0.7, False]
        flags[2] = True
        made.append(TrainExample(messages, flags))
    return made


TRAIN, VALID = examples(24, 0), examples(6, 1)


def fit(model_dir: Path, out_dir: Path, **changes: Any) -> TrainResult:
    arguments: dict[str, Any] = {"settings": SETTINGS, "seed": 3, "out_dir": out_dir}
    arguments |= changes
    data = arguments.pop("train", TRAIN), arguments.pop("valid", VALID)
    return train_lora(model_dir, *data, **arguments)


def changed(**values: Any) -> TrainSettings:
    from dataclasses import replace

    return replace(SETTINGS, **values)


def weights(result: TrainResult) -> bytes:
    return (result.adapter_dir / "adapters.safetensors").read_bytes()


@pytest.fixture(scope="module")
def uninterrupted(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return fit(model_dir, tmp_path_factory.mktemp("whole"))


def test_loss_falls_on_both_sets(uninterrupted: TrainResult) -> None:
    result = uninterrupted
    assert result.steps == len(result.train_losses) == 24
    last = np.mean([loss for _, loss in result.train_losses[-3:]])
    assert last < 0.65 * result.train_losses[0][1]
    assert result.valid_losses[0][0] == 0 and result.valid_losses[-1][0] == 24
    assert result.valid_losses[-1][1] < 0.65 * result.valid_losses[0][1]
    assert not result.stopped_early and result.dropped == 0 and result.seconds > 0


def test_tokens_are_counted_without_padding(uninterrupted: TrainResult) -> None:
    assert 4 * 24 * 30 < uninterrupted.tokens < 4 * 24 * 150


def test_adapter_means_the_same_to_both_engines(
    uninterrupted: TrainResult, model_dir: Path, tmp_path: Path
) -> None:
    convert_to_gguf(model_dir, tmp_path / "m.gguf", dtype="f32")
    tokens = llama_tokens(tmp_path / "m.gguf", CHAT)
    ours = mlx_logits(model_dir, tokens, uninterrupted.adapter_dir)
    theirs = llama_logits(tmp_path / "m.gguf", tokens, uninterrupted.gguf_path)
    assert np.abs(ours - theirs).max() < 5 * EXACT
    assert np.abs(ours - mlx_logits(model_dir, tokens)).max() > 1


def test_seed_decides_everything(
    uninterrupted: TrainResult, model_dir: Path, tmp_path: Path
) -> None:
    again = fit(model_dir, tmp_path / "again")
    assert weights(again) == weights(uninterrupted)
    assert again.train_losses == uninterrupted.train_losses
    other = fit(model_dir, tmp_path / "other", seed=4)
    assert weights(other) != weights(uninterrupted)


@pytest.mark.parametrize("cut", [2, 8])
def test_cut_and_resumed_is_as_uninterrupted(
    uninterrupted: TrainResult, model_dir: Path, tmp_path: Path, cut: int
) -> None:
    def interrupt(report: dict[str, Any]) -> None:
        if report["event"] == "step" and report["step"] == cut:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model_dir, tmp_path, on_report=interrupt)
    assert not (tmp_path / "adapter.gguf").exists()
    starts: list[int] = []
    result = fit(
        model_dir,
        tmp_path,
        resume=True,
        on_report=lambda r: starts.append(r["step"]) if r["event"] == "start" else None,
    )
    assert starts == [(cut - 1) // 3 * 3]
    assert weights(result) == weights(uninterrupted)
    assert result.train_losses == uninterrupted.train_losses
    assert result.valid_losses == uninterrupted.valid_losses
    assert result.gguf_path.read_bytes() == uninterrupted.gguf_path.read_bytes()


def test_the_recipe_says_how_often_a_training_validates(
    uninterrupted: TrainResult, model_dir: Path, tmp_path: Path
) -> None:
    # Nothing depends on it without patience: once an epoch, at the beginning and at the end.
    assert [step for step, _ in uninterrupted.valid_losses] == [0, 6, 12, 18, 24]
    # 24 steps; by default a validation after each 3 (24 / 10, rounded up).
    often = fit(model_dir, tmp_path / "often", settings=changed(patience=100))
    assert [step for step, _ in often.valid_losses] == list(range(0, 25, 3))
    few = fit(model_dir, tmp_path / "few", settings=changed(validations=2, patience=100))
    assert [step for step, _ in few.valid_losses] == [0, 12, 24]
    assert often.train_losses == few.train_losses == uninterrupted.train_losses


def test_the_recipe_says_how_far_gradients_are_clipped(
    uninterrupted: TrainResult, model_dir: Path, tmp_path: Path
) -> None:
    tight = fit(model_dir, tmp_path / "tight", settings=changed(epochs=1, clip_norm=1e-9))
    loose = fit(model_dir, tmp_path / "loose", settings=changed(epochs=1, clip_norm=0))
    wide = fit(model_dir, tmp_path / "wide", settings=changed(epochs=1, clip_norm=1e6))
    assert loose.train_losses == wide.train_losses != tight.train_losses


def test_keys_that_came_later_leave_an_older_checkpoint_usable(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mark(**changes: Any) -> str:
        return fingerprint(model_dir, changed(**changes), 3, None, [])

    plain = mark()
    assert plain == mark(validations=10, clip_norm=1.0)
    assert len({plain, mark(validations=5), mark(clip_norm=0.5)}) == 3
    # A version without these keys made its mark of the others alone.
    monkeypatch.setattr(checkpoint, "LATER_KEYS", ())
    assert mark(validations=5) == plain


def test_cut_while_a_checkpoint_is_swapped(model_dir: Path, tmp_path: Path) -> None:
    first = fit(model_dir, tmp_path, settings=changed(epochs=1))
    (tmp_path / "checkpoint").rename(tmp_path / "checkpoint.next")
    again = fit(model_dir, tmp_path, settings=changed(epochs=1), resume=True)
    assert again.train_losses == first.train_losses and again.seconds == first.seconds


def test_finished_training_is_not_repeated(model_dir: Path, tmp_path: Path) -> None:
    first = fit(model_dir, tmp_path, settings=changed(epochs=1))
    again = fit(model_dir, tmp_path, settings=changed(epochs=1), resume=True)
    assert again == first
    first.gguf_path.unlink()
    fit(model_dir, tmp_path, settings=changed(epochs=1), resume=True)
    assert first.gguf_path.exists()


def test_checkpoint_of_other_data_is_not_resumed(model_dir: Path, tmp_path: Path) -> None:
    one = changed(epochs=1)
    fit(model_dir, tmp_path, settings=one)
    steps: list[int] = []
    fit(
        model_dir,
        tmp_path,
        settings=one,
        train=TRAIN[:20],
        resume=True,
        on_report=lambda r: steps.append(r["step"]) if r["event"] == "start" else None,
    )
    assert steps == [0]


def test_stops_early_and_keeps_the_best(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agentr_lite.actors.mlx.blas import use_fast_blas

    use_fast_blas()
    from agentr_lite.train import mlx_session

    scripted = iter([5.0, 4.0, 4.5, 4.2, 1.0])
    monkeypatch.setattr(mlx_session.Session, "validate", lambda *_: next(scripted))
    snapshots: list[bytes] = []

    def keep(report: dict[str, Any]) -> None:
        if report["event"] == "step" and report["step"] == 4:
            # The checkpoint of step 3, the best one.
            snapshots.append((tmp_path / "checkpoint" / "adapters.safetensors").read_bytes())

    result = fit(model_dir, tmp_path, settings=changed(patience=2), on_report=keep)
    assert result.stopped_early and result.steps == 9 and result.best_step == 3
    assert weights(result) == snapshots[0]


def test_without_patience_the_last_adapter_is_kept(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agentr_lite.actors.mlx.blas import use_fast_blas

    use_fast_blas()
    from agentr_lite.train import mlx_session

    rising = iter(range(1, 100))
    monkeypatch.setattr(mlx_session.Session, "validate", lambda *_: float(next(rising)))
    result = fit(model_dir, tmp_path, settings=changed(epochs=1, patience=0))
    assert result.best_step == result.steps == 6
    blind = fit(model_dir, tmp_path / "blind", valid=[], settings=changed(epochs=1, patience=0))
    assert weights(result) == weights(blind)


def test_without_validation_examples_the_last_adapter_is_kept(
    model_dir: Path, tmp_path: Path
) -> None:
    result = fit(model_dir, tmp_path, valid=[], settings=changed(epochs=1, patience=3))
    assert result.valid_losses == [] and result.best_step == result.steps == 6


def test_goes_on_from_another_adapter(
    uninterrupted: TrainResult, model_dir: Path, tmp_path: Path
) -> None:
    start = uninterrupted.adapter_dir
    result = fit(model_dir, tmp_path, start_adapter=start, settings=changed(epochs=1))
    assert result.valid_losses[0][1] == pytest.approx(uninterrupted.valid_losses[-1][1], abs=1e-4)


@pytest.mark.parametrize(
    ("settings", "words"), [({"rank": 8}, "train.rank"), ({"scale": 1.0}, "scale 2.0")]
)
def test_start_adapter_that_does_not_fit(
    uninterrupted: TrainResult,
    model_dir: Path,
    tmp_path: Path,
    settings: dict[str, Any],
    words: str,
) -> None:
    start = uninterrupted.adapter_dir
    with pytest.raises(ModelError, match=words):
        fit(model_dir, tmp_path, start_adapter=start, settings=changed(**settings))


def test_only_the_last_layers(model_dir: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    result = fit(model_dir, tmp_path, settings=changed(epochs=0.2, layers=1))
    names = load_file(str(result.adapter_dir / "adapters.safetensors"))
    assert len(names) == 14 and all(name.startswith("model.layers.1.") for name in names)


def test_long_examples_are_dropped_and_counted(model_dir: Path, tmp_path: Path) -> None:
    result = fit(model_dir, tmp_path, settings=changed(epochs=1, max_length=90))
    assert 0 < result.dropped < len(TRAIN) + len(VALID)
    with pytest.raises(AgentrError, match="24 are longer than 10 tokens"):
        fit(model_dir, tmp_path / "none", settings=changed(max_length=10))


def test_diverging_training_says_so(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(AgentrError, match="diverged"):
        fit(model_dir, tmp_path, settings=changed(scale=1e20, learning_rate=1e30))


def test_missing_model_is_not_downloaded(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model directory"):
        fit(tmp_path / "org" / "name", tmp_path / "out")


def test_nothing_reaches_stdout(
    model_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fit(model_dir, tmp_path, settings=changed(epochs=0.2))
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(("workers", "recomputed"), [(1, 0), (1, 9), (3, 1)])
def test_memory_changes_no_bit_of_the_result(
    uninterrupted: TrainResult,
    model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
    recomputed: int,
) -> None:
    monkeypatch.setattr(lora, "plan_memory", lambda *_, **__: MemoryPlan(workers, recomputed))
    result = fit(model_dir, tmp_path)
    assert weights(result) == weights(uninterrupted)
    assert result.train_losses == uninterrupted.train_losses
    assert result.valid_losses == uninterrupted.valid_losses


def test_too_little_memory_is_said_before_training(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(AgentrError, match=r"needs about .* GB, but train.memory is 0.1") as caught:
        fit(model_dir, tmp_path, settings=changed(memory=0.1))
    assert "train.memory" in (caught.value.hint or "")
