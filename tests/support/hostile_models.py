"""Model files with single mistakes in them, and a program that converts them.

``python -m tests.support.hostile_models WAY COUNT [SEED]`` converts COUNT mutants of the smallest
model that the tests make and prints what became of them. WAY is ``to-gguf`` (a directory),
``to-hf`` (a GGUF file) or ``adapter``.
"""

from __future__ import annotations

import json
import random
import shutil
import struct
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from agentr_lite.cli.convert import convert
from agentr_lite.core.errors import AgentrError, ModelError, UsageError
from agentr_lite.envs.limits import time_limit
from tests.support.tiny_gguf import TinyShape, write_tiny_model
from tests.support.tiny_hf import make_tiny_hf

_LIMIT_S = 30.0
_SHOWN = 10
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 0.0, 0.5, -0.5, 1e-320, 1e300, 2**31, 2**32, 2**63),
    *(10**18, -(10**18), "", "0", "64", "x", "\ud800", "\x00", "é" * 1000, "a b c", "llama"),
    *([], {}, [0], [None], ["x"], [[]], {"": None}, {"a": {"b": 1}}, ["a", "b", "c"], [1e300]),
)
_TEXTS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "9" * 5000,
    "[" * 100_000,
    "[" * 300 + "]" * 300,
    '{"a":' * 100_000,
    "",
    "nul",
    "'x'",
)
_WORDS = (0, 1, 2, 7, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1)
_LONGS = (0, 1, 2**31, 2**32, 2**40, 2**63, 2**64 - 1)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where the values of a JSON document stand."""
    found = [path]
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            found += _places(item, (*path, key))
    return found


def mutated_json(text: str, draw: random.Random) -> bytes:
    """A JSON document with one value changed, removed, repeated, or of no JSON."""
    kind = draw.randrange(10)
    if kind == 0:
        return text.encode()[: draw.randrange(len(text))]
    if kind == 1:
        data = bytearray(text.encode())
        data[draw.randrange(len(data))] = draw.randrange(256)
        return bytes(data)
    document = json.loads(text)
    places = _places(document)
    # A vocabulary has hundreds of values: the first levels are drawn as often as the rest.
    shallow = [place for place in places if len(place) <= 2]
    place = draw.choice(shallow if draw.randrange(2) else places)
    if not place:
        return draw.choice([*_TEXTS, json.dumps(draw.choice(_VALUES))]).encode()
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    key = place[-1]
    if kind == 2:
        del inner[key]
        return json.dumps(document).encode()
    if kind == 3 and isinstance(inner, dict):
        inner[f"{key} "] = inner.pop(key)
        return json.dumps(document).encode()
    if kind == 4:
        inner[key] = "@here@"
        return json.dumps(document).replace('"@here@"', draw.choice(_TEXTS), 1).encode()
    if kind == 5 and isinstance(inner, dict):
        spelled = json.dumps(document)
        again = json.dumps({key: draw.choice(_VALUES)})[1:-1]
        return f"{spelled[:-1]},{again}}}".encode()
    inner[key] = draw.choice(_VALUES)
    return json.dumps(document).encode()


def mutate_json_file(path: Path, draw: random.Random) -> None:
    """Change one file, or put something else in its place."""
    kind = draw.randrange(40)
    if kind == 0:
        path.unlink()
    elif kind == 1:
        path.unlink()
        path.mkdir()
    elif kind == 2:
        path.write_bytes(path.read_text().encode("utf-16"))
    else:
        path.write_bytes(mutated_json(path.read_text(), draw))


def mutate_safetensors(path: Path, draw: random.Random) -> None:
    """Change the header of a safetensors file, its length, or the length of the file."""
    data = path.read_bytes()
    [length] = struct.unpack("<Q", data[:8])
    header, rest = data[8 : 8 + length], data[8 + length :]
    kind = draw.randrange(8)
    if kind == 0:
        path.write_bytes(data[: draw.randrange(len(data))])
    elif kind == 1:
        path.write_bytes(struct.pack("<Q", draw.choice(_LONGS)) + data[8:])
    elif kind == 2:
        document = json.loads(header)
        name = draw.choice(sorted(document.keys() - {"__metadata__"}))
        value = document[name]
        change: Callable[[], dict[str, Any]] = draw.choice(
            [
                lambda: {"shape": value["shape"][::-1]},
                lambda: {"shape": [*value["shape"], 1]},
                lambda: {"shape": value["shape"][:1]},
                lambda: {"dtype": draw.choice(["F16", "BF16", "F64", "I32", "U8", "F8_E4M3"])},
                lambda: {
                    "data_offsets": [
                        place + draw.choice([-8, 8]) for place in value["data_offsets"]
                    ]
                },
                lambda: {"data_offsets": value["data_offsets"][::-1]},
                lambda: {"data_offsets": [0, value["data_offsets"][1] - value["data_offsets"][0]]},
                lambda: {"data_offsets": [2**63, 2**64]},
            ]
        )
        document[name] = {**value, **change()}
        _write(path, json.dumps(document).encode(), rest)
    elif kind == 3:
        flipped = bytearray(rest)
        at = draw.randrange(len(flipped) // 4) * 4
        # Not a number, and the largest numbers of 32 bits.
        flipped[at : at + 4] = draw.choice([b"\xff" * 4, b"\x00\x00\x80\x7f", b"\xff\xff\x7f\x7f"])
        _write(path, header, bytes(flipped))
    elif kind == 4:
        _write(path, header, rest + b"more")
    else:
        _write(path, mutated_json(header.decode(), draw), rest)


def _write(path: Path, header: bytes, rest: bytes) -> None:
    path.write_bytes(struct.pack("<Q", len(header)) + header + rest)


def mutate_gguf(path: Path, draw: random.Random) -> None:
    """Change bytes, words or texts of a GGUF file's header, or cut the file."""
    data = bytearray(path.read_bytes())
    # The header ends where the first matrix begins; half of it is the vocabulary.
    end = min(len(data), 12_000)
    kind = draw.randrange(6)
    if kind == 0:
        path.write_bytes(data[: draw.randrange(len(data))])
        return
    at = draw.randrange(4, end)
    if kind == 1:
        data[at] = draw.randrange(256)
    elif kind == 2:
        data[at : at + 4] = struct.pack("<I", draw.choice(_WORDS))
    elif kind == 3:
        data[at : at + 8] = struct.pack("<Q", draw.choice(_LONGS))
    else:
        keys = [b".block_count", b".embedding_length", b".head_count", b"rms_epsilon", b"_kv"]
        keys += [b".feed_forward_length", b"freq_base", b"token_id", b"ggml.model", b"ggml.tokens"]
        keys += [b"ggml.merges", b"token_type", b"add_bos_token", b"chat_template", b"ggml.pre"]
        keys += [b"general.architecture", b"blk.0.attn_q.weight", b"token_embd.weight", b"_norm"]
        at = data.find(draw.choice(keys))
        at += len(bytes(data[at : at + 60]).split(b"\x00")[0].split(b"\x04")[0]) if at >= 0 else 1
        at += draw.choice([0, 4, 4, 4, 8, 12])
        data[at : at + 4] = struct.pack("<I", draw.choice((*_WORDS, 4, 5, 6, 8, 9, 12)))
    path.write_bytes(data)


