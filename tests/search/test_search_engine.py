"""Search over the llama.cpp engine with a tiny random model: the same trees, cut or not."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from agentr_lite.actors.base import GenerateRequest, GenerateResult
from agentr_lite.actors.llamacpp.actor import LlamaCppActor
from agentr_lite.recipe.groups import AgentSettings, SearchSettings
from agentr_lite.recipe.settings import EnvironmentSettings, Recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store, summaries
from tests.support.corridor import Corridor
from tests.support.stages import search_stage
from tests.support.tiny_gguf import write_tiny_model

ACTIONS = ("forward", "take", "open", "leave", "back")


class ActingModel(LlamaCppActor):
    """A random model writes no action lines: what it wrote picks one."""

    batches = 0
    fail_at = -1

    def generate(self, requests: Sequence[GenerateRequest]) -> list[GenerateResult]:
        if self.batches == self.fail_at:
            raise KeyboardInterrupt
        self.batches += 1
        return [
            dataclasses.replace(
                result,
                completions=tuple(
                    dataclasses.replace(one, text=_with_action(one.text), drawn_ids=())
                    for one in result.completions
                ),
            )
            for result in super().generate(requests)
        ]


def _with_action(text: str) -> str:
    return f"{text}\nAction: {ACTIONS[zlib.crc32(text.encode()) % len(ACTIONS)]}"


@pytest.fixture
def actor(tmp_path: Path) -> Iterator[ActingModel]:
    model = ActingModel(write_tiny_model(tmp_path / "tiny.gguf"), context_tokens=1024)
    yield model
    model.close()


@pytest.mark.parametrize("descent", ["paper", "textbook"])
def test_cut_and_resumed_equals_uninterrupted(
    tmp_path: Path, actor: ActingModel, descent: Literal["paper", "textbook"]
) -> None:
    recipe = Recipe(
        env=(EnvironmentSettings("corridor"),),
        agent=AgentSettings(max_tokens=16, context_tokens=1024),
        search=SearchSettings(tasks=6, simulations=3, width=3, depth=4, wave=3, descent=descent),
    )

    def trees_of(path: Path, *cuts: int) -> list[Any]:
        with Store.open(path) as store:
            run_id = create_run(store, recipe)
            for cut in cuts:
                actor.batches, actor.fail_at = 0, cut
                with pytest.raises(KeyboardInterrupt):
                    search_stage(store, run_id, 1, recipe, Corridor(), actor)
            actor.fail_at = -1
            search_stage(store, run_id, 1, recipe, Corridor(), actor)
            return list(summaries.dump_trees(store, run_id, 1))

    whole = trees_of(tmp_path / "whole.db")
    assert trees_of(tmp_path / "cut.db", 14, 3) == whole
    assert actor.usage.decoded_prompt_tokens < actor.usage.prompt_tokens / 2
