"""How well a starter model judges steps, compared with the true verdicts of scripted players.

    python -m benchmarks.starter [--model FILE.gguf] [--episodes N] [--split dev|test]

Careless players (``agentr_lite/starter/maker``) play held-out tasks of each environment. The critic
judges one step of each episode, drawn evenly from good and bad steps, with the question of
splicing. Guessing good or bad is right for 50 % of the steps; ``uncertain`` is never right.
ScienceWorld needs Java.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import click

from agentr_lite.agent.conversation import conversation
from agentr_lite.core.messages import Message
from agentr_lite.core.openings import Opening
from agentr_lite.core.verdicts import VERDICTS
from agentr_lite.envs.textcraft import TextCraft
from agentr_lite.envs.webshop import WebShop
from agentr_lite.splice.critic import judge
from agentr_lite.starter.maker.crafter import Habits, Player
from agentr_lite.starter.maker.crafting import play
from agentr_lite.starter.maker.episodes import Episode
from agentr_lite.starter.maker.explorer import ExplorerHabits
from agentr_lite.starter.maker.recordings import KINDS, record
from agentr_lite.starter.maker.shopper import Shopper, ShopperHabits, shop
from agentr_lite.starter.maker.shops import PAGE_SIZE, Shop
from benchmarks import tables

_BATCH = 16


@click.command()
@click.option("--model", default="starter", show_default=True, help="GGUF file, or starter.")
@click.option(
    "--episodes", default=120, show_default=True, help="Number of episodes per environment."
)
@click.option("--split", default="dev", type=click.Choice(["dev", "test"]), show_default=True)
@click.option("--env", "only", multiple=True, help="Only this environment; may be repeated.")
def main(model: str, episodes: int, split: str, only: tuple[str, ...]) -> None:
    """Print a table on stdout."""
    from agentr_lite.recipe.groups import AgentSettings
    from agentr_lite.recipe.settings import Recipe
    from agentr_lite.runs.actors import open_actor

    recipe = Recipe(model=model, agent=AgentSettings(brief=True, context_tokens=2048))
    actor = open_actor(recipe)
    sources = {"textcraft": crafted, "webshop": shopped, "sciworld": explored}
    columns = ("environment", "steps", "right", "good: good/bad/unc.", "bad: good/bad/unc.")
    tables.begin(f"Verdicts on held-out tasks ({split})", [*columns, "P(bad) ranks right"])
    for name, source in sources.items():
        if only and name not in only:
            continue
        chosen = questions(source(split, episodes), random.Random(7))
        scored: list[tuple[str, str, float]] = []
        for start in range(0, len(chosen), _BATCH):
            part = chosen[start : start + _BATCH]
            for (_, truth), judged in zip(
                part, judge(actor, "score", [chat for chat, _ in part]), strict=True
            ):
                probabilities = judged.probabilities
                assert probabilities is not None
                scored.append((truth, judged.verdict, probabilities[1]))
        tables.row([name, *summary(scored)])
    actor.close()


def questions(episodes: Iterator[Episode], rng: random.Random) -> list[tuple[list[Message], str]]:
    """Conversations with the true verdict on the last step, as many good as bad ones."""
    by_verdict: dict[str, list[tuple[list[Message], str]]] = {"good": [], "bad": []}
    for episode in episodes:
        for wanted, chats in by_verdict.items():
            places = [i for i, verdict in enumerate(episode.verdicts) if verdict == wanted]
            if wanted == "bad":
                # Splicing looks for the first slip; later ones often repeat it.
                places = places[:1]
            if places:
                steps = episode.steps[: rng.choice(places) + 1]
                chat = conversation(Opening(episode.instructions, episode.opening), steps)
                chats.append((chat, wanted))
    count = min(len(chats) for chats in by_verdict.values())
    return [pair for chats in by_verdict.values() for pair in rng.sample(chats, count)]


def summary(scored: list[tuple[str, str, float]]) -> list[str]:
    """The cells of a row: number, share of right verdicts, verdicts by truth, AUC."""
    right = sum(truth == verdict for truth, verdict, _ in scored) / len(scored)
    counts = Counter((truth, verdict) for truth, verdict, _ in scored)
    cells = [" / ".join(str(counts[truth, said]) for said in VERDICTS) for truth in ("good", "bad")]
    good = [p for truth, _, p in scored if truth == "good"]
    bad = [p for truth, _, p in scored if truth == "bad"]
    wins = sum((b > g) + 0.5 * (b == g) for b in bad for g in good)
    return [str(len(scored)), f"{right:.1%}", *cells, f"{wins / (len(good) * len(bad)):.1%}"]


def crafted(split: str, count: int) -> Iterator[Episode]:
    """Careless episodes of TextCraft's held-out tasks."""
    env = TextCraft()
    tasks = list(env.tasks(split))
    for index in range(count):
        world = env.world(tasks[index % len(tasks)])
        player = Player(world.commands, world.goal, random.Random(index), Habits(careless=1.0))
        yield play(world, player, env.instructions(brief=True), 20)


def shopped(split: str, count: int) -> Iterator[Episode]:
    """Careless episodes of WebShop's held-out tasks."""
    env = WebShop(page_size=PAGE_SIZE)
    tasks = list(env.tasks(split))
    for index in range(count):
        goal = env.goal(tasks[index % len(tasks)])
        player = Shopper(goal, random.Random(index), ShopperHabits(careless=1.0))
        yield shop(Shop(env.catalogue, [goal]), goal, env.instructions(brief=True), player)


def explored(split: str, count: int) -> Iterator[Episode]:
    """Careless episodes of ScienceWorld's held-out tasks."""
    from agentr_lite.envs.sciworld import SciWorld
    from agentr_lite.envs.sciworld.expert import answers_of

    env = SciWorld(kinds=KINDS, step_limit=0, jvms=1)
    tasks = list(env.tasks(split))
    habits = ExplorerHabits(careless=1.0)
    for index in range(count):
        task = tasks[index * len(tasks) // count % len(tasks)]
        yield record(env, task, answers_of(env, task), random.Random(index), habits)
    env.close()


if __name__ == "__main__":
    main()
