"""A GGUF file's tokenizer to ``tokenizer.json`` and ``tokenizer_config.json``.

Source: https://github.com/ggml-org/llama.cpp (llama-vocab.cpp) for the meaning of the metadata;
https://github.com/huggingface/tokenizers for the written format.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf

from agentr_lite.actors.llamacpp.gguf_header import Header
from agentr_lite.convert.tokenizer import LLAMA3_REGEX, QWEN2_REGEX, QWEN35_REGEX
from agentr_lite.core.errors import ModelError

_SPLITS: dict[str, str | None] = {
    "gpt-2": None,
    "default": None,
    "smollm": "digits",
    "starcoder": "digits",
    "refact": "digits",
    "qwen2": QWEN2_REGEX,
    "deepseek-r1-qwen": QWEN2_REGEX,
    "llama-bpe": LLAMA3_REGEX,
    "llama3": LLAMA3_REGEX,
    "llama-v3": LLAMA3_REGEX,
    "lfm2": LLAMA3_REGEX,
    "dbrx": LLAMA3_REGEX,
    "qwen35": QWEN35_REGEX,
}
"""llama.cpp's pre-tokenizer -> the regex that splits a text first; None = only GPT-2's rule;
``digits`` = single digits first, then GPT-2's rule."""

_LLAMA3_RULES = ("llama-bpe", "llama3", "llama-v3", "lfm2")
"""Where a word that is a token is not merged, and BOS is added unless the file says otherwise."""
_LONGEST_TOKEN = 2000
"""Characters. The longest tokens of real vocabularies are runs of some hundred spaces."""
_SPACE = "▁"
_HINT = "Give the same model in the MLX/HF layout: --set train_model=/path/to/dir"


def check_tokenizer(header: Header) -> None:
    """Refuse a tokenizer that ``write_tokenizer`` cannot write.

    Raises:
        ModelError: the tokenizer cannot be written, or the file has none.
    """
    kind = header.metadata.get("tokenizer.ggml.model")
    pre = header.metadata.get("tokenizer.ggml.pre", "default")
    if kind not in ("gpt2", "llama"):
        raise ModelError(f"{header.path}: unknown kind of tokenizer '{kind}'", hint=_HINT)
    if kind == "gpt2" and pre not in _SPLITS:
        raise ModelError(
            f"{header.path}: the tokenizer's pre-tokenizer '{pre}' is not supported", hint=_HINT
        )


def write_tokenizer(reader: gguf.GGUFReader, header: Header, folder: Path, vocab_size: int) -> None:
    """Write both files into ``folder``.

    Args:
        reader: the open GGUF file.
        header: its header, checked.
        folder: an existing directory.
        vocab_size: rows of the embedding.

    Raises:
        ModelError: the vocabulary and the embedding disagree.
        OSError: the folder cannot be written.
    """
    metadata = header.metadata
    tokens = _texts(reader, "tokenizer.ggml.tokens")
    if len(tokens) > vocab_size:
        raise ModelError(
            f"{header.path}: {len(tokens)} tokens, but the embedding has {vocab_size} rows"
        )
    types = _numbers(reader, "tokenizer.ggml.token_type") or [1] * len(tokens)
    longest = max(map(len, tokens), default=0)
    if len(types) != len(tokens) or len(set(tokens)) < len(tokens) or longest > _LONGEST_TOKEN:
        raise ModelError(
            f"{header.path}: the vocabulary has a token twice, one of {longest:,} characters, or"
            f" {len(types):,} types for {len(tokens):,} tokens",
            hint=_HINT,
        )
    if metadata.get("tokenizer.ggml.model") == "llama":
        data = _sentencepiece(tokens, _numbers(reader, "tokenizer.ggml.scores"), types, metadata)
    else:
        pre = str(metadata.get("tokenizer.ggml.pre", "default"))
        data = _byte_level(tokens, _texts(reader, "tokenizer.ggml.merges"), types, pre)
    special = {
        name: _token(tokens, metadata.get(f"tokenizer.ggml.{key}_token_id"))
        for name, key in (("eos", "eos"), ("bos", "bos"), ("unk", "unknown"), ("pad", "padding"))
    }
    # If the key is missing, llama.cpp decides by the kind of tokenizer.
    adds_bos = bool(
        metadata.get(
            "tokenizer.ggml.add_bos_token",
            metadata.get("tokenizer.ggml.model") == "llama"
            or metadata.get("tokenizer.ggml.pre") in _LLAMA3_RULES,
        )
    )
    bos_id = metadata.get("tokenizer.ggml.bos_token_id")
    if adds_bos and special["bos"] is not None and bos_id is not None:
        data["post_processor"] = _begin_with(special["bos"], int(bos_id))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": header.architecture_value("context_length"),
    }
    if header.chat_template is not None:
        settings["chat_template"] = header.chat_template
    settings |= {f"{name}_token": text for name, text in special.items() if text is not None}
    (folder / "tokenizer.json").write_text(json.dumps(data, ensure_ascii=False), "utf-8")
    (folder / "tokenizer_config.json").write_text(
        json.dumps(settings, ensure_ascii=False, indent=1), "utf-8"
    )


