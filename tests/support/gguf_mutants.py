"""Damaged copies of GGUF files: values, types, names, shapes and offsets of the header at random.

As a command, it opens mutants as the program does, and counts what became of them::

    python -m tests.support.gguf_mutants MUTANTS SEED FILE.gguf [ADAPTER.gguf]
"""

from __future__ import annotations

import random
import struct
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentr_lite.actors.llamacpp import trial
from agentr_lite.actors.llamacpp.gguf_header import check_adapter_file, check_model_file
from agentr_lite.core.errors import ModelError

_STRING, _ARRAY = 8, 9
_FORMATS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
_INTEGERS = [0, 1, 2, 3, 5, 7, 13, 64, 255, 1_000, 65_535, 2**24, 2**31 - 1, 2**31, 2**32 - 1]
_NEW_KEYS = (
    *("expert_count", "expert_used_count", "rope.dimension_count", "rope.scaling.factor"),
    *("rope.freq_base", "attention.key_length", "attention.value_length", "vocab_size"),
    *("attention.sliding_window", "attention.head_count_kv", "embedding_length"),
    *("rope.scaling.type", "expert_feed_forward_length", "attention.layer_norm_rms_epsilon"),
    *("leading_dense_block_count", "pooling_type", "attention.causal", "ssm.conv_kernel"),
    *("nextn_predict_layers", "attention.clamp_kqv", "attention.q_lora_rank"),
)
_FLOATS = [0.0, -1.0, 1e-45, 1e38, float("inf"), float("nan")]


@dataclass
class Value:
    """One value of the metadata."""

    kind: int
    value: Any
    item_kind: int = 0
    """Of an array."""


@dataclass
class Tensor:
    """One entry of the list of tensors."""

    name: bytes
    shape: list[int]
    kind: int
    offset: int


