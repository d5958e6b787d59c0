"""WebShop's episodes: training goals of the bundled shop and goals of made-up shops."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from agentr_lite.envs.webshop import WebShop
from agentr_lite.starter.maker.episodes import Episode
from agentr_lite.starter.maker.shopper import Shopper, ShopperHabits, shop
from agentr_lite.starter.maker.shops import PAGE_SIZE, HeldOut, bundled_shop, made_up_shop

_GOALS_PER_SHOP = 400
_SHOPS = 1 << 30


@dataclass(frozen=True, slots=True)
class ShoppingMixture:
    """The kinds of WebShop's episodes."""

    real: float = 0.3
    """Share of the bundled shop's training goals; the rest are goals of made-up shops."""
    habits: ShopperHabits = field(default_factory=ShopperHabits)


class Shopping:
    """Endless episodes of WebShop.

    Raises:
        ValueError: a held-out goal is among the training goals.
    """

    name = "webshop"

    def __init__(self, mixture: ShoppingMixture | None = None) -> None:
        env = WebShop(page_size=PAGE_SIZE)
        self.mixture = mixture or ShoppingMixture()
        self.held_out = HeldOut.of(env)
        self.bundled = bundled_shop(env)
        self.instructions = env.instructions(brief=True)
        leaked = self.held_out.instructions & {goal.instruction for goal in self.bundled.goals}
        if leaked:
            raise ValueError(f"held-out goals among the training goals: {min(leaked)}")

    def episodes(self, rng: random.Random, ease: float = 0.0) -> Iterator[Episode]:
        """Episodes from one random stream, with its own made-up shop.

        Args:
            rng: the stream.
            ease: has no effect here.
        """
        made_up = made_up_shop(rng.randrange(_SHOPS), self.held_out, _GOALS_PER_SHOP, rng)
        while True:
            place = self.bundled if rng.random() < self.mixture.real else made_up
            goal = rng.choice(place.goals)
            yield shop(place, goal, self.instructions, Shopper(goal, rng, self.mixture.habits))
