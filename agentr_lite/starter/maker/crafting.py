"""TextCraft's episodes: training tasks of the bundled book and procedural worlds."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from agentr_lite.core.steps import Step
from agentr_lite.envs.textcraft import TextCraft
from agentr_lite.envs.textcraft.book import bundled_table
from agentr_lite.envs.textcraft.rules import apply
from agentr_lite.envs.textcraft.world import World
from agentr_lite.starter.maker.crafter import Habits, Player
from agentr_lite.starter.maker.episodes import Episode, Verdict, take_turn
from agentr_lite.starter.maker.worlds import Vocabulary, WorldMaker


@dataclass(frozen=True, slots=True)
class CraftingMixture:
    """The kinds of TextCraft's episodes."""

    real: float = 0.3
    """Share of the bundled book's training tasks. The rest are procedural worlds, which teach the
    model to read the commands."""
    max_steps: int = 20
    max_commands: int = 30
    """Tasks that show more commands are left out; they would have most of the tokens."""
    habits: Habits = field(default_factory=Habits)


def play(world: World, player: Player, instructions: str, max_steps: int) -> Episode:
    """Let a player play a world by the environment's rules."""
    inventory: dict[str, int] = {}
    steps: list[Step] = []
    verdicts: list[Verdict] = []
    for _ in range(max_steps):
        move = take_turn(player, steps, verdicts)
        if move is None:
            continue
        turn, action = move
        outcome = apply(world.table, inventory, action)
        inventory = dict(outcome.inventory)
        solved = outcome.crafted == world.goal
        steps.append(
            Step(
                turn.text,
                action,
                outcome.observation,
                reward=float(solved),
                terminated=solved,
                invalid=not outcome.ok,
            )
        )
        verdicts.append(turn.verdict if outcome.ok else "bad")
        if solved:
            break
        player.observe(outcome.observation)
        if player.gives_up:
            break
    reward = steps[-1].reward if steps else 0.0
    return Episode("textcraft", instructions, world.text, steps, verdicts, reward)


class Crafting:
    """Endless episodes of TextCraft.

    Args:
        worlds: the *training* tasks of the bundled book.
        vocabulary: words for procedural worlds.
        held_out: goals that no demonstration may make.
        instructions: the system prompt.

    Raises:
        ValueError: a held-out goal is among the worlds.
    """

    name = "textcraft"

    def __init__(
        self,
        worlds: Sequence[World],
        vocabulary: Vocabulary,
        held_out: frozenset[str],
        instructions: str,
        mixture: CraftingMixture | None = None,
    ) -> None:
        leaked = sorted(held_out & {world.goal for world in worlds})
        if leaked:
            raise ValueError(f"held-out goals among the training worlds: {', '.join(leaked[:5])}")
        mixture = mixture or CraftingMixture()
        self.worlds = [w for w in worlds if len(w.commands) <= mixture.max_commands]
        self.vocabulary = vocabulary
        self.held_out = held_out
        self.instructions = instructions
        self.mixture = mixture

    @classmethod
    def bundled(cls, mixture: CraftingMixture | None = None) -> Crafting:
        """The episodes of the bundled book's training goals, without its dev and test goals."""
        env = TextCraft()
        held_out = frozenset(
            env.world(task).goal for split in ("dev", "test") for task in env.tasks(split)
        )
        table = bundled_table()
        names = [*table.by_output, *table.gettable, *table.tags]
        return cls(
            [env.world(task) for task in env.tasks("train")],
            Vocabulary.of(names, dict(table.tags), held_out),
            held_out,
            env.instructions(brief=True),
            mixture,
        )

    def episodes(self, rng: random.Random, ease: float = 0.0) -> Iterator[Episode]:
        """Episodes from one random stream.

        Args:
            rng: the stream.
            ease: in [0, 1]; 1 = shallow worlds without distractors, 0 = the full mixture.
        """
        maker = WorldMaker(self.vocabulary, self.held_out, rng)
        while True:
            if rng.random() < self.mixture.real * (1 - ease):
                world = self._reordered(rng.choice(self.worlds), rng)
            else:
                world = self._procedural(maker, rng, ease)
            player = Player(world.commands, world.goal, rng, self.mixture.habits)
            yield play(world, player, self.instructions, self.mixture.max_steps)

    def _reordered(self, world: World, rng: random.Random) -> World:
        """The same goal with its commands in another order and fewer distractors.

        A task shows its commands in one fixed order; the model would remember it.
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
