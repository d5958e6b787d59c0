"""WebShop's episodes: training goals of the bundled shop, and made-up shops."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from agentr_lite.envs.webshop import WebShop
from agentr_lite.starter.maker.episodes import Episode
from agentr_lite.starter.maker.shopper import Shopper, ShopperHabits, shop
from agentr_lite.starter.maker.shops import PAGE_SIZE, HeldOut, bundled_shop, made_up_shop

_WISHES_A_SHOP = 400
_SHOPS = 1 << 30


@dataclass(frozen=True, slots=True)
class ShoppingMixture:
    """What WebShop's episodes are made of."""

    real: float = 0.3
    """Share of the bundled shop's training goals; the rest are made-up shops."""
    habits: ShopperHabits = field(default_factory=ShopperHabits)


class Shopping:
    """WebShop's episodes for ever."""

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
        """Episodes from one random stream, which has a made-up shop of its own.

        Args:
            rng: the stream.
            ease: changes nothing here.
        """
        made_up = made_up_shop(rng.randrange(_SHOPS), self.held_out, _WISHES_A_SHOP, rng)
        while True:
            place = self.bundled if rng.random() < self.mixture.real else made_up
            goal = rng.choice(place.goals)
            yield shop(place, goal, self.instructions, Shopper(goal, rng, self.mixture.habits))
