"""Training on pairs as a user sees it: margins grow, a cut run goes on, what is unfit is told."""

from __future__ import annotations

import json
import math
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentr_lite.core.errors import AgentrError
from agentr_lite.core.messages import Message
from agentr_lite.recipe.groups import TrainSettings
from agentr_lite.train import lora
from agentr_lite.train.batches import TrainExample
from agentr_lite.train.lora import TrainResult, train_lora
from agentr_lite.train.memory import MemoryPlan
from agentr_lite.train.preferences import PreferenceExample
from tests.support.tiny_hf import TEXTS, make_tiny_hf
from tests.train.test_train_lora import TRAIN, VALID, weights

SETTINGS = TrainSettings(
    objective="dpo",
    epochs=3,
    learning_rate=3e-3,
    rank=4,
    batch_size=4,
    max_length=256,
    patience=0,
    beta=0.5,
)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_hf(tmp_path_factory.mktemp("tiny") / "model", width=32, feed_forward=64)


def turn(content: str) -> Message:
    return {"role": "assistant", "content": content}


def observation(content: str) -> Message:
    return {"role": "user", "content": content}


def pairs(count: int, seed: int) -> list[PreferenceExample]:
    """After some steps, getting logs is right and looking into the inventory is wrong."""
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        messages: list[Message] = [
            {"role": "system", "content": "You craft."},
            observation(f"Goal: craft {rng.randint(1, 9)} sticks."),
        ]
        for _ in range(rng.randint(0, 2)):
            messages += [turn(TEXTS[1]), observation(rng.choice(TEXTS[3:5]))]
        chosen = [turn("Action: get 2 oak logs"), observation(TEXTS[3]), turn(TEXTS[1])]
        rejected = [turn("Action: inventory"), observation(TEXTS[4])][: rng.randint(1, 2)]
        flags = [True] + [False] * (len(rejected) - 1)
        made.append(PreferenceExample(messages, chosen, [True, False, True], rejected, flags))
    return made


PAIRS, HELD_OUT = pairs(22, 0), pairs(5, 1)


def fit(model_dir: Path, out_dir: Path, **changes: Any) -> TrainResult:
    arguments: dict[str, Any] = {
        "settings": SETTINGS,
        "seed": 3,
        "out_dir": out_dir,
        "pairs": PAIRS,
        "valid_pairs": HELD_OUT,
        **changes,
    }
    examples = arguments.pop("train", []), arguments.pop("valid", [])
    return train_lora(model_dir, *examples, **arguments)


def changed(**values: Any) -> TrainSettings:
    return replace(SETTINGS, **values)


