"""The whole loop without a model: a scripted player in the corridor, and training that is a file.

Run as a program it is `agentr-lite` with these stand-ins, and with a signal to itself at a chosen
moment: ``python loop_case.py POINT NUMBER SIGNAL ARGUMENT...`` (``none 0 0`` for no signal). The
points ``decode`` and ``checkpoint`` are of the real engine and the real training: with them, and
with ``real``, nothing stands in.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agentr_lite.actors import registry as actors
from agentr_lite.actors.base import GenerateRequest, GenerateResult
from agentr_lite.actors.mock import MockActor
from agentr_lite.core.messages import Message
from agentr_lite.core.steps import Step
from agentr_lite.envs import registry as environments
from agentr_lite.runs.stages import episodes
from agentr_lite.runs.stages import imitate as imitate_stage
from agentr_lite.runs.stages import train as train_stage
from agentr_lite.store import Store, evals, runs, splices, summaries, trees
from agentr_lite.store.demonstrations import list_demonstrations
from agentr_lite.train import lora
from tests.support import corridor
from tests.support.tiny_gguf import CHATML

SetAttribute = Callable[[Any, str, Any], None]

RECIPE = """
env: corridor
seed: 5
rounds: 2
train_model: {weights}
agent: {{max_tokens: 40}}
search: {{tasks: 5, simulations: 4, width: 3, depth: 9, wave: 2}}
splice: {{recovery_attempts: 2, pairs_per_task: 3}}
train: {{eta: 1, epochs: 1, validation: 0.3}}
eval: {{max_steps: 8, recovery_steps: 6, samples: 1, batch: 1}}
"""

IMITATION = """
imitation: {tasks: 4, epochs: 2, learning_rate: 0.001}
"""
"""What makes the same run begin with demonstrations."""

POINTS: dict[str, tuple[Any, str]] = {
    "generate": (MockActor, "generate"),
    "score": (MockActor, "score"),
    "save_tree": (trees, "save_tree"),
    "save_revision": (splices, "save_revision"),
    "add_demonstrations": (imitate_stage, "add_demonstrations"),
    "build_imitation_set": (imitate_stage, "build_imitation_set"),
    "build_dataset": (train_stage, "build_dataset"),
    "train_lora": (lora, "train_lora"),
    "save_adapter": (splices, "save_adapter"),
    "save_eval_items": (episodes, "save_eval_items"),
    "stage_finished": (runs, "stage_finished"),
    "set_run_status": (runs, "set_run_status"),
}
"""Moments at which a run can be cut: each call of one of these."""

REAL = ("decode", "checkpoint", "real")


class Player(MockActor):
    """Knows the corridor's rules, but slips; less often with an adapter on."""

    def __init__(self) -> None:
        super().__init__(self._play, scorer=self._judge)

    def beside(self, adapter: Path | None) -> Player:
        other = Player()
        other.use_adapter(adapter)
        return other

    def generate(self, requests: Sequence[GenerateRequest]) -> list[GenerateResult]:
        return super().generate([_greedy(request) for request in requests])

    def _play(self, messages: Sequence[Message], seed: int) -> str:
        drawn = random.Random(seed)
        slips = drawn.random() < (0.25 if self.adapter is not None else 0.5)
        action = drawn.choice(corridor.ACTIONS) if slips else _right(messages)
        return f"Thought: step {len(messages) // 2}.\nAction: {action}"

    def _judge(self, messages: Sequence[Message], answer: str) -> float:
        text = " ".join(message["content"] for message in messages)
        return -1.0 - random.Random(text + answer).random()


_GREEDY = 2
"""Chosen so that the player does better with an adapter on than without."""


def _greedy(request: GenerateRequest) -> GenerateRequest:
    """The request, with a seed from the conversation alone where its answer is greedy."""
    if request.sampling.temperature > 0:
        return request
    text = json.dumps(list(request.messages)).encode()
    return dataclasses.replace(request, seeds=(zlib.crc32(text, _GREEDY),) * len(request.seeds))


def _right(messages: Sequence[Message]) -> str:
    last = messages[-1]["content"]
    if "You hold the key" in last:
        return "open" if "door is here" in last else "forward"
    if "The key is here" in last:
        return "take"
    return "back" if "door is here" in last else "forward"


def fake_training(
    model_dir: Path, train: Any, valid: Any, settings: Any, **arguments: Any
) -> lora.TrainResult:
    """An adapter that is nothing but a file."""
    folder = arguments["out_dir"]
    folder.mkdir(parents=True, exist_ok=True)
    gguf = folder / lora.GGUF_FILE
    start = arguments["start_adapter"]
    gguf.write_text(
        f"{len(train)} examples, seed {arguments['seed']}, {settings.epochs} epochs"
        + (f" after {(start / lora.GGUF_FILE).read_text()}" if start else "")
    )
    report = arguments["on_report"]
    report({"event": "start", "step": 0, "steps": 1})
    report({"event": "step", "step": 1, "steps": 1, "loss": 0.5})
    losses = [(1, 0.5)]
    return lora.TrainResult(folder, gguf, losses, [(0, 0.9), (1, 0.4)], 1, 1, False, 10, 0.1, 0)


def taken(env: corridor.Corridor, action: str) -> Step:
    """A step that someone took in the corridor."""
    result = env.step(action)
    return Step(f"Action: {action}", action, result.observation, result.reward, result.terminated)


