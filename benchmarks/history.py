"""What a conversation's form costs: as it was played, or as the chat template renders it.

    python -m benchmarks.history                   # the bundled starter, about a minute

The smoke recipe's first search is run with the starter. Its trees are then encoded once with
``history=exact`` and once with ``history=template``, under two chat templates. One keeps its
generation prompt in the history; the other writes an empty block of thoughts into the generation
prompt and leaves it out of finished turns, as Qwen3's does. "To decode" counts the prompt tokens
that a search has to compute, level by level, if it computes no token twice and keeps the answers
that it drew. "Unique" counts the tokens of the tree of all prompts. "Sequences" are what training
makes of every path to a leaf.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from agentr_lite.actors.chat.encoder import ChatEncoder, History
from agentr_lite.actors.mlx.blas import use_fast_blas
from agentr_lite.actors.registry import resolve_model
from agentr_lite.agent.conversation import conversation
from agentr_lite.core.messages import Message
from agentr_lite.store import Store, runs, trees
from agentr_lite.train.batches import TrainExample, chat_encoder, tokenize_all
from benchmarks import tables

_TURN = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
_TEMPLATES = {
    "kept": _TURN + "{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "empty thoughts": _TURN
    + "{% if add_generation_prompt %}<|assistant|><think>\n\n</think>\n\n{% endif %}",
}
"""Name to a template over the starter's control tokens; what it does with its generation prompt."""
Asked = tuple[list[Message], list[str]]
"""A conversation and the answers that were drawn to it."""
_HISTORIES: tuple[History, ...] = ("exact", "template")


def main() -> None:
    """Search, ask again in both forms, and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.history",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    use_fast_blas()  # mlx-lm imports MLX
    from mlx_lm.utils import load_tokenizer

    directory = resolve_model("starter").train_dir
    if directory is None:
        raise SystemExit("the bundled model has no directory for training in this installation")
    tokenizer = load_tokenizer(directory)
    with tempfile.TemporaryDirectory() as scratch:
        database = Path(scratch) / "runs.db"
        levels, paths = _searched(database)
        tables.begin(
            f"History: {sum(map(len, levels))} prompts and {len(paths)} paths of TextCraft",
            [
                "generation prompt",
                "history",
                "prompt tokens",
                "unique",
                "to decode",
                "to decode / unique",
                "training sequences",
                "training tokens",
            ],
        )
        for name, source in _TEMPLATES.items():
            template = Path(scratch) / "template.jinja"
            template.write_text(source, "utf-8")
            for history in _HISTORIES:
                encoder = chat_encoder(
                    tokenizer, origin="starter", override=template, history=history
                )
                row = [*_decoded(encoder, levels), *_learnt(encoder, paths)]
                tables.row([name, history, *row])


def _searched(database: Path) -> tuple[list[list[Asked]], list[list[Message]]]:
    """(inner nodes' conversations and answers, by depth; leaves' conversations) of a search."""
    command = [sys.executable, "-m", "agentr_lite", "search", "textcraft", "--recipe", "smoke"]
    subprocess.run([*command, "--db", str(database)], check=True, stdout=subprocess.DEVNULL)
    levels: dict[int, list[Asked]] = {}
    paths = []
    with Store.open_to_read(database) as store:
        run = runs.list_runs(store)[0]
        for tree in trees.list_trees(store, run.id):
            opening = trees.tree_opening(store, tree.id)
            nodes = trees.load_tree(store, tree.id)
            answers: dict[int | None, list[str]] = {}
            for node in nodes:
                answers.setdefault(node.parent_idx, []).append(node.text)
            for node in nodes:
                messages = conversation(opening, trees.path_steps(store, tree.id, node.idx))
                if node.idx in answers:
                    levels.setdefault(node.depth, []).append((messages, answers[node.idx]))
                else:
                    paths.append(messages)
    return [levels[depth] for depth in sorted(levels)], paths


def _decoded(encoder: ChatEncoder, levels: Sequence[Sequence[Asked]]) -> list[str]:
    """Prompt tokens, unique ones and those that a search has to decode."""
    prompts: dict[int, dict] = {}
    computed: dict[int, dict] = {}
    total = unique = decoded = 0
    for level in levels:
        for messages, answers in level:
            prompt = encoder.prompt(messages)
            total += len(prompt)
            unique += _add(prompts, prompt)
            decoded += _add(computed, prompt)
            for answer in answers:
                # Drawn, not decoded as a prompt.
                _add(computed, [*prompt, *encoder.answer(answer)])
    return [f"{total:,}", f"{unique:,}", f"{decoded:,}", f"{decoded / unique:.2f}"]


def _add(root: dict[int, dict], tokens: Sequence[int]) -> int:
    """Put tokens into a tree; returns how many of its nodes are new."""
    node, new = root, 0
    for token in tokens:
        new += token not in node
        node = node.setdefault(token, {})
    return new


def _learnt(encoder: ChatEncoder, paths: Sequence[list[Message]]) -> list[str]:
    """Sequences and tokens of training on every turn of the paths."""
    examples = [
        TrainExample(messages, [message["role"] == "assistant" for message in messages])
        for messages in paths
    ]
    sequences, _ = tokenize_all(encoder, examples, 1 << 20)
    tokens = sum(len(sequence.tokens) for sequence in sequences)
    return [f"{len(sequences):,}", f"{tokens:,}"]


if __name__ == "__main__":
    main()
