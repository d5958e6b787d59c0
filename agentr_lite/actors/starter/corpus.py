"""Demonstrations as chat messages: what the starter is trained on.

Episodes run in the environment's own rules, so observations are those that the model will meet.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from agentr_lite.actors.base import Message
from agentr_lite.actors.starter.demonstrator import Habits, Player, Turn
from agentr_lite.actors.starter.worlds import Vocabulary, WorldMaker
from agentr_lite.agent import REFLECT_REPLY, Step, conversation, is_reflection, parse_action
from agentr_lite.envs.textcraft.rules import apply
from agentr_lite.envs.textcraft.world import World
from agentr_lite.splice.critic import CRITIC_ANSWERS, judge_message


@dataclass(frozen=True, slots=True)
class Mixture:
    """What share of the demonstrations is what."""

    real: float = 0.5
    """Training tasks of the bundled book; the rest are procedural worlds."""
    judged: float = 0.25
    """Demonstrations that end with the critic's question after a random step."""
    max_steps: int = 20
    max_commands: int = 30
    """Tasks that show more are left out: they would be most of the tokens."""
    habits: Habits = field(default_factory=Habits)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """One training example."""

    messages: list[Message]
    loss: list[bool]
    """Per message: whether it is a target. Only assistant turns are."""
    kind: str
    """``play`` or ``judge``."""
    solved: bool


@dataclass(frozen=True, slots=True)
class Episode:
    """A played episode with the verdict on each step."""

    steps: list[Step]
    verdicts: list[str]
    solved: bool


def play(world: World, player: Player, max_steps: int) -> Episode:
    """Let ``player`` play ``world`` by the environment's rules."""
    inventory: dict[str, int] = {}
    steps: list[Step] = []
    verdicts: list[str] = []
    for _ in range(max_steps):
        turn: Turn = player.next_turn()
        action = parse_action(turn.text)
        if action is None:
            raise ValueError(f"the demonstrator said no action: {turn.text!r}")
        if is_reflection(action):
            steps.append(Step(turn.text, action, REFLECT_REPLY, kind="reflect"))
            verdicts.append(turn.verdict)
            player.observe(REFLECT_REPLY)
            continue
        outcome = apply(world.table, inventory, action)
        inventory = dict(outcome.inventory)
        solved = outcome.crafted == world.goal
        steps.append(Step(turn.text, action, outcome.observation, invalid=not outcome.ok))
        verdicts.append(turn.verdict if outcome.ok else "Bad")
        if solved:
            return Episode(steps, verdicts, True)
        player.observe(outcome.observation)
        if player.gives_up:
            break
    return Episode(steps, verdicts, False)


class Corpus:
    """An endless stream of demonstrations.

    Args:
        worlds: the *training* tasks of the bundled book.
        vocabulary: words of procedural worlds.
        held_out: goals that must not be made in any demonstration's goal.
        instructions: the system prompt.
    """

    def __init__(
        self,
        worlds: Sequence[World],
        vocabulary: Vocabulary,
        held_out: frozenset[str],
        instructions: str,
        mixture: Mixture | None = None,
    ) -> None:
        leaked = sorted(held_out & {world.goal for world in worlds})
        if leaked:
            raise ValueError(f"held-out goals among the training worlds: {', '.join(leaked[:5])}")
        mixture = mixture or Mixture()
        self.worlds = [w for w in worlds if len(w.commands) <= mixture.max_commands]
        self.vocabulary = vocabulary
        self.held_out = held_out
        self.instructions = instructions
        self.mixture = mixture

    def stream(
        self, seed: int, *, ease: float = 0.0, real: float | None = None
    ) -> Iterator[Demonstration]:
        """Demonstrations for ever.

        Args:
            seed: of this stream.
            ease: 1 = shallow worlds without distractors, 0 = the full mixture.
            real: share of the book's tasks; default: the mixture's.
        """
        rng = random.Random(seed)
        maker = WorldMaker(self.vocabulary, self.held_out, rng)
        share = self.mixture.real if real is None else real
        while True:
            if rng.random() < share * (1 - ease):
                world = self._reshown(rng.choice(self.worlds), rng)
            else:
                world = self._procedural(maker, rng, ease)
            player = Player(world.commands, world.goal, rng, self.mixture.habits)
            episode = play(world, player, self.mixture.max_steps)
            yield self._example(world, episode, rng)

    def _reshown(self, world: World, rng: random.Random) -> World:
        """The same goal with its commands in another order and fewer distractors.

        A task shows its commands in one frozen order; seen often enough, it would be remembered.
        """
        tree = set(world.table.tree(world.goal))
        keep = rng.random()
        shown = [r for r in world.commands if r in tree or rng.random() < keep]
        rng.shuffle(shown)
        return World(world.table, world.goal, tuple(shown))

    def _procedural(self, maker: WorldMaker, rng: random.Random, ease: float) -> World:
        depth = rng.choices((1, 2, 3, 4), (3, 4, 3 * (1 - ease), 1.5 * (1 - ease)))[0]
        distractors = rng.choice((0, 2, 4, 6, 8, 10)) if rng.random() >= ease else rng.randrange(3)
        made = maker.world(depth, distractors)
        return World.of_recipes(made.goal, made.commands, tags=self.vocabulary.tags)

    def _example(self, world: World, episode: Episode, rng: random.Random) -> Demonstration:
        steps = episode.steps
        judged = rng.random() < self.mixture.judged
        if judged:
            cut = self._judged_step(episode, rng)
            messages = judge_message(conversation(self.instructions, world.text, steps[: cut + 1]))
            messages.append({"role": "assistant", "content": episode.verdicts[cut]})
            if episode.verdicts[cut] not in CRITIC_ANSWERS:
                raise ValueError(f"not a verdict: {episode.verdicts[cut]!r}")
        else:
            messages = conversation(self.instructions, world.text, steps)
            # The last observation answers nothing and is answered by nothing.
            messages.pop()
        loss = [message["role"] == "assistant" for message in messages]
        return Demonstration(messages, loss, "judge" if judged else "play", episode.solved)

    def _judged_step(self, episode: Episode, rng: random.Random) -> int:
        """A step to judge: half of the time the first bad one, if there is any."""
        if "Bad" in episode.verdicts and rng.random() < 0.5:
            return episode.verdicts.index("Bad")
        return rng.randrange(len(episode.steps))