@pytest.fixture(scope="module")
def uninterrupted(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return fit(model_dir, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def mixed(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    settings = changed(objective="sft+dpo", dpo_weight=0.5)
    folder = tmp_path_factory.mktemp("mixed")
    return fit(model_dir, folder, settings=settings, train=TRAIN, valid=VALID)


def test_the_loss_falls_and_the_margins_grow(uninterrupted: TrainResult) -> None:
    result = uninterrupted
    # 22 pairs, 4 at a time, 3 times.
    assert result.steps == len(result.train_losses) == len(result.pair_figures) == 18
    assert [row.step for row in result.pair_figures] == list(range(1, 19))
    first, last = result.pair_figures[0], result.pair_figures[-1]
    assert result.train_losses[0][1] == pytest.approx(math.log(2), abs=1e-4)
    assert first.loss == pytest.approx(math.log(2), abs=1e-4)
    assert abs(first.margin) < 1e-3 and abs(first.chosen) < 1e-3
    assert last.loss < 0.3 and last.margin > 1 and last.accuracy == 1
    assert last.chosen - last.rejected == pytest.approx(last.margin / SETTINGS.beta)
    assert [loss for _, loss in result.train_losses] == [
        pytest.approx(row.loss, rel=1e-6) for row in result.pair_figures
    ]


def test_held_out_pairs_are_measured(uninterrupted: TrainResult) -> None:
    result = uninterrupted
    assert [step for step, _ in result.valid_losses] == [0, 6, 12, 18]
    assert [row.step for row in result.valid_pair_figures] == [0, 6, 12, 18]
    before, *_, after = result.valid_pair_figures
    assert before.loss == pytest.approx(math.log(2), abs=1e-5) and after.loss < 0.3
    assert result.valid_losses[-1][1] == after.loss
    assert after.accuracy == 1 and after.margin > 1


def test_examples_are_not_looked_at_without_sft(
    uninterrupted: TrainResult, model_dir: Path, tmp_path: Path
) -> None:
    again = fit(model_dir, tmp_path, train=TRAIN, valid=VALID)
    assert weights(again) == weights(uninterrupted)


def test_pairs_are_not_looked_at_without_dpo(model_dir: Path, tmp_path: Path) -> None:
    sft = changed(objective="sft", epochs=1)
    one = fit(model_dir, tmp_path / "one", settings=sft, train=TRAIN)
    two = fit(model_dir, tmp_path / "two", settings=sft, train=TRAIN, pairs=[], valid_pairs=[])
    assert weights(one) == weights(two) and one.pair_figures == []


def test_sft_and_dpo_are_learnt_together(mixed: TrainResult) -> None:
    # 24 examples and 22 pairs: 6 steps an epoch, which takes each of them once.
    assert mixed.steps == 18 and len(mixed.pair_figures) == 18
    for (_, loss), figures in zip(mixed.train_losses, mixed.pair_figures, strict=True):
        assert loss > 0.5 * figures.loss
    first, last = mixed.valid_pair_figures[0], mixed.valid_pair_figures[-1]
    sft = [
        loss - 0.5 * row.loss
        for (_, loss), row in zip(mixed.valid_losses, (mixed.valid_pair_figures), strict=True)
    ]
    assert first.loss == pytest.approx(math.log(2), abs=1e-4)
    assert last.loss < 0.4 and sft[-1] < 0.9 * sft[0]


def test_the_loss_of_a_mixed_step_is_the_weighted_sum(model_dir: Path, tmp_path: Path) -> None:
    """Of the first step, before anything is learnt: its parts are those of the two alone."""
    examples, compared = TRAIN[:4], PAIRS[:4]
    both = changed(objective="sft+dpo", dpo_weight=3.0, epochs=1)
    mixed = fit(model_dir, tmp_path / "both", settings=both, train=examples, pairs=compared)
    sft = fit(
        model_dir, tmp_path / "s", settings=changed(objective="sft", epochs=1), train=examples
    )
    assert mixed.train_losses[0][1] == pytest.approx(
        sft.train_losses[0][1] + 3.0 * math.log(2), rel=1e-4
    )


@pytest.mark.parametrize(("examples", "compared"), [(24, 5), (3, 22)])
def test_the_smaller_set_is_spread_over_the_steps(
    model_dir: Path, tmp_path: Path, examples: int, compared: int
) -> None:
    settings = changed(objective="sft+dpo", epochs=2)
    result = fit(
        model_dir, tmp_path, settings=settings, train=TRAIN[:examples], pairs=PAIRS[:compared]
    )
    assert result.steps == 2 * -(-max(examples, compared) // 4)
    # Some steps have no pair where there are fewer pairs than steps.
    assert len(result.pair_figures) == 2 * min(compared, -(-max(examples, compared) // 4))


@pytest.mark.parametrize(("cut", "objective"), [(2, "dpo"), (8, "dpo"), (8, "sft+dpo")])
def test_cut_and_resumed_is_as_uninterrupted(
    uninterrupted: TrainResult,
    mixed: TrainResult,
    model_dir: Path,
    tmp_path: Path,
    cut: int,
    objective: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = uninterrupted if objective == "dpo" else mixed
    settings = changed(objective=objective, dpo_weight=0.5 if objective == "sft+dpo" else 1.0)
    examples = {"train": TRAIN, "valid": VALID, "settings": settings}

    def interrupt(report: dict[str, Any]) -> None:
        if report["event"] == "step" and report["step"] == cut:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model_dir, tmp_path, on_report=interrupt, **examples)
    from agentr_lite.train.mlx_session import Session

    asked: list[int] = []
    likelihoods = Session.likelihoods

    def counted(session: Session, rows: Any) -> Any:
        asked.append(len(rows))
        return likelihoods(session, rows)

    monkeypatch.setattr(Session, "likelihoods", counted)
    result = fit(model_dir, tmp_path, resume=True, **examples)
    # The references are not computed again: only the held-out pairs are asked for.
    assert set(asked) == {len(HELD_OUT)}
    assert weights(result) == weights(expected)
    assert result.train_losses == expected.train_losses
    assert result.valid_losses == expected.valid_losses
    assert result.pair_figures == expected.pair_figures
    assert result.valid_pair_figures == expected.valid_pair_figures


@pytest.fixture(scope="module")
def one_epoch(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return fit(model_dir, tmp_path_factory.mktemp("short"), settings=changed(epochs=0.2))


def test_a_finished_training_is_not_repeated(model_dir: Path, one_epoch: TrainResult) -> None:
    again = fit(model_dir, one_epoch.adapter_dir, settings=changed(epochs=0.2), resume=True)
    assert again == one_epoch and again.pair_figures


@pytest.mark.parametrize(
    "changes",
    [
        {"pairs": PAIRS[:-1]},
        {"valid_pairs": HELD_OUT[:-1]},
        {"pairs": [*PAIRS[:-1], replace(PAIRS[-1], weight=2.0)]},
        {"settings": changed(epochs=0.2, beta=0.4)},
        {"settings": changed(epochs=0.2, label_smoothing=0.1)},
        {"settings": changed(epochs=0.2, length_normalised=True)},
    ],
)
def test_the_references_of_another_training_are_not_used(
    model_dir: Path, tmp_path: Path, one_epoch: TrainResult, changes: dict[str, Any]
) -> None:
    settings = changed(epochs=0.2)
    shutil.copytree(one_epoch.adapter_dir, tmp_path, dirs_exist_ok=True)
    starts: list[int] = []
    fit(
        model_dir,
        tmp_path,
        resume=True,
        on_report=lambda r: starts.append(r["step"]) if r["event"] == "start" else None,
        **{"settings": settings, **changes},
    )
    assert starts == [0]


def test_pairs_are_compared_with_the_adapter_that_the_training_starts_from(
    uninterrupted: TrainResult, model_dir: Path, tmp_path: Path
) -> None:
    start = uninterrupted.adapter_dir
    result = fit(model_dir, tmp_path, start_adapter=start, settings=changed(epochs=1))
    assert result.valid_pair_figures[0].loss == pytest.approx(math.log(2), abs=1e-4)
    assert abs(result.valid_pair_figures[0].chosen) < 1e-3


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
    assert result.pair_figures == uninterrupted.pair_figures
    assert result.valid_pair_figures == uninterrupted.valid_pair_figures


def test_a_model_without_branches_learns_the_same(
    uninterrupted: TrainResult, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agentr_lite.train import mlx_session

    monkeypatch.setattr(mlx_session, "takes_branches", lambda _: False)
    shared: list[bool] = []
    result = fit(
        model_dir,
        tmp_path,
        on_report=lambda r: shared.append(r["prefixes_shared"]) if r["event"] == "start" else None,
    )
    assert shared == [False]
    for one, other in zip(result.pair_figures, uninterrupted.pair_figures, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=0.05, abs=1e-3)
        assert one.margin == pytest.approx(other.margin, rel=0.05, abs=1e-2)
    assert weights(result) != weights(uninterrupted)


def test_a_template_that_rewrites_turns_gives_a_sequence_a_turn(
    model_dir: Path, tmp_path: Path
) -> None:
    """The same log-likelihoods as the turns one by one, so the loss falls as well."""
    template = tmp_path / "template.jinja"
    # Finished turns lose their thoughts.
    template.write_text(
        "{% for m in messages %}<|{{ m['role'] }}|>"
        "{% if m['role'] == 'assistant' and not loop.last %}{{ m['content'].split('\\n')[-1] }}"
        "{% else %}{{ m['content'] }}{% endif %}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    some = [
        replace(
            pair,
            chosen=[turn(TEXTS[1]), observation(TEXTS[3]), turn(TEXTS[1])],
        )
        for pair in PAIRS[:8]
    ]
    result = fit(
        model_dir,
        tmp_path / "out",
        pairs=some,
        settings=changed(epochs=4),
        chat_template=template,
        history="template",
    )
    assert result.pair_figures[0].loss == pytest.approx(math.log(2), abs=1e-4)
    assert result.pair_figures[-1].loss < 0.5


class TestUnfitPairs:
    def test_none_at_all(self, model_dir: Path, tmp_path: Path) -> None:
        for objective in ("dpo", "sft+dpo"):
            with pytest.raises(AgentrError, match="but there is no pair") as caught:
                fit(
                    model_dir,
                    tmp_path,
                    train=TRAIN,
                    pairs=[],
                    settings=changed(objective=objective),
                )
            assert "train.objective" in caught.value.hint

    def test_they_are_dropped_and_counted(self, model_dir: Path, tmp_path: Path) -> None:
        tie = replace(PAIRS[0], rejected=PAIRS[0].chosen, rejected_loss=PAIRS[0].chosen_loss)
        silent = replace(PAIRS[0], chosen_loss=[False, False, False])
        long = replace(PAIRS[0], rejected=[turn("Action: wait " * 300)], rejected_loss=[True])
        given = [*PAIRS[:4], tie, silent, long, long]
        starts: list[dict[str, Any]] = []
        result = fit(
            model_dir,
            tmp_path / "some",
            pairs=given,
            valid_pairs=[HELD_OUT[0], tie],
            settings=changed(epochs=1),
            on_report=lambda r: starts.append(r) if r["event"] == "start" else None,
        )
        counts = result.dropped_pairs
        assert (counts.too_long, counts.no_loss, counts.ties, counts.total) == (2, 1, 2, 5)
        assert starts[0]["pairs"] == 4 and starts[0]["validation_pairs"] == 1
        assert starts[0]["dropped_pairs"] == {"too_long": 2, "no_loss": 1, "ties": 1}
        with pytest.raises(AgentrError, match=r"of 4 pairs 2 are longer than 256 .* 1 have two eq"):
            fit(model_dir, tmp_path / "none", pairs=given[4:])

    def test_equal_texts_with_different_flags_are_no_tie(
        self, model_dir: Path, tmp_path: Path
    ) -> None:
        other = replace(PAIRS[0], rejected=PAIRS[0].chosen, rejected_loss=[True, False, False])
        result = fit(model_dir, tmp_path, pairs=[other], settings=changed(epochs=1))
        assert result.dropped_pairs.total == 0 and result.steps == 1

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"messages": []}, "do not end"),
            ({"messages": [turn("x")]}, "do not end"),
            ({"chosen": []}, "chosen continuation does not begin"),
            ({"rejected": [observation("x")]}, "rejected continuation does not begin"),
            ({"chosen_loss": [True]}, "1 loss flags for 3 chosen"),
            ({"chosen_loss": [True, True, True]}, "user turn cannot carry loss"),
            ({"weight": 0.0}, "not positive"),
        ],
    )
    def test_what_is_no_pair(self, changes: dict[str, Any], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            replace(PAIRS[0], **changes)


def test_falling_likelihoods_are_warned_of(model_dir: Path, tmp_path: Path) -> None:
    """The continuations differ in one token, and the model has learnt both: neither can rise."""
    rng = random.Random(0)
    close = []
    for pair in [*PAIRS, *HELD_OUT]:
        one, other = rng.sample(range(1, 10), 2)
        texts = [f"Action: get {number} oak logs\n{TEXTS[6]}" for number in (one, other)]
        close.append(
            PreferenceExample(pair.messages, [turn(texts[0])], [True], [turn(texts[1])], [True])
        )
    learnt = [
        TrainExample([*pair.messages, *turns], [False] * len(pair.messages) + [True])
        for pair in close
        for turns in (pair.chosen, pair.rejected)
    ]
    sft = changed(objective="sft", learning_rate=1e-2, epochs=6)
    start = fit(model_dir, tmp_path / "start", train=learnt, settings=sft).adapter_dir
    ends: list[dict[str, Any]] = []
    result = fit(
        model_dir,
        tmp_path / "end",
        pairs=close[:22],
        valid_pairs=close[22:],
        settings=changed(learning_rate=1e-2),
        start_adapter=start,
        on_report=lambda r: ends.append(r) if r["event"] == "end" else None,
    )
    fallen = result.valid_pair_figures[-1].chosen
    assert fallen < -1
    assert f"by {-fallen:.1f} nats each on held-out pairs" in result.warning
    assert "train.learning_rate" in result.warning and ends[0]["warning"] == result.warning


def test_a_good_training_warns_of_nothing(mixed: TrainResult) -> None:
    assert mixed.valid_pair_figures[-1].chosen > -1
    assert mixed.warning == ""


def test_diverging_training_says_so(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(AgentrError, match="diverged"):
        fit(model_dir, tmp_path, settings=changed(scale=1e20, learning_rate=1e30))


def test_the_sequences_of_a_pair_are_planned_as_one(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest: list[int] = []
    original = lora.plan_memory

    def plan(*arguments: Any, **named: Any) -> MemoryPlan:
        longest.append(named["longest"])
        return original(*arguments, **named)

    monkeypatch.setattr(lora, "plan_memory", plan)
    from agentr_lite.train import mlx_session

    settings = changed(epochs=0.1)
    fit(model_dir, tmp_path / "one row", settings=settings)
    monkeypatch.setattr(mlx_session, "takes_branches", lambda _: False)
    fit(model_dir, tmp_path / "two rows", settings=settings)
    both = [*PAIRS, *HELD_OUT]
    sft = changed(objective="sft", epochs=0.1)
    for side in ("chosen", "rejected"):
        examples = [
            TrainExample(
                [*pair.messages, *getattr(pair, side)],
                [False] * len(pair.messages) + getattr(pair, f"{side}_loss"),
            )
            for pair in both
        ]
        fit(model_dir, tmp_path / side, settings=sft, train=examples)
    one_row, two_rows, chosen, rejected = longest
    # A sequence's last token is no input.
    assert max(chosen, rejected) <= one_row < two_rows == 2 * (max(chosen, rejected) - 1)
    with pytest.raises(AgentrError, match=r"pairs of up to .* GB, but train.memory is 0.1"):
        fit(model_dir, tmp_path, settings=changed(memory=0.1))


def test_the_state_of_a_checkpoint_is_plain_json(one_epoch: TrainResult) -> None:
    data = json.loads((one_epoch.adapter_dir / "checkpoint" / "state.json").read_text())
    assert np.array(data["references"]).shape == (len(PAIRS) + len(HELD_OUT), 2)
    assert data["pair_figures"][0]["loss"] == one_epoch.pair_figures[0].loss