def write_adapter(folder: Path, model_dir: Path) -> Path:
    """A small adapter as mlx-lm's training writes it."""
    import numpy as np
    from safetensors.numpy import load_file, save_file

    weights = load_file(str(model_dir / "model.safetensors"))
    draw = np.random.default_rng(1)
    tensors = {}
    for module in ("self_attn.q_proj", "mlp.down_proj"):
        name = f"model.layers.0.{module}"
        rows, columns = weights[f"{name}.weight"].shape
        tensors[f"{name}.lora_a"] = draw.standard_normal((columns, 2)).astype(np.float32)
        tensors[f"{name}.lora_b"] = draw.standard_normal((2, rows)).astype(np.float32)
    folder.mkdir()
    save_file(tensors, str(folder / "adapters.safetensors"))
    config = {"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": {"rank": 2, "scale": 1}}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


class Mutants:
    """The sound model of one way, and what is done to its copies."""

    def __init__(self, way: str, folder: Path) -> None:
        self.way = way
        self.sound = folder / "sound"
        self.base = folder / "base"
        if way == "to-hf":
            self.sound.mkdir()
            write_tiny_model(self.sound / "model.gguf", TinyShape(layers=1, width=32, hidden=32))
        else:
            model = self.sound if way == "to-gguf" else self.base
            make_tiny_hf(model, layers=1, width=32, feed_forward=32)
            (model / "generation_config.json").write_text('{"eos_token_id": 4, "top_k": 20}')
            if way == "adapter":
                write_adapter(self.sound, self.base)

    def mutate(self, copy: Path, draw: random.Random) -> str:
        """Change something in a copy; returns what, for messages."""
        if self.way == "to-hf":
            mutate_gguf(copy / "model.gguf", draw)
            return "model.gguf"
        files = sorted(path.name for path in copy.iterdir())
        name = draw.choice(files)
        change = mutate_safetensors if name.endswith(".safetensors") else mutate_json_file
        change(copy / name, draw)
        return name

    def arguments(self, copy: Path, out: Path) -> list[str]:
        """The command's words."""
        if self.way == "adapter":
            return ["adapter", str(copy), "--base", str(self.base), "-o", str(out)]
        return ["model", str(copy / "model.gguf" if self.way == "to-hf" else copy), "-o", str(out)]