def _byte_level(tokens: list[str], merges: list[str], types: list[int], pre: str) -> dict[str, Any]:
    split = _SPLITS[pre]
    steps: list[dict[str, Any]] = []
    if split == "digits":
        steps.append({"type": "Digits", "individual_digits": True})
    elif split is not None:
        steps.append(
            {
                "type": "Split",
                "pattern": {"Regex": split},
                "behavior": "Isolated",
                "invert": False,
            }
        )
    # A regex replaces GPT-2's rule; single digits are split before it.
    own_rule = split is None or split == "digits"
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": False,
        "use_regex": own_rule,
    }
    steps.append(byte_level)
    return _file(
        tokens,
        types,
        model={
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": pre in _LLAMA3_RULES,
            "merges": [_pair(merge) for merge in merges],
        },
        normalizer=None,
        pre_tokenizer={"type": "Sequence", "pretokenizers": steps} if split else byte_level,
        decoder={**byte_level, "use_regex": True},
    )


def _pair(merge: str) -> list[str]:
    parts = merge.split(" ")
    if len(parts) != 2 or not all(parts):
        raise ModelError(f"the merge {merge[:80]!r} is not one of two tokens", hint=_HINT)
    return parts


def _sentencepiece(
    tokens: list[str], scores: list[float], types: list[int], metadata: dict[str, Any]
) -> dict[str, Any]:
    """SentencePiece's BPE: a pair's rank is the score of the token that it makes."""
    ids = {
        token: index
        for index, token in enumerate(tokens)
        if types[index] in (gguf.TokenType.NORMAL, gguf.TokenType.UNUSED)
    }
    merges: list[tuple[float, int, list[str]]] = []
    for token, index in ids.items():
        pairs = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        known = [(left, right) for left, right in pairs if left in ids and right in ids]
        known.sort(key=lambda pair: (ids[pair[0]], ids[pair[1]]))
        merges += [(-scores[index], len(merges) + n, list(pair)) for n, pair in enumerate(known)]
    merges.sort(key=lambda merge: merge[:2])
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    ]
    prefix = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
    if prefix:
        steps.insert(0, {"type": "Prepend", "prepend": _SPACE})
    decoders: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return _file(
        tokens,
        types,
        model={
            "type": "BPE",
            "dropout": None,
            "unk_token": _token(tokens, metadata.get("tokenizer.ggml.unknown_token_id", 0)),
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "merges": [pair for _, _, pair in merges],
        },
        normalizer={"type": "Sequence", "normalizers": steps},
        pre_tokenizer=None,
        decoder={"type": "Sequence", "decoders": decoders},
    )


def _file(
    tokens: list[str],
    types: list[int],
    *,
    model: dict[str, Any],
    normalizer: dict[str, Any] | None,
    pre_tokenizer: dict[str, Any] | None,
    decoder: dict[str, Any],
) -> dict[str, Any]:
    added_kinds = (gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED, gguf.TokenType.UNKNOWN)
    added = [
        {
            "id": index,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": types[index] != gguf.TokenType.USER_DEFINED,
        }
        for index, token in enumerate(tokens)
        if types[index] in added_kinds
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": decoder,
        "model": {**model, "vocab": {token: index for index, token in enumerate(tokens)}},
    }


def _begin_with(text: str, index: int) -> dict[str, Any]:
    bos = {"SpecialToken": {"id": text, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in ("A", "B"))
    return {
        "type": "TemplateProcessing",
        "single": [bos, first],
        "pair": [bos, first, second],
        "special_tokens": {text: {"id": text, "ids": [index], "tokens": [text]}},
    }


def _token(tokens: list[str], index: Any) -> str | None:
    known = isinstance(index, int) and 0 <= index < len(tokens)
    return tokens[index] if known else None


def _texts(reader: gguf.GGUFReader, key: str) -> list[str]:
    field = reader.get_field(key)
    if field is None or field.types != [gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.STRING]:
        raise ModelError(f"the file has no {key}", hint=_HINT)
    return [bytes(field.parts[index]).decode("utf-8", "replace") for index in field.data]


def _numbers(reader: gguf.GGUFReader, key: str) -> list[Any]:
    field = reader.get_field(key)
    return [] if field is None else [field.parts[index][0].item() for index in field.data]
