"""Chat examples to tokens with a loss mask for each token, and the batches that they go into.

mlx-lm's own ``--mask-prompt`` trains only the last message and cuts long examples with no more
than a warning; here each assistant turn has its own flag, and what is too long is left out whole
and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agentr_lite.actors.chat.encoder import ChatEncoder, History, RewrittenTurns
from agentr_lite.actors.chat.template import model_template
from agentr_lite.actors.chat.tokenizer import Tokenizer
from agentr_lite.actors.mlx.vocabulary import HfVocabulary
from agentr_lite.core.messages import Message
from agentr_lite.core.seeds import stream_seed

ROUNDING = 32
"""Lengths that are equal when they are rounded up to a multiple of this count as equal."""


@dataclass(frozen=True)
class TrainExample:
    """One conversation and which of its turns to learn."""

    messages: list[Message]
    loss: list[bool]
    """One a message; only assistant turns may be True."""
    weight: float = 1.0
    """Factor on the loss of this example's tokens, > 0."""

    def __post_init__(self) -> None:
        if len(self.loss) != len(self.messages):
            raise ValueError(f"{len(self.loss)} loss flags for {len(self.messages)} messages")
        for message, flag in zip(self.messages, self.loss, strict=True):
            if flag and message["role"] != "assistant":
                raise ValueError(f"a {message['role']} turn cannot carry loss")
        if not self.weight > 0:
            raise ValueError(f"weight {self.weight} is not positive")


@dataclass(frozen=True, slots=True)
class Tokenized:
    """One example as tokens."""

    tokens: list[int]
    mask: list[bool]
    """One a token: whether predicting it counts."""
    weight: float = 1.0


@dataclass
class Dropped:
    """Examples left out, by reason."""

    too_long: int = 0
    no_loss: int = 0
    """No assistant turn carries loss."""

    @property
    def total(self) -> int:
        """All examples left out."""
        return self.too_long + self.no_loss


def chat_encoder(
    tokenizer: Any,
    *,
    origin: str,
    override: Path | None = None,
    history: History = "exact",
    thinking: bool = False,
) -> ChatEncoder:
    """The encoder that plays, for training: around a tokenizer of mlx-lm.

    Args:
        tokenizer: the model's.
        origin: the model, for messages.
        override: a Jinja file to use instead of the tokenizer's own template.
        history: how finished turns become tokens.
        thinking: turns begin with thoughts.

    Raises:
        ModelError: no usable chat template, or no end-of-turn token.
    """
    vocabulary = HfVocabulary(tokenizer, origin=origin)
    template = model_template(
        Path(origin),
        vocabulary.chat_template,
        override=override,
        bos=vocabulary.bos_text,
        eos=vocabulary.eos_text,
        thinking=thinking,
    )
    return ChatEncoder(template, Tokenizer(vocabulary), eos=vocabulary.eos_text, history=history)


def tokenize_example(
    encoder: ChatEncoder, example: TrainExample, max_length: int
) -> Tokenized | None:
    """Tokens of a conversation, with the mask on the flagged turns and the ends of their turns.

    Args:
        encoder: from ``chat_encoder``.
        example: the conversation; what follows its last flagged turn is left out.
        max_length: in tokens.

    Returns:
        None where it is longer than ``max_length``.

    Raises:
        ModelError: the template refuses the conversation.
        RewrittenTurns: the template shows finished turns otherwise than they were played.
            ``tokenize_sequences`` then makes one sequence a turn.
    """
    tokens, mask = encoder.example(example.messages, example.loss)
    return Tokenized(tokens, mask, example.weight) if len(tokens) <= max_length else None


def tokenize_all(
    encoder: ChatEncoder, examples: Sequence[TrainExample], max_length: int
) -> tuple[list[Tokenized], Dropped]:
    """Tokenize all examples; those too long or without loss are counted, not kept.

    Raises:
        ModelError: the template refuses a conversation.
    """
    kept: list[Tokenized] = []
    dropped = Dropped()
    for example in examples:
        if not any(example.loss):
            dropped.no_loss += 1
            continue
        fitting, too_long = tokenize_sequences(encoder, example, max_length)
        dropped.too_long += too_long
        kept += fitting
    return kept, dropped


def tokenize_sequences(
    encoder: ChatEncoder, example: TrainExample, max_length: int
) -> tuple[list[Tokenized], int]:
    """Tokens of a conversation: one sequence, or one a flagged turn where a template asks for it.

    Args:
        encoder: from ``chat_encoder``.
        example: the conversation.
        max_length: of each sequence, in tokens.

    Returns:
        The sequences, and how many more there are that are too long.

    Raises:
        ModelError: the template refuses the conversation.
    """
    try:
        sequences = [tokenize_example(encoder, example, max_length)]
    except RewrittenTurns:
        sequences = [tokenize_example(encoder, turn, max_length) for turn in split_turns(example)]
    fitting = [sequence for sequence in sequences if sequence is not None]
    return fitting, len(sequences) - len(fitting)


def split_turns(example: TrainExample) -> list[TrainExample]:
    """One example for each flagged turn: what came before it, and it alone with loss."""
    return [
        TrainExample(example.messages[: index + 1], [False] * index + [True], weight=example.weight)
        for index, flag in enumerate(example.loss)
        if flag
    ]


def plan_batches(
    lengths: Sequence[int],
    batch_size: int,
    epochs: float,
    seed: int,
    *,
    beside: int = 0,
    stream: str = "batches",
) -> list[list[int]]:
    """Which examples each training step takes.

    Every epoch takes each example once (the last epoch of a fractional number takes a part).
    Rows of similar length go together, so that little is padding; which ones, and the order of
    the batches, are drawn again for each epoch.

    Args:
        lengths: tokens of each example.
        batch_size: most rows a batch; an epoch is cut into batches of nearly equal size.
        epochs: >= 0; at least one batch is planned if there are examples and epochs > 0.
        seed: of the order.
        beside: number of other things of which each epoch also takes each once, in the same steps.
            If these are more, they say how many steps an epoch has, and its steps take less than
            ``batch_size`` examples, some perhaps none.
        stream: name of the order among those of one seed.

    Returns:
        Indices into ``lengths``, a list a step.
    """
    most = max(len(lengths), beside)
    steps_per_epoch = -(-most // batch_size)
    steps = round(epochs * steps_per_epoch)
    if epochs > 0 and most:
        steps = max(1, steps)
    plan: list[list[int]] = []
    epoch = 0
    while len(plan) < steps:
        rng = np.random.default_rng(stream_seed(seed, stream, epoch))
        order = rng.permutation(len(lengths))
        # Stable: equal rounded lengths stay in their random order.
        rounded = np.array([-(-lengths[i] // ROUNDING) for i in order], np.int64)
        order = order[np.argsort(rounded, kind="stable")]
        batches = [part.tolist() for part in np.array_split(order, steps_per_epoch)]
        plan += [batches[i] for i in rng.permutation(len(batches))]
        epoch += 1
    return plan[:steps]
