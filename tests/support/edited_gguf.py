"""Copies of GGUF files with single mistakes in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

Tensors = dict[str, npt.NDArray[np.float32]]


def edited(
    source: Path,
    target: Path,
    *,
    keys: Mapping[str, Any] | None = None,
    tensors: Callable[[Tensors], Tensors | None] | None = None,
) -> Path:
    """Copy an unquantized file.

    Args:
        source: a GGUF file.
        target: the copy.
        keys: new values, or functions of the old ones; None = without this key. ``{arch}`` stands
            for the architecture.
        tensors: changes the dictionary of tensors (f32), or returns another one.
    """
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    changes = {name.format(arch=architecture): value for name, value in (keys or {}).items()}
    writer = gguf.GGUFWriter(target, architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = field.contents()
        if name in changes:
            change = changes.pop(name)
            value = change(value) if callable(change) else change
        if value is not None:
            inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, value, field.types[0], sub_type=inner)
    for name, value in changes.items():
        assert value is not None, f"{source} has no {name}"
        writer.add_key_value(name, value, gguf.GGUFValueType.get_type(value))
    values = {
        tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(
            tuple(reversed(tensor.shape.tolist()))
        )
        for tensor in reader.tensors
    }
    for name, array in ((tensors(values) if tensors else None) or values).items():
        writer.add_tensor(name, np.ascontiguousarray(array, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target
