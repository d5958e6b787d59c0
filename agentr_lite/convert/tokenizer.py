"""BPE tokenizers, byte-level or SentencePiece's, from ``tokenizer.json`` to GGUF's metadata.

Source: https://github.com/ggml-org/llama.cpp (gguf-py's vocab and llama-vocab.cpp's regexes).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf

from agentr_lite.actors.mlx.blas import use_fast_blas
from agentr_lite.core.damaged import damage_explained
from agentr_lite.core.errors import ModelError
from agentr_lite.core.json_values import JsonError, read_json_object

QWEN2_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN35_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LARGEST_ID = 4_000_000
_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")
LLAMA3_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class BpeTokenizer:
    """A tokenizer as GGUF stores it."""

    tokens: list[str]
    """By token id, in the byte-level alphabet; padded to the model's vocabulary size."""
    types: list[int]
    """``gguf.TokenType`` by token id."""
    merges: list[str]
    """``"left right"``, best first."""
    pre: str
    """llama.cpp's name of the pre-tokenizer's regex."""
    eos: int
    """The end-of-turn token."""
    bos: int | None
    pad: int | None
    chat_template: str | None
    """None: the model has none (a base model)."""
    adds_bos: bool = False
    """Whether conversations begin with ``bos`` where the chat template writes none."""
    scores: list[float] | None = None
    """SentencePiece's scores by token id, instead of merges; None: byte-level."""
    space_prefix: bool = False
    """For SentencePiece: whether a text gets a space in front."""

    def write_to(self, writer: gguf.GGUFWriter) -> None:
        """Add the tokenizer's keys to a GGUF file."""
        if self.scores is not None:
            writer.add_tokenizer_model("llama")
            writer.add_tokenizer_pre("default")
            writer.add_token_list(self.tokens)
            writer.add_token_scores(self.scores)
            writer.add_token_types(self.types)
            writer.add_add_space_prefix(self.space_prefix)
        else:
            writer.add_tokenizer_model("gpt2")
            writer.add_tokenizer_pre(self.pre)
            writer.add_token_list(self.tokens)
            writer.add_token_types(self.types)
            writer.add_token_merges(self.merges)
        writer.add_eos_token_id(self.eos)
        # Without this key, llama.cpp uses GPT-2's ids, which are other tokens here.
        writer.add_bos_token_id(self.eos if self.bos is None else self.bos)
        if self.pad is not None:
            writer.add_pad_token_id(self.pad)
        writer.add_add_bos_token(self.adds_bos)
        if self.chat_template is not None:
            writer.add_chat_template(self.chat_template)


def read_tokenizer(model_dir: Path, vocab_size: int) -> BpeTokenizer:
    """Read ``tokenizer.json`` and ``tokenizer_config.json``.

    Args:
        model_dir: a directory in Hugging Face's format.
        vocab_size: rows of the embedding; ids without a token become unused tokens.

    Raises:
        ModelError: llama.cpp does not know the tokenizer, or it has no end-of-turn token.
    """
    written = read_json(model_dir / "tokenizer.json")
    config = read_json(model_dir / "tokenizer_config.json")
    refuse_own_code(config, model_dir / "tokenizer_config.json")
    with damage_explained(model_dir / "tokenizer.json"):
        _check_ids(written)
    tokenizer = _loaded(model_dir)
    with damage_explained(model_dir / "tokenizer.json"):
        return _read(tokenizer, written, config, model_dir, vocab_size)


def refuse_own_code(config: dict[str, Any], path: Path) -> None:
    """Refuse settings that name code of the model's own: transformers would ask to run it.

    Raises:
        ModelError: they do.
    """
    if "auto_map" in config:
        raise ModelError(
            f"{path} names code of the model's own (auto_map), which is not run",
            hint="Remove the key `auto_map` if the model works without it.",
        )


def _check_ids(written: dict[str, Any]) -> None:
    """Refuse ids that no vocabulary has: the library would count up to the largest one.

    Raises:
        ModelError, or what a value of another type raises: there is one.
    """
    added = [token["id"] for token in written.get("added_tokens") or []]
    for index in (*written["model"]["vocab"].values(), *added):
        if type(index) is not int or not 0 <= index <= _LARGEST_ID:
            raise ModelError(
                f"tokenizer.json has a token with the id {str(index)[:40]!r}",
                hint="Download or write it again.",
            )


def _read(
    tokenizer: Any,
    written: dict[str, Any],
    config: dict[str, Any],
    model_dir: Path,
    vocab_size: int,
) -> BpeTokenizer:
    try:
        data = _as_loaded(tokenizer, written, vocab_size)
        tokens, types = _vocabulary(data, vocab_size)
        merges = [_merge(merge) for merge in data["model"]["merges"]]
        sentencepiece = bool(data["model"].get("byte_fallback"))
        pre = "default" if sentencepiece else _pre_tokenizer(data)
        scores = _scores(tokens, merges) if sentencepiece else None
        space_prefix = sentencepiece and "Prepend" in json.dumps(data.get("normalizer"))
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{model_dir / 'tokenizer.json'} is not a tokenizer of the `tokenizers` library"
            f" (at {error})"
        ) from error
    special = {name: _special_id(config, name, tokens) for name in ("eos", "bos", "pad")}
    if special["eos"] is None:
        raise ModelError(
            f"{model_dir / 'tokenizer_config.json'} names no known eos_token",
            hint="Set eos_token to the token that ends a turn.",
        )
    return BpeTokenizer(
        tokens=tokens,
        types=types,
        merges=merges,
        pre=pre,
        eos=special["eos"],
        bos=special["bos"],
        pad=special["pad"],
        chat_template=_chat_template(model_dir, config),
        # The tokens of an empty text show whether the tokenizer adds one.
        adds_bos=special["bos"] is not None and tokenizer.encode("")[:1] == [special["bos"]],
        scores=scores,
        space_prefix=space_prefix,
    )