@dataclass
class Gguf:
    """A file, taken apart."""

    metadata: list[tuple[bytes, Value]] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    data: bytes = b""
    counts: tuple[int, int] | None = None
    """Numbers of tensors and values to write instead of the true ones."""

    @classmethod
    def read(cls, path: Path) -> Gguf:
        """Take a sound file apart."""
        raw = path.read_bytes()
        at = 24

        def scalar(kind: int) -> Any:
            nonlocal at
            layout = "<" + _FORMATS[kind]
            at += struct.calcsize(layout)
            return struct.unpack_from(layout, raw, at - struct.calcsize(layout))[0]

        def string() -> bytes:
            nonlocal at
            size = scalar(10)
            at += size
            return raw[at - size : at]

        def one(kind: int) -> Any:
            return string() if kind == _STRING else scalar(kind)

        _, tensors, values = struct.unpack_from("<IQQ", raw, 4)
        made = cls()
        for _ in range(values):
            key, kind = string(), scalar(4)
            if kind == _ARRAY:
                item, count = scalar(4), scalar(10)
                made.metadata.append((key, Value(kind, [one(item) for _ in range(count)], item)))
            else:
                made.metadata.append((key, Value(kind, one(kind))))
        for _ in range(tensors):
            name, dimensions = string(), scalar(4)
            shape = [scalar(10) for _ in range(dimensions)]
            made.tensors.append(Tensor(name, shape, scalar(4), scalar(10)))
        made.data = raw[(at + 31) // 32 * 32 :]
        return made

    def write(self, path: Path) -> None:
        """Write the file, whatever it has become."""
        counts = self.counts or (len(self.tensors), len(self.metadata))
        parts = [b"GGUF", struct.pack("<IQQ", 3, *counts)]

        def one(kind: int, value: Any) -> bytes:
            if kind == _STRING:
                text = value if isinstance(value, bytes) else str(value).encode()
                return struct.pack("<Q", len(text)) + text
            return _packed(kind, value)

        for key, value in self.metadata:
            parts += [one(_STRING, key), struct.pack("<I", value.kind)]
            if value.kind == _ARRAY:
                items = value.value if isinstance(value.value, list) else [value.value]
                parts.append(struct.pack("<IQ", value.item_kind, len(items)))
                parts += [one(value.item_kind, item) for item in items]
            else:
                parts.append(one(value.kind, value.value))
        for tensor in self.tensors:
            parts += [one(_STRING, tensor.name), struct.pack("<I", len(tensor.shape))]
            parts += [_packed(10, size) for size in tensor.shape]
            parts.append(_packed(4, tensor.kind) + _packed(10, tensor.offset))
        header = b"".join(parts)
        path.write_bytes(header + b"\0" * (-len(header) % 32) + self.data)


def _packed(kind: int, value: Any) -> bytes:
    """A number as another type has it: cut to its bits."""
    layout = _FORMATS[kind]
    if layout in "fd":
        try:
            return struct.pack("<" + layout, float(value))
        except (ValueError, OverflowError):
            return struct.pack("<" + layout, 0.0)
    size = struct.calcsize("<" + layout)
    whole = int(value) if isinstance(value, int) else 0
    return (whole % 2 ** (8 * size)).to_bytes(size, "little")


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def mutate(file: Gguf, rng: random.Random) -> str:
    """Make one to three mistakes; says which."""
    made: list[str] = []
    number = rng.choice((1, 1, 1, 2, 3))
    while len(made) < number:
        try:
            made.append(rng.choice(_MISTAKES)(file, rng))
        except IndexError:
            continue  # the file has nothing of that kind
    return "; ".join(made)


def _a_number(file: Gguf, rng: random.Random) -> str:
    index = rng.choice([i for i, (_, v) in enumerate(file.metadata) if v.kind in _FORMATS])
    key, value = file.metadata[index]
    value.value = rng.choice(_FLOATS if value.kind in (6, 12) else _INTEGERS)
    return f"{_shown(key)} = {value.value}"


def _a_type(file: Gguf, rng: random.Random) -> str:
    key, value = rng.choice(file.metadata)
    value.kind = rng.choice([*_FORMATS, _STRING])
    if isinstance(value.value, list):
        value.value = value.value[0]
    return f"{_shown(key)} has type {value.kind}"


def _an_item_type(file: Gguf, rng: random.Random) -> str:
    rows = [row for row in file.metadata if row[1].kind == _ARRAY]
    key, value = rng.choice(rows)
    value.item_kind = rng.choice([*_FORMATS, _STRING])
    return f"items of {_shown(key)} have type {value.item_kind}"


def _a_length(file: Gguf, rng: random.Random) -> str:
    rows = [row for row in file.metadata if row[1].kind == _ARRAY]
    key, value = rng.choice(rows)
    length = rng.choice([0, 1, len(value.value) - 1, len(value.value) // 2, len(value.value) * 2])
    value.value = (value.value * 2)[:length]
    return f"{_shown(key)} has {length} items"


def _an_item(file: Gguf, rng: random.Random) -> str:
    rows = [row for row in file.metadata if row[1].kind == _ARRAY]
    key, value = rng.choice(rows)
    for _ in range(rng.choice((1, 5, 200))):
        if not value.value:
            break
        index = rng.randrange(len(value.value))
        value.value[index] = (
            rng.choice([b"", b" ", b"\xff", b"x" * 9_999, rng.choice(value.value)])
            if value.item_kind == _STRING
            else rng.choice(_INTEGERS)
        )
    return f"items of {_shown(key)} changed"


def _a_string(file: Gguf, rng: random.Random) -> str:
    rows = [row for row in file.metadata if row[1].kind == _STRING]
    key, value = rng.choice([row for row in rows if b"template" not in row[0]] or rows)
    words = [b"", b"llama", b"qwen2", b"gemma", b"bert", b"mamba", b"gpt2", b"spm", b"\xff", b"no"]
    words += [b"t5", b"phi3", b"qwen2moe", b"deepseek2", b"rwkv6", b"wpm", b"ugm", b"x" * 70_000]
    value.value = rng.choice(words)
    return f"{_shown(key)} = {value.value[:20]!r}"


def _a_key(file: Gguf, rng: random.Random) -> str:
    index = rng.randrange(len(file.metadata))
    key, value = file.metadata[index]
    what = rng.choice(("gone", "twice", "renamed"))
    if what == "gone":
        del file.metadata[index]
    elif what == "twice":
        file.metadata.append((key, value))
    else:
        file.metadata[index] = (rng.choice([b"", b"\xff", b"x" * 70_000, key + b"2"]), value)
    return f"{_shown(key)} is {what}"


def _a_new_key(file: Gguf, rng: random.Random) -> str:
    architecture = next((v.value for k, v in file.metadata if k == b"general.architecture"), b"")
    name = rng.choice(_NEW_KEYS)
    number = rng.choice(_INTEGERS)
    key = (architecture if isinstance(architecture, bytes) else b"") + b"." + name.encode()
    file.metadata = [row for row in file.metadata if row[0] != key]
    file.metadata.append((key, Value(4, number)))
    return f"{name} = {number}, new"


def _a_global(file: Gguf, rng: random.Random) -> str:
    name, kinds = rng.choice(
        [(b"general.alignment", (4, 5, 10)), (b"split.count", (2,)), (b"split.no", (2,))]
    )
    number = rng.choice(_INTEGERS)
    file.metadata.append((name, Value(rng.choice(kinds), number)))
    return f"{name.decode()} = {number}"


def _a_size(file: Gguf, rng: random.Random) -> str:
    tensor = rng.choice(file.tensors)
    index = rng.randrange(len(tensor.shape))
    old = tensor.shape[index]
    tensor.shape[index] = rng.choice(
        [0, 1, old - 1, old + 1, old * 2, old // 2, 2**40, 2**63, 2**64 - 1]
    )
    return f"{_shown(tensor.name)} has shape {tensor.shape}"


def _dimensions(file: Gguf, rng: random.Random) -> str:
    tensor = rng.choice(file.tensors)
    tensor.shape = rng.choice([[], tensor.shape[:1], tensor.shape[::-1], [*tensor.shape, 1, 1, 1]])
    return f"{_shown(tensor.name)} has shape {tensor.shape}"


def _a_tensor_type(file: Gguf, rng: random.Random) -> str:
    tensor = rng.choice(file.tensors)
    tensor.kind = rng.choice([*range(42), 99, 2**31, 2**32 - 1])
    return f"{_shown(tensor.name)} has type {tensor.kind}"


def _an_offset(file: Gguf, rng: random.Random) -> str:
    tensor = rng.choice(file.tensors)
    choices = [0, 1, 32, tensor.offset + 32, tensor.offset + 1, len(file.data), 2**40, 2**64 - 32]
    tensor.offset = rng.choice(choices)
    return f"{_shown(tensor.name)} is at {tensor.offset}"


def _a_tensor(file: Gguf, rng: random.Random) -> str:
    index = rng.randrange(len(file.tensors))
    tensor = file.tensors[index]
    name = _shown(tensor.name)
    what = rng.choice(("gone", "twice", "renamed", "swapped"))
    if what == "gone" and len(file.tensors) > 1:
        del file.tensors[index]
    elif what == "twice":
        file.tensors.append(tensor)
    elif what == "renamed":
        tensor.name = rng.choice([b"", b"\xff", b"x" * 64, b"x" * 63, tensor.name + b"2"])
    else:
        other = rng.choice(file.tensors)
        tensor.name, other.name = other.name, tensor.name
    return f"{name} is {what}"


def _counts(file: Gguf, rng: random.Random) -> str:
    numbers = [0, 1, len(file.tensors) - 1, len(file.metadata) + 1, 2**20, 2**28, 2**63]
    file.counts = (rng.choice(numbers), rng.choice([len(file.metadata), rng.choice(numbers)]))
    return f"counts {file.counts}"


_MISTAKES = (
    *(_a_number, _a_number, _a_type, _an_item_type, _a_length, _an_item, _a_string, _a_key),
    *(_a_new_key, _a_new_key, _a_global, _a_size, _dimensions, _a_tensor_type, _an_offset),
    *(_a_tensor, _counts),
)

REFUSED, CAUGHT, DECLINED, OPENED = "refused", "caught", "declined", "opened"
"""By the header's check; a child was lost; llama.cpp said no; it works."""


def outcome(model: Path, adapter: Path | None = None) -> tuple[str, str]:
    """What becomes of a file, and why: the same steps as in the program."""
    try:
        header = check_model_file(model)
        if adapter is not None:
            check_adapter_file(adapter, header)
    except ModelError as error:
        return REFUSED, error.message
    try:
        trial.check_opens(model, adapter)
    except ModelError as error:
        return (CAUGHT if "when it was opened" in error.message else DECLINED), error.message
    return OPENED, ""


def main() -> None:
    """Open mutants and print the counts, and one line for each child that was lost."""
    number, seed, source, *more = sys.argv[1:]
    victim = Path(more[0]) if more else Path(source)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutant.gguf"
        for index in range(int(number)):
            rng = random.Random(f"{seed} {index}")
            file = Gguf.read(victim)
            mistakes = mutate(file, rng)
            file.write(path)
            found, why = outcome(*((Path(source), path) if more else (path,)))
            counts[found] += 1
            if found == CAUGHT:
                print(f"{index}: {mistakes[:150]} -> {why[-90:]}", flush=True)
    print(dict(counts))


if __name__ == "__main__":
    main()
