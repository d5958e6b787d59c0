"""The engine benchmarks' own claims: what they count, estimate and grow is right."""

from __future__ import annotations

import io
import os
import random
import sys
import tarfile
from pathlib import Path

import pytest

from benchmarks import kernels, llama_tools, replay
from benchmarks.growth import grown
from benchmarks.llama_tools import find_server, find_tools
from benchmarks.replay import Settings
from benchmarks.workload import RECORDED, Call, Workload
from tests.support.class_evaluations import counted_evaluations
from tests.support.tiny_gguf import write_tiny_model

CONTEXT = 256
SERVER = find_server()
TOOLS = find_tools()


def small_search(trees: int = 2) -> Workload:
    """Trees of three calls each; siblings agree at first."""
    rng = random.Random(7)

    def words(count: int) -> list[int]:
        return [rng.randrange(10, 200) for _ in range(count)]

    def answers() -> list[list[int]]:
        begin = words(4)
        return [[*begin, *words(5)], [*begin, *words(3)], [*begin, *words(6)]]

    ticks: list[list[Call]] = [[Call(tree, words(40), answers()) for tree in range(trees)]]
    for _ in range(2):
        done = sum(len(tick) for tick in ticks)
        row = []
        for place, above in enumerate(ticks[-1]):
            prompt = [*above.prompt, *above.samples[1], *words(12)]
            row.append(Call(above.tree, prompt, answers(), (done - trees + place, 1)))
        ticks.append(row)
    return Workload(ticks)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("bench") / "tiny.gguf")


def test_unique_tokens_are_those_of_a_trie() -> None:
    load = Workload([[Call(0, [1, 2, 3], [[4, 5, 9], [4, 6, 9]]), Call(1, [1, 2, 8], [[4, 9]])]])
    # 1 2 3, 4, 5, 6 and 8, 4; what ends an answer is drawn, not decoded.
    assert load.unique_tokens() == 8
    assert load.nodes == 3


def test_a_search_can_be_cut_short_anywhere() -> None:
    load = Workload.load(RECORDED)
    part = load.first_ticks(5).trees(3)
    assert {call.tree for call in part.calls} == {0, 1, 2}
    for call in part.calls:
        if call.parent is not None:
            parent, sample = call.parent
            begin = [*part.calls[parent].prompt, *part.calls[parent].samples[sample]]
            assert call.prompt[: len(begin)] == begin


@pytest.mark.parametrize("nodes", [50, 700])
def test_a_grown_search_is_made_of_the_recorded_one(nodes: int) -> None:
    recorded = Workload.load(RECORDED)
    load = grown(recorded, nodes, trees=4)
    assert nodes <= load.nodes < nodes + 4 * 3
    groups = {tuple(map(tuple, call.samples)) for call in recorded.calls}
    went_on = set()
    for call in load.calls:
        assert tuple(map(tuple, call.samples)) in groups
        if call.parent is None:
            continue
        parent = load.calls[call.parent[0]]
        assert parent.tree == call.tree
        begin = [*parent.prompt, *parent.samples[call.parent[1]]]
        assert call.prompt[: len(begin)] == begin
        assert len(call.prompt) > len(begin)
        # A node is expanded once.
        assert (call.parent[0], tuple(parent.samples[call.parent[1]])) not in went_on
        went_on.add((call.parent[0], tuple(parent.samples[call.parent[1]])))
    assert max(len(call.prompt) for call in load.calls) <= max(
        len(call.prompt) for call in recorded.calls
    )
    assert grown(recorded, nodes, trees=4) == load


def test_trees_that_cannot_grow_say_so() -> None:
    root = Call(0, [1, 2], [[3, 4]])
    recorded = Workload([[root], [Call(0, [1, 2, 3, 4, 5], [[3, 4]], (0, 0))]])
    with pytest.raises(ValueError, match="1 trees end at 2 nodes"):
        grown(recorded, 5, trees=1)


def test_ours_decodes_each_unique_token_once(model: Path) -> None:
    load = small_search()
    measured = replay.ours(model, load, context=CONTEXT, n_threads=1)
    assert measured.answer_tokens == load.answer_tokens
    # The last token of a prompt is decoded again for its logits.
    assert measured.decoded_tokens is not None
    assert measured.decoded_tokens >= load.unique_tokens()
    assert measured.decoded_tokens <= load.unique_tokens() + 2 * len(load.calls)
    assert 0 < measured.native_seconds < measured.seconds