def install(set_attribute: SetAttribute, make_player: Callable[[], Any] = Player) -> None:
    """Put the stand-ins in place, for tests with ``monkeypatch.setattr``."""
    known = {**environments._BUILT_IN, "corridor": "tests.support.corridor:Corridor"}
    set_attribute(environments, "_BUILT_IN", known)
    set_attribute(actors, "open_actor", lambda recipe, **_: make_player())
    set_attribute(lora, "train_lora", fake_training)


def write_weights(folder: Path) -> Path:
    """A directory that passes for weights to train."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    settings = {"chat_template": CHATML, "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "model.safetensors").touch()
    return folder


def write_recipe(folder: Path, more: str = "") -> Path:
    """The recipe file, beside what passes for the model's weights.

    Args:
        folder: is made.
        more: YAML to add.
    """
    weights = write_weights(folder / "weights")
    path = folder / "loop.yaml"
    path.write_text(RECIPE.format(weights=weights) + more)
    return path


def contents(db: Path, run: str = "latest") -> list[str]:
    """Everything that a run left behind, but for ids, times and places; one JSON text a row."""
    with Store.open(db, create=False, read_only=True) as store:
        run_id = runs.get_run(store, run).id
        rows: list[Any] = [*_rounds(store, run_id), *_splices(store, run_id)]
        rows += [*_datasets(store, run_id), *_evals(store, run_id)]
        return [json.dumps(row) for row in rows]


_MEASURED = ("dataset_id", "seconds", "peak_memory_bytes")
"""Counts of a stage that depend on the place, the time or the machine."""


def _rounds(store: Store, run_id: str) -> list[Any]:
    rows: list[Any] = [runs.get_run(store, run_id).status]
    for stage in runs.list_stages(store, run_id):
        summary = {k: v for k, v in stage.summary.items() if k not in _MEASURED}
        usage = (stage.prompt_tokens, stage.decoded_prompt_tokens, stage.output_tokens)
        rows.append((stage.round, stage.stage, stage.finished, usage, summary))
        if stage.stage == "search":
            rows += summaries.dump_trees(store, run_id, stage.round)
    return rows


def _names(store: Store, run_id: str) -> dict[int, Any]:
    """Trajectory id to round, task and leaf."""
    of_tree = {tree.id: (tree.round, tree.task.name) for tree in trees.list_trees(store, run_id)}
    paths = splices.list_trajectories(store, run_id)
    return {path.id: (*of_tree[path.tree_id], path.leaf_idx) for path in paths}


def _splices(store: Store, run_id: str) -> list[Any]:
    names = _names(store, run_id)
    rows: list[Any] = [
        (names[path.id], path.kind, path.reward, path.steps)
        for path in splices.list_trajectories(store, run_id)
    ]
    rows += [
        (names[row.trajectory_id], row.step, row.node_idx, row.verdict, row.scores, row.reason)
        for row in splices.list_judgements(store, run_id)
    ]
    rows += [
        (
            *(names[row.good_id], names[row.bad_id], row.parting_step, row.cut_step),
            *(row.reflection, row.revision_length, row.naive_reward, row.status, row.reason),
            *(row.messages, row.loss),
        )
        for row in splices.list_revisions(store, run_id)
    ]
    return rows


def _datasets(store: Store, run_id: str) -> list[Any]:
    names = _names(store, run_id)
    of_revision = {
        row.id: (names[row.good_id], names[row.bad_id])
        for row in splices.list_revisions(store, run_id)
    }
    shown = {row.id: (row.task.name, row.source) for row in list_demonstrations(store)}
    rows: list[Any] = []
    for dataset in splices.list_datasets(store, run_id):
        rows.append((dataset.round, dataset.settings, dataset.items))
        rows += [
            (
                *(item.idx, item.kind, item.split, item.general_line),
                of_revision.get(item.revision_id or 0),
                names.get(item.trajectory_id or 0),
                shown.get(item.demonstration_id or 0),
            )
            for item in splices.list_dataset_items(store, dataset.id)
        ]
    for adapter in splices.list_adapters(store, run_id):
        rows.append((adapter.round, adapter.gguf_sha256, adapter.summary["valid_loss"]))
    return rows


def _evals(store: Store, run_id: str) -> list[Any]:
    rows: list[Any] = []
    for row in evals.list_evals(store, run_id):
        rows.append((row.round, row.mode, row.split, row.summary))
        for item in evals.list_eval_items(store, row.id):
            episode = [dataclasses.asdict(step) for step in item.episode]
            rows.append((item.task.name, item.sample, item.reward, item.steps, episode))
    return rows


def _real_points() -> dict[str, tuple[Any, str]]:
    from agentr_lite.actors.llamacpp.actor import LlamaCppActor
    from agentr_lite.train.checkpoint import CheckpointFolder

    return {"decode": (LlamaCppActor, "generate"), "checkpoint": (CheckpointFolder, "save")}


def _arm(point: str, number: int, signal_number: int) -> None:
    """Send this process a signal at the ``number``-th call (from 1) of a point."""
    owner, name = _real_points()[point] if point in REAL else POINTS[point]
    original = getattr(owner, name)
    count = 0

    def armed(*arguments: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal_number)
        return original(*arguments, **named)

    setattr(owner, name, armed)


if __name__ == "__main__":
    from agentr_lite.cli import main

    if sys.argv[1] not in REAL:
        install(setattr)
    if sys.argv[1] not in ("none", "real"):
        _arm(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    main(sys.argv[4:])
