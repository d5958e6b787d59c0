"""Training the starter: interrupting changes nothing, and the export is what was trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="only remaking the starter needs PyTorch: '.[starter]'")

import torch
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from agentr_lite.starter.maker.copying import write_induction_heads
from agentr_lite.starter.maker.corpus import Corpus, build_corpus
from agentr_lite.starter.maker.growing import grow_from
from agentr_lite.starter.maker.make import export, write_general
from agentr_lite.starter.maker.network import Network, NetworkSize
from agentr_lite.starter.maker.pretrain import Encoder, Schedule, Training, chunk, orthogonalise
from agentr_lite.starter.maker.tokenizer import train_tokenizer

RECORDED = Path(__file__).parents[1] / "data" / "starter_sciworld.jsonl"
SCHEDULE = Schedule(tokens=120_000, batch_tokens=1024, warmup_tokens=2000, seed=5)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return build_corpus(RECORDED)


@pytest.fixture(scope="module")
def tokenizer(corpus: Corpus) -> Tokenizer:
    return train_tokenizer(corpus.words[:50], [], ["Thought: Make 1 stick."] * 9, 700)


def training(corpus: Corpus, tokenizer: Tokenizer) -> Training:
    torch.manual_seed(1)
    size = NetworkSize(vocab=tokenizer.get_vocab_size(), width=64, layers=2, heads=2, hidden=64)
    network = Network(size)
    write_induction_heads(network, torch.Generator().manual_seed(1))
    return Training(network, corpus, Encoder(tokenizer, SCHEDULE), SCHEDULE)


def run(training: Training, checkpoint_file: Path | None = None) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []

    def save() -> None:
        if checkpoint_file is not None and not checkpoint_file.exists():
            training.save(checkpoint_file)

    training.run(report=rows.append, checkpoint=save, checkpoint_every_s=0.0, compiled=False)
    return rows


def test_cut_and_resumed_is_uninterrupted(
    tmp_path: Path, corpus: Corpus, tokenizer: Tokenizer
) -> None:
    state = tmp_path / "state.pt"
    whole = training(corpus, tokenizer)
    rows = run(whole, state)
    resumed = training(corpus, tokenizer)
    resumed.load(state)
    assert 0 < resumed.progress.tokens < whole.progress.tokens
    run(resumed)
    assert resumed.progress.tokens == whole.progress.tokens
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_a_chunk_depends_on_its_number_alone(corpus: Corpus, tokenizer: Tokenizer) -> None:
    encoder = Encoder(tokenizer, SCHEDULE)
    first = chunk(corpus, encoder, SCHEDULE, 3, 0.5)
    again = chunk(corpus, encoder, SCHEDULE, 3, 0.5)
    other = chunk(corpus, encoder, SCHEDULE, 4, 0.5)
    assert all(
        torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
        for a, b in zip(first, again, strict=True)
    )
    assert not torch.equal(first[0][0], other[0][0])
    for tokens, weights, count in first:
        assert tokens.shape == weights.shape
        assert tokens.shape[1] <= SCHEDULE.max_length + 64
        # Answers weigh 1 (a verdict more), given text nothing.
        assert weights.max() >= 1
        assert 0 < count <= tokens.numel()


def test_orthogonalised_matrices_have_singular_values_of_about_one() -> None:
    for shape in ((3, 64, 64), (2, 192, 64), (2, 64, 192)):
        matrices = torch.randn(*shape, generator=torch.Generator().manual_seed(2))
        values = torch.linalg.svdvals(orthogonalise(matrices))
        assert values.max() < 1.4
        assert values.quantile(0.1) > 0.5


def test_what_is_exported_is_what_was_trained(
    tmp_path: Path, corpus: Corpus, tokenizer: Tokenizer
) -> None:
    network = training(corpus, tokenizer).network
    export(network, tokenizer, tmp_path)
    saved = load_file(tmp_path / "mlx" / "model.safetensors")
    for name, value in network.state_dict().items():
        assert torch.allclose(torch.from_numpy(saved[name]).float(), value, atol=2e-3), name
    assert (tmp_path / "starter.gguf").stat().st_size > 0
    write_general(corpus, tmp_path / "general.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "general.jsonl").open(encoding="utf-8")]
    assert all(len(row["messages"]) == len(row["loss"]) for row in rows)


def test_a_grown_network_computes_what_its_ancestor_did(
    tmp_path: Path, corpus: Corpus, tokenizer: Tokenizer
) -> None:
    small = training(corpus, tokenizer).network
    # Residual branches begin closed: open them, so that every layer counts.
    for block in small.model.layers:
        torch.nn.init.normal_(block.mlp.down_proj.weight, std=0.1)
        torch.nn.init.normal_(block.self_attn.o_proj.weight, std=0.1)
    export(small, tokenizer, tmp_path)
    more = train_tokenizer(corpus.words[:120], [], ["Thought: Make 1 stick."] * 9, 900)
    size = NetworkSize(vocab=more.get_vocab_size(), width=64, layers=3, heads=2, hidden=96)
    grown = Network(size)
    known = grow_from(grown, more, tmp_path / "mlx")
    assert 300 < known < more.get_vocab_size()
    text = " ".join(word for word in corpus.words[:50] if f"\u0120{word}" in tokenizer.get_vocab())
    before = tokenizer.encode(text, add_special_tokens=False)
    after = more.encode(text, add_special_tokens=False)
    assert before.tokens == after.tokens
    with torch.no_grad():
        left = small.hidden(torch.tensor([before.ids]))
        right = grown.hidden(torch.tensor([after.ids]))
    assert torch.allclose(left, right, atol=0.02)
    with pytest.raises(ValueError, match="larger"):
        grow_from(
            Network(NetworkSize(vocab=900, width=32, layers=2, heads=2)), more, tmp_path / "mlx"
        )
