"""Instruct models of up to 4B parameters that are known to work, and where to download them.

Each entry has a GGUF file to play with, and a repository of the same weights to train. If the
makers' own repository is gated, an ungated copy is named instead. Sizes are from the time when the
list was made; a download checks the size that the repository states then.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """One model of the catalog."""

    name: str
    parameters: float
    repo: str
    """Repository of the GGUF file."""
    file: str
    megabytes: int
    """Size of the GGUF file, rounded."""
    train_repo: str
    """Repository with config.json, tokenizer and safetensors."""
    licence: str


CATALOG = (
    CatalogModel(
        "smollm2-135m",
        135e6,
        "bartowski/SmolLM2-135M-Instruct-GGUF",
        "SmolLM2-135M-Instruct-Q8_0.gguf",
        145,
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "Apache 2.0",
    ),
    CatalogModel(
        "smollm2-360m",
        362e6,
        "HuggingFaceTB/SmolLM2-360M-Instruct-GGUF",
        "smollm2-360m-instruct-q8_0.gguf",
        386,
        "HuggingFaceTB/SmolLM2-360M-Instruct",
        "Apache 2.0",
    ),
    CatalogModel(
        "smollm2-1.7b",
        1.7e9,
        "HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF",
        "smollm2-1.7b-instruct-q4_k_m.gguf",
        1056,
        "HuggingFaceTB/SmolLM2-1.7B-Instruct",
        "Apache 2.0",
    ),
    CatalogModel(
        "qwen2.5-0.5b",
        494e6,
        "Qwen/Qwen2.5-0.5B-Instruct-GGUF",
        "qwen2.5-0.5b-instruct-q8_0.gguf",
        676,
        "Qwen/Qwen2.5-0.5B-Instruct",
        "Apache 2.0",
    ),
    CatalogModel(
        "qwen2.5-1.5b",
        1.5e9,
        "Qwen/Qwen2.5-1.5B-Instruct-GGUF",
        "qwen2.5-1.5b-instruct-q4_k_m.gguf",
        1117,
        "Qwen/Qwen2.5-1.5B-Instruct",
        "Apache 2.0",
    ),
    CatalogModel(
        "qwen2.5-3b",
        3.1e9,
        "Qwen/Qwen2.5-3B-Instruct-GGUF",
        "qwen2.5-3b-instruct-q4_k_m.gguf",
        2105,
        "Qwen/Qwen2.5-3B-Instruct",
        "Qwen Research",
    ),
    CatalogModel(
        "qwen3-0.6b",
        600e6,
        "Qwen/Qwen3-0.6B-GGUF",
        "Qwen3-0.6B-Q8_0.gguf",
        639,
        "Qwen/Qwen3-0.6B",
        "Apache 2.0",
    ),
    CatalogModel(
        "qwen3-1.7b",
        1.7e9,
        "Qwen/Qwen3-1.7B-GGUF",
        "Qwen3-1.7B-Q8_0.gguf",
        1834,
        "Qwen/Qwen3-1.7B",
        "Apache 2.0",
    ),
    CatalogModel(
        "qwen3-4b",
        4.0e9,
        "Qwen/Qwen3-4B-GGUF",
        "Qwen3-4B-Q4_K_M.gguf",
        2497,
        "Qwen/Qwen3-4B",
        "Apache 2.0",
    ),
    CatalogModel(
        "llama-3.2-1b",
        1.2e9,
        "bartowski/Llama-3.2-1B-Instruct-GGUF",
        "Llama-3.2-1B-Instruct-Q4_K_M.gguf",
        808,
        "mlx-community/Llama-3.2-1B-Instruct-bf16",
        "Llama 3.2",
    ),
    CatalogModel(
        "llama-3.2-3b",
        3.2e9,
        "bartowski/Llama-3.2-3B-Instruct-GGUF",
        "Llama-3.2-3B-Instruct-Q4_K_M.gguf",
        2019,
        "mlx-community/Llama-3.2-3B-Instruct-bf16",
        "Llama 3.2",
    ),
    CatalogModel(
        "gemma-3-1b",
        1.0e9,
        "ggml-org/gemma-3-1b-it-GGUF",
        "gemma-3-1b-it-Q4_K_M.gguf",
        806,
        "mlx-community/gemma-3-1b-it-bf16",
        "Gemma",
    ),
)
"""Sorted by family and size. Source: the repositories' pages, as named by ``repo``."""


def catalog_model(name: str) -> CatalogModel | None:
    """The model of that name in the catalog, or None."""
    return next((item for item in CATALOG if item.name == name), None)
