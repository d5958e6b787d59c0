"""The whole loop in the shop, with a careless customer in place of a model."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from agentr_lite.actors.mock import MockActor
from agentr_lite.agent.step import take_step
from agentr_lite.core.messages import Message
from agentr_lite.envs.registry import find_task, make_env
from agentr_lite.envs.webshop import WebShop, score_purchase
from agentr_lite.store import Store, runs, splices, trees
from tests.support import loop_case
from tests.support.command_line import Call

RECIPE = """
env: webshop
seed: 3
rounds: 1
train_model: {weights}
agent: {{max_tokens: 60}}
search: {{tasks: 10, simulations: 6, width: 3, depth: 8, wave: 4}}
splice: {{alpha: [0.7], beta: 0.2, recovery_attempts: 6, pairs_per_task: 3, contested: false}}
train: {{eta: 1, epochs: 1, validation: 0.3}}
eval: {{tasks: 12, max_steps: 8, recovery_steps: 6}}
"""


class Customer(MockActor):
    """Searches for the wish, takes a product from the page, forgets some options."""

    def __init__(self) -> None:
        super().__init__(self._shop, scorer=self._judge)

    def _shop(self, messages: Sequence[Message], seed: int) -> str:
        drawn = random.Random(seed)
        page = messages[-1]["content"]
        return f"Thought: {len(page)} letters.\nAction: {self._action(messages, page, drawn)}"

    def _action(self, messages: Sequence[Message], page: str, drawn: random.Random) -> str:
        parts = page.split(" [SEP] ")
        wish = messages[1]["content"].split(" [SEP] ")[2]
        if "Buy Now" in parts:
            clicked = "\n".join(turn["content"] for turn in messages[-7:])
            for value in re.findall(r": ([^:,]+),", wish.partition(" with ")[2]):
                if value in parts and f"click[{value}]" not in clicked and drawn.random() < 0.7:
                    return f"click[{value}]"
            return drawn.choice(["click[Buy Now]"] * 4 + ["click[Features]"])
        products = [part for part in parts if re.fullmatch(r"B0\w{8}", part)]
        if products:
            return f"click[{drawn.choice(products[:4])}]"
        if "< Prev" in parts:
            return "click[< Prev]"
        # On the start page, and after a revision: from there it begins anew.
        return f"search[{wish.partition(' with ')[0]}]"

    def _judge(self, messages: Sequence[Message], answer: str) -> float:
        text = " ".join(message["content"] for message in messages)
        return -1.0 - random.Random(text + answer).random()


@pytest.fixture
def finished(loop: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """The database of a run, and the report it printed."""
    loop_case.install(monkeypatch.setattr, Customer)
    weights = loop_case.write_weights(tmp_path / "weights")
    recipe = tmp_path / "shopping.yaml"
    recipe.write_text(RECIPE.format(weights=weights))
    db = tmp_path / "runs.db"
    code, out, err = loop("run", str(recipe), "-d", str(db))
    assert code == 0, err
    return db, out


def test_the_loop_learns_from_better_purchases(finished: tuple[Path, str]) -> None:
    db, out = finished
    assert "verdict: " in out and "round 1" in out
    with Store.open(db, create=False, read_only=True) as store:
        run = runs.get_run(store, "latest")
        assert run.status == "finished"
        searched = trees.list_trees(store, run.id, round_index=1)
        assert len(searched) == 10 and not [tree for tree in searched if tree.error]
        made = splices.list_revisions(store, run.id, round_index=1)
    kept = [one for one in made if one.messages is not None]
    assert {one.status for one in kept} == {"replayed", "recovered"}
    # Executed, not joined: what is kept can be done in the shop, and earns the threshold.
    env = make_env("webshop")
    for revision in kept:
        assert revision.messages is not None
        env.reset(find_task(env, revision.task))
        done = [take_step(env, m["content"]) for m in revision.messages if m["role"] == "assistant"]
        assert done[-1].terminated and done[-1].reward >= 0.7
        assert [step.kind for step in done].count("reflect") == 1


def test_rewards_are_of_many_sizes() -> None:
    """A wrong product or a forgotten option is a matter of degree."""
    env = WebShop()
    goal = env.goal(env.tasks("train")[0])
    rewards = {
        round(score_purchase(product, {}, goal).reward, 3) for product in env.catalogue.products
    }
    assert len(rewards) >= 5 and min(rewards) == 0.0 and max(rewards) < 1.0