def test_a_small_budget_decodes_or_restores_more(model: Path) -> None:
    load = small_search(trees=5)
    whole = replay.ours(model, load, context=CONTEXT, n_threads=1, settings=Settings(lanes=1))
    small = Settings(n_cells=CONTEXT, lanes=1)
    tight = replay.ours(model, load, context=CONTEXT, n_threads=1, settings=small)
    assert whole.decoded_tokens is not None and tight.decoded_tokens is not None
    more = tight.counters.restored_tokens + tight.decoded_tokens
    assert more > whole.counters.restored_tokens + whole.decoded_tokens


@pytest.mark.parametrize("fresh", [False, True])
def test_what_the_class_evaluates_is_foreseen(
    model: Path, fresh: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated = counted_evaluations(monkeypatch)
    measured = replay.high_level(
        model,
        small_search(),
        context=CONTEXT,
        n_threads=1,
        fresh=fresh,
        name="class",
        limit_seconds=1000,
    )
    assert measured.run == 1
    assert measured.decoded_tokens == evaluated()


def test_what_was_not_run_is_estimated(model: Path) -> None:
    load = small_search()
    measured = replay.high_level(
        model, load, context=CONTEXT, n_threads=1, fresh=True, name="class", limit_seconds=0.0
    )
    # One answer begins before the time is up.
    first = len(load.calls[0].samples[0])
    assert measured.run == pytest.approx(first / load.answer_tokens)
    assert measured.seconds > 0


@pytest.mark.skipif(SERVER is None, reason="no llama-server: run `make llama-tools`")
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("lockstep", [True, False])
def test_the_server_gets_the_same_work(model: Path, together: bool, lockstep: bool) -> None:
    from benchmarks.server import SetUp, replay_on_server

    load = small_search()
    assert SERVER is not None
    measured, described = replay_on_server(
        SERVER,
        model,
        load,
        SetUp(6, together=together, lockstep=lockstep),
        context=CONTEXT,
        n_threads=1,
        repack=True,
    )
    # A mean length for all samples of a request may round up or down.
    room = len(load.calls) * 3 if together else 0
    assert abs(measured.answer_tokens - load.answer_tokens) <= room
    assert measured.decoded_tokens is not None
    assert measured.decoded_tokens >= load.unique_tokens() - room
    assert "CPU" in described


@pytest.mark.skipif(TOOLS is None, reason="no llama-batched-bench: run `make llama-tools`")
def test_the_ceiling_is_measured(model: Path) -> None:
    from benchmarks.ceiling import BatchedBench, Load, ours_decoding

    assert TOOLS is not None
    load = Load(prompt=20, answer=6, width=3)
    bench = BatchedBench(TOOLS / "llama-batched-bench", model, n_threads=2, repack=True)
    assert bench.speed(load, bench.best_way(load)) > 0
    assert ours_decoding(model, load, n_threads=2, settings=Settings()) > 0


def test_other_kernels_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    here = kernels.python_kernels()
    kernels.compare("same", here)
    assert capsys.readouterr().err == ""
    kernels.compare("other", f"{here} | SVE = 1")
    assert "only there ['SVE']" in capsys.readouterr().err
    kernels.compare("silent", "")
    assert "does not say" in capsys.readouterr().err


def test_another_llama_cpp_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LLAMA_CPP_LIB_PATH", raising=False)
    (tmp_path / "libllama.so").touch()
    kernels.use_library(tmp_path)
    assert "LLAMA_CPP_LIB_PATH" not in os.environ
    assert "Python uses llama-cpp-python's own" in capsys.readouterr().err


def test_tools_are_built_from_the_package_s_own_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "source.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        for name in ("llama_cpp/llama.py", "vendor/llama.cpp/CMakeLists.txt"):
            packed.addfile(tarfile.TarInfo(f"llama_cpp_python-1/{name}"), io.BytesIO())
    commands: list[list[str]] = []

    def run(command: list[str]) -> None:
        commands.append(command)
        if command[1] == "-S":
            source = Path(command[2])
            assert [path.name for path in source.iterdir()] == ["CMakeLists.txt"]
            assert not (source.parent.parent / "llama_cpp").exists()
        else:
            built = Path(command[2]) / "bin"
            built.mkdir(parents=True)
            for name in llama_tools.PROGRAMS:
                (built / name).touch()

    folder = tmp_path / "tools"
    monkeypatch.setattr(llama_tools, "FOLDER", folder)
    monkeypatch.setattr(llama_tools, "_run", run)
    monkeypatch.setattr(llama_tools.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(sys, "argv", ["llama_tools", "--source", str(archive)])
    assert llama_tools.find_tools() is None
    llama_tools.main()
    assert capsys.readouterr().out.strip() == str(folder / "bin")
    assert [path.name for path in folder.iterdir() if path.name.startswith("tmp")] == []
    # Built once; another version of the package needs another build.
    llama_tools.main()
    assert len(commands) == 2
    (folder / "version").write_text("0.0.0")
    assert llama_tools.find_tools() is None
