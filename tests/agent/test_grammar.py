"""Turns that may only end in an action which the environment lists in its present state."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentr_lite.actors.base import GenerateRequest, Sampling
from agentr_lite.actors.grammar.matcher import Grammars
from agentr_lite.agent.grammar import TurnGrammar, actions_grammar, turn_grammar
from agentr_lite.agent.turns import PLAIN, reflection_turn
from agentr_lite.core.errors import EnvironmentFault, UsageError
from agentr_lite.envs.base import Environment
from agentr_lite.envs.textcraft import TextCraft
from agentr_lite.evaluate.episodes import Start, run_episodes
from agentr_lite.recipe.groups import AgentSettings, SearchSettings
from agentr_lite.recipe.settings import Recipe
from agentr_lite.search.context import search_context
from agentr_lite.search.scheduler import TreeSearch, run_wave
from tests.actors.test_grammar_matcher import VOCABULARY, ByteTokens, accepts
from tests.support.corridor import HELD, Corridor
from tests.support.policy_actor import PolicyActor, wanderer

LINE = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]) | st.just("\t"), min_size=1
).filter(str.strip)


class LockedCorridor(Corridor):
    """Lists what is possible in its state, not every word that it understands."""

    def valid_actions(self) -> list[str]:
        before = self.snapshot()
        possible = []
        for action in super().valid_actions():
            if not self.step(action).info.get("invalid"):
                possible.append(action)
            self.restore(before)
        return possible


def turn(action: str) -> str:
    return f"Thought: well\nAction: {action}"


def allows(grammar: str, text: str) -> bool:
    return accepts(Grammars(VOCABULARY, ByteTokens.SIZE).compiled(grammar), text)


@settings(deadline=None, max_examples=30)
@given(st.lists(LINE, min_size=1, max_size=12), LINE)
def test_exactly_the_listed_actions_and_a_reflection_end_a_turn(
    actions: list[str], other: str
) -> None:
    grammar = actions_grammar(actions)
    assert all(allows(grammar, turn(action)) for action in actions)
    assert allows(grammar, reflection_turn("That was wrong."))
    assert allows(grammar, turn(other)) == (other in [*actions, "reflect"])


def test_actions_that_begin_alike_are_written_once() -> None:
    actions = [f"focus on the {a} {b}" for a in range(60) for b in range(60)]
    grammar = actions_grammar(actions)
    assert len(grammar) < sum(map(len, actions)) / 2
    assert allows(grammar, turn(actions[-1])) and not allows(grammar, turn("focus on the 60 1"))
    prefix = actions_grammar(["look", "look at", "look at it", "loo"])
    for action, possible in {
        "look": 1,
        "look at": 1,
        "look at it": 1,
        "loo": 1,
        "look ": 0,
    }.items():
        assert allows(prefix, turn(action)) == bool(possible), action


def test_a_state_without_actions_allows_any() -> None:
    grammar = actions_grammar([])
    assert allows(grammar, turn("shout")) and not allows(grammar, "Thought: well")


def grammars_of(requests: Sequence[GenerateRequest]) -> set[str]:
    return {request.sampling.grammar for request in requests}


def test_a_search_asks_in_every_state_for_its_own_actions() -> None:
    recipe = Recipe(
        agent=AgentSettings(grammar="actions"),
        search=SearchSettings(simulations=4, width=3, depth=6),
    )
    actor = PolicyActor(wanderer("forward", "take", "open", "back", "throw"))
    env = LockedCorridor()
    task = env.tasks("train")[0]
    search = TreeSearch(task, search_context(recipe, env, 1))
    asked: list[GenerateRequest] = []
    run_wave([search], actor)
    for batch in actor.batches:
        asked += batch
    assert len(grammars_of(asked)) > 2
    for request in asked:
        # The state that a conversation led to: what its turns do from reset on.
        env.reset(task)
        for message in request.messages:
            if message["role"] == "assistant":
                found = re.search("Action: (.+)", message["content"])
                assert found
                env.step(found[1])
        assert request.sampling.grammar == actions_grammar(env.valid_actions())


def test_episodes_follow_the_actions_of_their_state() -> None:
    env = LockedCorridor()
    task = env.tasks("train")[0]
    actor = PolicyActor(wanderer("forward", "take"))
    run_episodes(
        env,
        actor,
        [Start(task, seed) for seed in range(1, 5)],
        instructions="Play.",
        form=PLAIN,
        max_steps=4,
        sampling=Sampling(),
        batch=4,
        grammar=TurnGrammar("actions", env),
    )
    texts = grammars_of([request for batch in actor.batches for request in batch])
    env.reset(task)
    assert actions_grammar(env.valid_actions()) in texts
    env.restore(env.snapshot()._replace(position=1, key=HELD))
    assert actions_grammar(env.valid_actions()) in texts


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        (None, "cannot be listed"),
        (["two\nlines"], "one line of text"),
        (["  "], "one line of text"),
        ([7], "a int as an action"),
        (iter(lambda: "go", None), "more than 100,000 actions"),
    ],
)
def test_what_is_no_list_of_actions_is_the_environments_fault(listed: Any, said: str) -> None:
    class Odd(Corridor):
        def valid_actions(self) -> Any:
            return listed

    with pytest.raises(EnvironmentFault, match=said):
        TurnGrammar("actions", Odd()).next_turn()


def test_an_environment_without_a_grammar_is_told_of_its_actions() -> None:
    class Wordless(Environment):
        name = "wordless"
        tasks = reset = step = instructions = None  # type: ignore[assignment]

    with pytest.raises(UsageError) as refused:
        turn_grammar("env", Wordless())
    assert "'actions'" in refused.value.hint


def test_textcrafts_grammar_allows_every_solution_and_no_sentence() -> None:
    env = TextCraft()
    grammar = Grammars(VOCABULARY, ByteTokens.SIZE).compiled(turn_grammar("env", env))
    for task in env.tasks("test")[::4]:
        for action in env.solve(task):
            assert accepts(grammar, turn(action)), action
    assert accepts(grammar, turn("get 64 nonsense of some sort"))
    assert not accepts(grammar, turn("get 1 oak log and then make planks of it"))
    assert not accepts(grammar, turn("get 1 " + "o" * 40))
    assert not accepts(grammar, turn("craft 1 bowl using " + ", ".join(["1 stick"] * 10)))
