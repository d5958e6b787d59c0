"""Chat examples to padded token batches with a loss mask for each token.

mlx-lm's own ``--mask-prompt`` trains only the last message and cuts long examples with no more
than a warning; here each assistant turn has its own flag, and what is too long is left out whole
and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from agentr_lite.actors.chat.template import ChatTemplate
from agentr_lite.core.errors import ModelError
from agentr_lite.core.messages import Message
from agentr_lite.core.seeds import stream_seed

PAD_MULTIPLE = 32
"""Batches are padded to a multiple of this: few shapes, so few recompilations."""


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


class Codec(Protocol):
    """The part of a Hugging Face tokenizer that is needed here."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...


@dataclass(frozen=True)
class ChatTokenizer:
    """Renders chats with the template that the actor uses and tokenizes them."""

    codec: Codec
    template: ChatTemplate
    end_texts: tuple[str, ...]
    """Special tokens that may end an assistant turn; the first is used where a conversation ends
    without one."""
    bos: int | None = None
    """Put before every conversation that does not begin with it."""

    def encode(self, text: str, *, first: bool = False) -> list[int]:
        """Token ids of a piece of a conversation; ``first``: of its beginning."""
        ids = self.codec.encode(text, add_special_tokens=False) if text else []
        if first and self.bos is not None and ids[:1] != [self.bos]:
            return [self.bos, *ids]
        return ids


def chat_tokenizer(tokenizer: Any, *, origin: str, override: Path | None = None) -> ChatTokenizer:
    """Wrap a tokenizer of mlx-lm or transformers.

    Args:
        tokenizer: has ``chat_template``, ``encode``, ``eos_token``, ``bos_token`` and, if it is
            mlx-lm's, ``eos_token_ids``.
        origin: the model, for messages.
        override: a Jinja file to use instead of the tokenizer's own template.

    Raises:
        ModelError: no usable chat template, or no end-of-turn token.
    """
    source = getattr(tokenizer, "chat_template", None)
    if override is not None:
        try:
            source, origin = override.read_text("utf-8"), str(override)
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"cannot read chat template {override}: {error}") from error
    if not isinstance(source, str) or not source.strip():
        raise ModelError(
            f"{origin} has no chat template",
            hint="Use an instruct model, or give it a template: --set agent.chat_template=FILE",
        )
    ids = sorted(getattr(tokenizer, "eos_token_ids", None) or [])
    ends = [tokenizer.eos_token, *tokenizer.convert_ids_to_tokens(ids)]
    end_texts = tuple(dict.fromkeys(text for text in ends if text))
    if not end_texts:
        raise ModelError(f"{origin} has no end-of-turn token", hint="Set eos_token.")
    template = ChatTemplate(source, origin=origin, bos=tokenizer.bos_token or "", eos=end_texts[0])
    # The tokenizer's own rule shows in what it adds to an empty text.
    added = tokenizer.encode("", add_special_tokens=True)
    bos = added[0] if added and added[0] == tokenizer.bos_token_id else None
    return ChatTokenizer(tokenizer, template, end_texts, bos)


class RewrittenTurns(ModelError):
    """The template shows a finished turn differently from how it was generated."""


def tokenize_example(
    tokenizer: ChatTokenizer, example: TrainExample, max_length: int
) -> Tokenized | None:
    """Tokens of a conversation, with the mask on the flagged turns' text and end token.

    The text is cut where generation of a flagged turn would begin and end, and the pieces are
    tokenized one by one. So the boundaries are exact, and the model sees the prompt's tokens as
    it will when it acts.

    Args:
        tokenizer: from ``chat_tokenizer``.
        example: the conversation; what follows its last flagged turn is left out.
        max_length: in tokens.

    Returns:
        None where it is longer than ``max_length``.

    Raises:
        ModelError: the template refuses the conversation.
        RewrittenTurns: a flagged turn's prompt and text are not the beginning of the later
            turns' prompts. ``tokenize_all`` then makes one sequence a turn.
    """
    flagged = [index for index, flag in enumerate(example.loss) if flag]
    prompts = [tokenizer.template.render(example.messages[:index]) for index in flagged]
    done = ""
    tokens: list[int] = []
    mask: list[bool] = []
    for index, prompt, later in zip(flagged, prompts, [*prompts[1:], None], strict=True):
        context = tokenizer.encode(prompt[len(done) :], first=not done)
        answer = _answer(tokenizer, prompt, example.messages[index]["content"], later)
        done = prompt + answer
        answer_tokens = tokenizer.encode(answer)
        tokens += context + answer_tokens
        mask += [False] * len(context) + [True] * len(answer_tokens)
        if len(tokens) > max_length:
            return None
    return Tokenized(tokens, mask, example.weight)


