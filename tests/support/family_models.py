"""Tiny models that speak as a family does, in both formats, with one and the same vocabulary.

A *base* is a vocabulary without control tokens; a family's strings are added to it. The weights
are random, and differ between the formats: these models are for their tokens.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from agentr_lite.convert.tokenizer import QWEN2_REGEX
from tests.support.chat_families import Family
from tests.support.tiny_gguf import TinyShape, matrix_shapes
from tests.support.tiny_hf import TEXTS, make_tiny_hf

_MERGES = 300
_SHAPE = TinyShape(layers=1, width=32, heads=2, kv_heads=1, hidden=32)
_CONTEXT = 8192
_WORDS = (
    "▁Thought: ▁Action: ▁Goal: Thought: Action: Goal: ▁craft ▁oak ▁planks ▁logs ▁the ▁Seen."
    " ▁look ▁wait ▁[INST] ▁[/INST] USER: ASSISTANT: ### ▁a ▁x user system assistant model"
)
"""What the SentencePiece vocabulary has pieces for."""

BaseName = Literal["bytes", "prefix", "plain", "smollm2"]


@dataclass(frozen=True)
class Base:
    """A vocabulary to which a family's strings are added."""

    data: dict[str, Any]
    """``tokenizer.json``; its ``added_tokens`` are the base's own control tokens."""
    pre: str
    """llama.cpp's name of the pre-tokenizer; ``spm`` = a SentencePiece vocabulary."""

    @property
    def control(self) -> tuple[str, ...]:
        """The base's own control tokens."""
        return tuple(t["content"] for t in self.data["added_tokens"] if t["special"])


@dataclass(frozen=True)
class FamilyModel:
    """One model in both formats."""

    family: Family
    hf: Path
    """A directory for MLX, the trainer and transformers."""
    gguf: Path
    """A file for llama.cpp."""
    control: tuple[str, ...]
    """All control tokens of the vocabulary: the family's and the base's."""


def make_family_model(folder: Path, family: Family, base: Base) -> FamilyModel:
    """Write both models into ``folder``, which must exist."""
    control = tuple(dict.fromkeys((*family.control, *base.control)))
    model = FamilyModel(family, folder / "hf", folder / "model.gguf", control)
    data = _with_family(base.data, family)
    vocabulary = {token["content"]: token["id"] for token in data["added_tokens"]}
    size = max(max(data["model"]["vocab"].values()), max(vocabulary.values())) + 1
    _write_hf(model.hf, family, data, size)
    _write_gguf(model.gguf, family, data, size, base.pre)
    return model


@cache
def tiny_base(name: BaseName) -> Base:
    """``bytes``: byte-level BPE; ``prefix``, ``plain``: SentencePiece with and without a space
    before every text."""
    if name == "bytes":
        return _byte_base()
    assert name in ("prefix", "plain")
    return _sentencepiece_base(prefix=name == "prefix")


def gguf_base(path: Path) -> Base:
    """The vocabulary of a GGUF file, with its own control tokens."""
    from agentr_lite.actors.llamacpp.gguf_header import check_model_file
    from agentr_lite.convert.gguf_tokenizer import write_tokenizer

    header = check_model_file(path)
    reader = gguf.GGUFReader(path)
    with tempfile.TemporaryDirectory() as scratch:
        size = len(reader.fields["tokenizer.ggml.tokens"].data)
        write_tokenizer(reader, header, Path(scratch), size)
        data = json.loads((Path(scratch) / "tokenizer.json").read_text("utf-8"))
    return Base(data, str(header.metadata["tokenizer.ggml.pre"]))


def _byte_base() -> Base:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + _MERGES, initial_alphabet=alphabet, show_progress=False
    )
    # Pieces of the templates, too: where text of a template and a content meet, they merge.
    texts = [*TEXTS, *("a\n\nb\n\n", "x:\n", "[INST] Goal [/INST] Action", "|> <|im_end|>") * 4]
    tokenizer.train_from_iterator(texts, trainer)
    return Base(json.loads(tokenizer.to_str()), "qwen2")


def _sentencepiece_base(*, prefix: bool) -> Base:
    vocabulary = [f"<0x{byte:02X}>" for byte in range(256)]
    vocabulary += ["▁", "\n", *map(chr, range(33, 127)), "é", "ü"]
    merges: list[list[str]] = []
    for word in _WORDS.split():
        for size in range(2, len(word) + 1):
            if word[:size] not in vocabulary:
                merges.append([word[: size - 1], word[size - 1]])
                vocabulary.append(word[:size])
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    steps = [{"type": "Prepend", "prepend": "▁"}, replace] if prefix else [replace]
    decoding: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        decoding.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    data = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": decoding},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(vocabulary)},
            "merges": merges,
        },
    }
    return Base(data, "spm")