def convert_mutants(way: str, count: int, seed: int) -> tuple[Counter[str], dict[str, str]]:
    """Convert ``count`` mutants.

    Returns:
        How many were converted and refused, and how many raised something else, hung, or left
        something behind; an example of each kind of fault.
    """
    draw = random.Random(seed)
    counts: Counter[str] = Counter()
    faults: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        mutants = Mutants(way, Path(scratch))
        for number in range(count):
            copy, place = Path(scratch) / "mutant", Path(scratch) / "out"
            shutil.copytree(mutants.sound, copy)
            place.mkdir()
            what = mutants.mutate(copy, draw)
            outcome, said = _converted(mutants, copy, place / "made")
            left = sorted(path.name for path in place.iterdir())
            if left != (["made"] if outcome == "converted" else []):
                outcome, said = "left behind", f"{left} after {outcome}: {said}"
            counts[outcome] += 1
            if outcome not in ("converted", "refused"):
                faults.setdefault(said[-1500:], f"mutant {number}, {what}")
            shutil.rmtree(copy)
            shutil.rmtree(place)
    return counts, faults


def _converted(mutants: Mutants, copy: Path, out: Path) -> tuple[str, str]:
    try:
        with time_limit(_LIMIT_S, "converter", "convert"):
            result = CliRunner().invoke(convert, mutants.arguments(copy, out))
    except AgentrError as error:
        return "hung", error.message
    if result.exception is None:
        return "converted", result.output
    if isinstance(result.exception, ModelError | UsageError):
        return "refused", result.exception.message
    return "raised", "".join(traceback.format_exception(result.exception))


def main() -> None:
    """Convert and report; see the module's text."""
    way, count, *rest = sys.argv[1:]
    counts, faults = convert_mutants(way, int(count), int(rest[0]) if rest else 1)
    print(f"{way}: {', '.join(f'{number} {what}' for what, number in sorted(counts.items()))}")
    for said, what in list(faults.items())[:_SHOWN]:
        print(f"--- {what}\n{said}")
    if faults:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