def tokenize_all(
    tokenizer: ChatTokenizer, examples: Sequence[TrainExample], max_length: int
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
        try:
            sequences = [tokenize_example(tokenizer, example, max_length)]
        except RewrittenTurns:
            sequences = [
                tokenize_example(tokenizer, turn, max_length) for turn in split_turns(example)
            ]
        fitting = [sequence for sequence in sequences if sequence is not None]
        dropped.too_long += len(sequences) - len(fitting)
        kept += fitting
    return kept, dropped


def split_turns(example: TrainExample) -> list[TrainExample]:
    """One example for each flagged turn: what came before it, and it alone with loss."""
    return [
        TrainExample(example.messages[: index + 1], [False] * index + [True], weight=example.weight)
        for index, flag in enumerate(example.loss)
        if flag
    ]


def _answer(tokenizer: ChatTokenizer, prompt: str, content: str, later: str | None) -> str:
    """A turn's text with its end token, as the later prompt shows it."""
    if later is None:
        return content + tokenizer.end_texts[0]
    # Many templates strip the text.
    for text in dict.fromkeys((content, content.strip())):
        for end in tokenizer.end_texts:
            if later.startswith(prompt + text + end):
                return text + end
    raise RewrittenTurns(
        "the chat template rewrites finished turns, so the turns of a conversation cannot be"
        " learnt in one sequence"
    )


@dataclass(frozen=True)
class Batch:
    """What one training step sees."""

    tokens: npt.NDArray[np.int32]
    """Shape (rows, length); padded with 0 on the right."""
    picks: npt.NDArray[np.int32]
    """Shape (rows, most picks): positions whose *next* token is to be learnt, in order; padded
    with 0. Only these need the projection to the vocabulary, often the largest matrix."""
    weights: npt.NDArray[np.float32]
    """Same shape: the example's weight; 0 on padding."""


def plan_batches(
    lengths: Sequence[int], batch_size: int, epochs: float, seed: int
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

    Returns:
        Indices into ``lengths``, a list a step.
    """
    steps_per_epoch = -(-len(lengths) // batch_size)
    steps = round(epochs * steps_per_epoch)
    if epochs > 0 and lengths:
        steps = max(1, steps)
    plan: list[list[int]] = []
    epoch = 0
    while len(plan) < steps:
        rng = np.random.default_rng(stream_seed(seed, "batches", epoch))
        order = rng.permutation(len(lengths))
        # Stable: equal padded lengths stay in their random order.
        order = order[np.argsort([_padded(lengths[i]) for i in order], kind="stable")]
        batches = [part.tolist() for part in np.array_split(order, steps_per_epoch)]
        plan += [batches[i] for i in rng.permutation(len(batches))]
        epoch += 1
    return plan[:steps]


def make_batch(examples: Sequence[Tokenized]) -> Batch:
    """Pad examples to one common length."""
    # A first token cannot be predicted.
    picks = [np.flatnonzero(example.mask[1:]) for example in examples]
    rows = len(examples)
    # One more than a multiple: the model's input is all tokens but the last.
    length = 1 + _padded(max(len(example.tokens) for example in examples) - 1)
    tokens = np.zeros((rows, length), np.int32)
    padded_picks = np.zeros((rows, _padded(max(map(len, picks)))), np.int32)
    weights = np.zeros(padded_picks.shape, np.float32)
    for row, (example, positions) in enumerate(zip(examples, picks, strict=True)):
        tokens[row, : len(example.tokens)] = example.tokens
        padded_picks[row, : len(positions)] = positions
        weights[row, : len(positions)] = example.weight
    return Batch(tokens, padded_picks, weights)


def iterate_batches(
    examples: Sequence[Tokenized], plan: Sequence[Sequence[int]]
) -> Iterator[tuple[Any, Any, Any]]:
    """The planned batches as MLX arrays ``(tokens, picks, weights)``.

    For mlx-lm's ``iterate_batches=``; it passes them on to ``loss=``.
    """
    import mlx.core as mx

    for rows in plan:
        batch = make_batch([examples[i] for i in rows])
        yield mx.array(batch.tokens), mx.array(batch.picks), mx.array(batch.weights)


def _padded(length: int) -> int:
    return PAD_MULTIPLE * max(1, -(-length // PAD_MULTIPLE))