def _with_family(data: dict[str, Any], family: Family) -> dict[str, Any]:
    """``tokenizer.json`` with the family's strings and its rule for BOS."""
    known = {token["content"]: token["id"] for token in data["added_tokens"]}
    added = list(data["added_tokens"])
    free = max([*data["model"]["vocab"].values(), *known.values()]) + 1
    model = dict(data["model"])
    strings = [(text, True) for text in family.control] + [(text, False) for text in family.added]
    if model["byte_fallback"] and "<unk>" not in family.control:
        strings.append(("<unk>", True))
    for text, special in strings:
        if text in known:
            continue
        settings = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        added.append({"id": free, "content": text, **settings, "special": special})
        known[text] = free
        free += 1
    if model["byte_fallback"]:
        # SentencePiece's own file holds them all.
        model["vocab"] = model["vocab"] | known
    data = {**data, "model": model, "added_tokens": added, "post_processor": None}
    if family.adds_bos:
        assert family.bos
        bos = {"SpecialToken": {"id": family.bos, "type_id": 0}}
        first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in ("A", "B"))
        token = {"id": family.bos, "ids": [known[family.bos]], "tokens": [family.bos]}
        data["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [bos, first],
            "pair": [bos, first, second],
            "special_tokens": {family.bos: token},
        }
    return data


def _write_hf(folder: Path, family: Family, data: dict[str, Any], size: int) -> None:
    make_tiny_hf(
        folder,
        width=_SHAPE.width,
        layers=_SHAPE.layers,
        heads=_SHAPE.heads,
        kv_heads=_SHAPE.kv_heads,
        feed_forward=_SHAPE.hidden,
        vocab_size=size,
    )
    ids = {token["content"]: token["id"] for token in data["added_tokens"]}
    config = json.loads((folder / "config.json").read_text())
    config |= {"eos_token_id": ids[family.eos], "max_position_embeddings": _CONTEXT}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": family.eos,
        **({"bos_token": family.bos} if family.bos else {}),
        "chat_template": family.template,
        "clean_up_tokenization_spaces": False,
        "model_max_length": _CONTEXT,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(data, ensure_ascii=False), "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")


def _write_gguf(path: Path, family: Family, data: dict[str, Any], size: int, pre: str) -> None:
    """Not with the program's own converter, which is among what these models test."""
    tokens = [f"[unused{index}]" for index in range(size)]
    types = [int(gguf.TokenType.UNUSED)] * size
    for text, index in data["model"]["vocab"].items():
        is_byte = pre == "spm" and text.startswith("<0x")
        tokens[index] = text
        types[index] = int(gguf.TokenType.BYTE if is_byte else gguf.TokenType.NORMAL)
    for token in data["added_tokens"]:
        tokens[token["id"]] = token["content"]
        kind = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
        types[token["id"]] = int(kind)
    if "<unk>" in tokens and pre == "spm":
        types[tokens.index("<unk>")] = int(gguf.TokenType.UNKNOWN)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(_SHAPE.width)
    writer.add_block_count(_SHAPE.layers)
    writer.add_feed_forward_length(_SHAPE.hidden)
    writer.add_head_count(_SHAPE.heads)
    writer.add_head_count_kv(_SHAPE.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(size)
    merges = [m if isinstance(m, str) else " ".join(m) for m in data["model"]["merges"]]
    writer.add_tokenizer_model("llama" if pre == "spm" else "gpt2")
    writer.add_tokenizer_pre("default" if pre == "spm" else pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if pre == "spm":
        ranks = {merge.replace(" ", "", 1): rank for rank, merge in enumerate(merges)}
        writer.add_token_scores([-float(ranks.get(token, len(merges))) for token in tokens])
        writer.add_add_space_prefix("Prepend" in json.dumps(data["normalizer"]))
    else:
        writer.add_token_merges(merges)
    writer.add_eos_token_id(tokens.index(family.eos))
    writer.add_bos_token_id(tokens.index(family.bos or family.eos))
    writer.add_add_bos_token(family.adds_bos)
    writer.add_chat_template(family.template)
    rng = np.random.default_rng(0)
    for name, shape in matrix_shapes(_SHAPE, size).items():
        writer.add_tensor(name, rng.normal(0.0, 0.2, shape).astype(np.float16))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(_SHAPE.width, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
