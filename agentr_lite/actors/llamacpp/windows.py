"""Which layers of a model see a sliding window only, and what its cells take, by its file's header.

A layer with a window reads the keys and values of the last tokens alone. llama.cpp can keep the
cells of all tokens in it, as in other layers, or those of the window alone. With those of the
window, a conversation takes less memory, but it shares no cells and cannot be cut back further than
its window::

    tokens         | system prompt | task A | turn 1 | answer |
    other layers   kept, cut back to any place
    window         .............................| kept        |

Source: ``llama_kv_cache_iswa`` and the models' ``load_arch_hparams`` in llama.cpp as of
llama-cpp-python 0.3.36.
"""

from __future__ import annotations

from typing import Protocol

from agentr_lite.actors.llamacpp import recurrence

_PERIODS = {"gemma2": 2, "gemma3": 6, "gpt-oss": 2, "cohere2": 4, "olmo2": 4}
"""Each n-th layer sees everything, if the file says nothing else; the others have a window."""
_LISTED = frozenset({"gemma4"})
"""The file lists the layers with a window."""
_GEMMA2_WINDOW = 4096
"""Window of the files that do not tell it."""
MICRO_BATCH = 256
"""Tokens computed at once where only the window's cells are kept. A stream has room for as many
beside its window, so it can be cut back by about as many without a saved state."""
STEP = 256
"""llama.cpp rounds a cache's cells up to a multiple of this."""
_HALF_BYTES = 2


class Described(recurrence.Described, Protocol):
    """The part of a header that is looked at."""

    def cell_bytes(self) -> int:
        """Bytes of one token's keys and values over all layers."""

    @property
    def window(self) -> int:
        """``window_tokens``."""

    def window_cell_bytes(self) -> int:
        """The part of ``cell_bytes`` that layers with a window take."""


def window_tokens(header: Described) -> int:
    """Tokens of the window that some layers see; 0: no layer of an architecture known here."""
    if not any(sliding_layers(header)):
        return 0
    default = _GEMMA2_WINDOW if header.architecture == "gemma2" else 0
    return max(0, header.architecture_value("attention.sliding_window", default))


def sliding_layers(header: Described) -> list[bool]:
    """For each layer, whether it has a window, in the architectures known here."""
    architecture = header.architecture
    count = len(header.layer_values("attention.head_count_kv"))
    pattern = header.metadata.get(f"{architecture}.attention.sliding_window_pattern")
    if architecture not in _LISTED and architecture not in _PERIODS:
        return [False] * count
    if isinstance(pattern, list):
        return (
            [bool(here) for here in pattern[:count]] if len(pattern) >= count else [False] * count
        )
    if architecture in _LISTED:
        return [False] * count
    period = pattern if type(pattern) is int and pattern > 0 else _PERIODS[architecture]
    return [layer % period < period - 1 for layer in range(count)]


def layer_cell_bytes(header: Described) -> list[int]:
    """Bytes of one token's f16 keys and values in each layer of a model with windows."""
    value = header.architecture_value
    heads = max(1, value("attention.head_count", 1))
    width = value("embedding_length") // heads
    key = value("attention.key_length", width)
    length = value("attention.value_length", width)
    short = value("attention.key_length_swa", key) + value("attention.value_length_swa", length)
    groups = header.layer_values("attention.head_count_kv", heads)
    # The last layers of Gemma 4 use the keys and values of earlier ones.
    own = len(groups) - value("attention.shared_kv_layers")
    return [
        _HALF_BYTES * count * (short if slides else key + length) if layer < own else 0
        for layer, (count, slides) in enumerate(zip(groups, sliding_layers(header), strict=True))
    ]


def window_cell_bytes(header: Described) -> int:
    """Bytes of one token's keys and values over all layers with a window."""
    sizes = layer_cell_bytes(header)
    return sum(size for size, here in zip(sizes, sliding_layers(header), strict=True) if here)


def window_bytes(header: Described, context_tokens: int) -> int:
    """Bytes of a stream's cells in the layers with a window, if only these are kept.

    Args:
        header: of the model.
        context_tokens: tokens that the stream holds in the other layers.
    """
    cells = min(rounded(context_tokens), header.window + MICRO_BATCH)
    return rounded(cells) * header.window_cell_bytes()


def windowed_bytes(header: Described, context_tokens: int) -> int:
    """Bytes of a stream of this length where only the windows' cells are kept."""
    others = header.cell_bytes() - header.window_cell_bytes()
    return rounded(context_tokens) * others + window_bytes(header, context_tokens)


def saves_memory(header: Described, context_tokens: int) -> bool:
    """Whether a conversation of this length takes less memory with the windows' cells alone."""
    whole = rounded(context_tokens) * header.cell_bytes()
    return header.window > 0 and windowed_bytes(header, context_tokens) < whole


def rounded(tokens: int) -> int:
    """Cells that llama.cpp makes for so many tokens of a stream."""
    return -(-tokens // STEP) * STEP
