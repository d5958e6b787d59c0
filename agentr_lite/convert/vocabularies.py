"""Whether a model directory and a GGUF file have the same vocabulary and tokenize alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.convert.texts import HARD_TEXT, SHORT_TEXTS
from agentr_lite.convert.tokenizer import filler
from agentr_lite.core.errors import ModelError

_SAME_MODEL = "Check that they are the same model."


def check_vocabulary(tokenizer: Any, model: Model, model_dir: Path) -> None:
    """Compare every token, the special ones' roles, and the tokens of texts that are hard to split.

    Args:
        tokenizer: mlx-lm's, of the directory.
        model: the loaded GGUF file.
        model_dir: for messages.

    Raises:
        ModelError: there is a difference.
    """
    from agentr_lite.actors.mlx.vocabulary import HfVocabulary

    gguf = model.header.path
    theirs = HfVocabulary(tokenizer, origin=str(model_dir))
    spelled = tokenizer.backend_tokenizer.id_to_token
    template = theirs.chat_template or ""
    for token in range(model.n_vocab):
        text = spelled(token)
        if text is None or text == model.token_text(token):
            continue
        # transformers adds tokens that the tokenizer's class is used to; the file has a filler.
        if text in template or model.token_text(token) != filler(token):
            raise ModelError(
                f"the vocabularies of {model_dir} and {gguf} differ: token {token} is {text!r} and"
                f" {model.token_text(token)!r}",
                hint=_SAME_MODEL,
            )
    if tokenizer.eos_token_id != model.eos:
        raise ModelError(
            f"the end-of-turn tokens of {model_dir} and {gguf} differ: {theirs.eos_text!r} and"
            f" {model.token_text(model.eos)!r}",
            hint=_SAME_MODEL,
        )
    begins = [v.bos if v.adds_bos else None for v in (theirs, model)]
    if begins[0] != begins[1]:
        named = [f"token {bos}" if bos is not None else "no token" for bos in begins]
        raise ModelError(
            f"{model_dir} begins every text with {named[0]}, {gguf} with {named[1]}",
            hint=_SAME_MODEL,
        )
    for text in (*SHORT_TEXTS, HARD_TEXT):
        tokens = tokenize(tokenizer, model, text, model_dir)
        back = b"".join(map(model.piece, tokens)).decode("utf-8", "replace")
        if back.strip() != text.strip():
            raise ModelError(f"the tokenizer of {gguf} does not reproduce {text[:40]!r}...")


def tokenize(tokenizer: Any, model: Model, text: str, model_dir: Path) -> list[int]:
    """The tokens of ``text``, on which both sides agree.

    Raises:
        ModelError: they do not agree, or there are none.
    """
    # Without transformers' warning about texts longer than the model can read.
    theirs = list(tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)
    ours = list(model.tokenize(text))
    if theirs != ours:
        pairs = enumerate(zip(theirs, ours, strict=False))
        shorter = min(len(theirs), len(ours))
        where = next((place for place, (left, right) in pairs if left != right), shorter)
        raise ModelError(
            f"the tokenizers of {model_dir} and {model.header.path} disagree at token {where} of"
            f" {text[:40]!r}...: {theirs[where : where + 3]} and {ours[where : where + 3]}",
            hint=_SAME_MODEL,
        )
    if not ours:
        raise ModelError("a text to compare has no tokens")
    return ours