def filler(index: int) -> str:
    """What stands in a GGUF file's vocabulary for an id that has no token."""
    return f"[PAD{index}]"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model's directory.

    Raises:
        ModelError: the file is missing or holds something else.
    """
    try:
        return read_json_object(path)
    except FileNotFoundError as error:
        raise ModelError(
            f"no file {path}", hint="Needed: a model directory in Hugging Face's format."
        ) from error
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    except JsonError as error:
        raise ModelError(
            f"cannot read {path}: {error}", hint="Download or write it again."
        ) from error


def _vocabulary(data: dict[str, Any], vocab_size: int) -> tuple[list[str], list[int]]:
    if data["model"].get("type") != "BPE":
        raise ModelError(
            f"tokenizer model '{data['model'].get('type')}' is not supported; only BPE is"
        )
    by_id = {index: token for token, index in data["model"]["vocab"].items()}
    kinds = dict.fromkeys(by_id, gguf.TokenType.NORMAL)
    for added in data.get("added_tokens") or []:
        by_id[added["id"]] = added["content"]
        kinds[added["id"]] = (
            gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
        )
    if min(by_id) < 0 or len(set(by_id.values())) < len(by_id):
        raise ModelError(
            "the tokenizer has negative ids, or the same token twice",
            hint="llama.cpp cannot load such a vocabulary.",
        )
    if max(by_id) >= vocab_size:
        raise ModelError(
            f"the tokenizer has ids up to {max(by_id)}, but the model's vocabulary size is"
            f" {vocab_size}",
            hint="The tokenizer belongs to another model.",
        )
    if data["model"].get("byte_fallback"):
        for index, token in by_id.items():
            if _BYTE_TOKEN.fullmatch(token):
                kinds[index] = gguf.TokenType.BYTE
            elif token == data["model"].get("unk_token"):
                kinds[index] = gguf.TokenType.UNKNOWN
    tokens = [by_id.get(index, filler(index)) for index in range(vocab_size)]
    types = [int(kinds.get(index, gguf.TokenType.UNUSED)) for index in range(vocab_size)]
    return tokens, types


def _merge(merge: Any) -> str:
    """``"left right"``, as GGUF has it."""
    parts = merge.split(" ") if isinstance(merge, str) else merge
    if len(parts) != 2 or any(" " in part or not part for part in parts):
        raise ModelError(f"the tokenizer's merge {str(merge)[:80]!r} is not one of two tokens")
    return " ".join(parts)


def _scores(tokens: list[str], merges: list[str]) -> list[float]:
    """Scores for SentencePiece, which joins the pair whose result has the highest score.

    A token's score is minus the rank of the first merge that makes it.
    """
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        ranks.setdefault(merge.replace(" ", "", 1), rank)
    return [-float(ranks.get(token, len(merges))) for token in tokens]


def _pre_tokenizer(data: dict[str, Any]) -> str:
    """llama.cpp's name for the way in which a text is split before the merges."""
    pre = data.get("pre_tokenizer") or {}
    parts = pre["pretokenizers"] if pre.get("type") == "Sequence" else [pre]
    kinds = [part.get("type") for part in parts]
    byte_level = parts[-1]
    if kinds[-1] != "ByteLevel" or byte_level.get("add_prefix_space"):
        raise ModelError(
            "the tokenizer is not byte-level BPE without a prefix space",
            hint="llama.cpp's convert_hf_to_gguf.py supports more tokenizers.",
        )
    uses_regex = byte_level.get("use_regex", True)
    if kinds == ["ByteLevel"] and uses_regex:
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and uses_regex and parts[0].get("individual_digits"):
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and not uses_regex:
        regex = parts[0].get("pattern", {}).get("Regex")
        if regex == QWEN2_REGEX:
            return "qwen2"
        if regex == LLAMA3_REGEX and data["model"].get("ignore_merges"):
            return "llama-bpe"
    raise ModelError(
        f"unknown pre-tokenizer ({', '.join(map(str, kinds))})",
        hint="Supported: GPT-2's, Qwen2's, SmolLM's and Llama 3's byte-level rules.",
    )


def _special_id(config: dict[str, Any], name: str, tokens: list[str]) -> int | None:
    token = config.get(f"{name}_token")
    if isinstance(token, dict):
        token = token.get("content")
    return tokens.index(token) if token in tokens else None


def _loaded(model_dir: Path) -> Any:
    """mlx-lm's tokenizer: transformers' classes change what tokenizer.json says."""
    # Before mlx_lm, which imports MLX.
    use_fast_blas()
    from huggingface_hub.errors import StrictDataclassError
    from mlx_lm.utils import load_tokenizer

    try:
        with damage_explained(model_dir / "tokenizer.json"):
            return load_tokenizer(model_dir)
    except (OSError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"transformers cannot load the tokenizer of {model_dir}: {reason}"
        ) from error


def _as_loaded(tokenizer: Any, written: dict[str, Any], vocab_size: int) -> dict[str, Any]:
    """tokenizer.json with what transformers adds to it, so that MLX and llama.cpp read the same.

    A class may add its usual special tokens; without a row of the embedding they are of no use.
    """
    data: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    known = {token["id"] for token in written.get("added_tokens") or []}
    data["added_tokens"] = [
        token for token in data["added_tokens"] if token["id"] < vocab_size or token["id"] in known
    ]
    return data


def _chat_template(model_dir: Path, config: dict[str, Any]) -> str | None:
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template}
        template = named.get("default")
    beside = model_dir / "chat_template.jinja"
    if not template and beside.is_file():
        template = beside.read_text("utf-8")
    return template if isinstance(template, str) and template else None
