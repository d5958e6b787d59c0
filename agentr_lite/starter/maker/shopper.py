"""A player of mixed skill for WebShop: the environment's expert, with slips.

*Careless* players have the slips of ``ShopperHabits``. A purchase cannot be undone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from agentr_lite.agent.turns import REFLECT, REFLECT_REPLY, REFLECTIONS
from agentr_lite.core.steps import Step
from agentr_lite.core.verdicts import Verdict
from agentr_lite.envs.expert import Move
from agentr_lite.envs.webshop.expert import DETOURS, SCANNED, Buyer
from agentr_lite.envs.webshop.pages import BUY, Visit, advance, page_text
from agentr_lite.envs.webshop.reward import Goal, score_purchase
from agentr_lite.starter.maker.episodes import Episode, take_turn
from agentr_lite.starter.maker.shops import Shop


@dataclass(frozen=True, slots=True)
class ShopperHabits:
    """Probabilities of a careless player's slips."""

    careless: float = 0.75
    """Share of careless episodes."""
    search_kind: float = 0.8
    """Search only for the kind of product, without the wanted properties."""
    take_first: float = 0.85
    """Take the first result, whatever its price."""
    forget_option: float = 0.85
    """Buy without the last of two or more options."""
    forget_only_option: float = 0.3
    """Buy without the only option."""
    unaware: float = 0.55
    """Go on with a product that is too expensive or lacks an option, instead of reflecting."""
    detours: int = DETOURS
    """Maximum number of products that a player, careful or not, opens and leaves again."""
    scanned: int = SCANNED
    """Maximum number of candidates that a player compares on a page."""


class Shopper(Buyer):
    """Plays one episode; ``next_move`` and ``observe`` alternate."""

    def __init__(self, goal: Goal, rng: random.Random, habits: ShopperHabits) -> None:
        super().__init__(goal, habits.detours, habits.scanned)
        self.rng, self.habits = rng, habits
        self.careless = rng.random() < habits.careless
        self.reflected = self.flawed = False

    def observe(self, observation: str) -> None:
        """Take in a page, or the agent loop's answer to a reflection."""
        if observation == REFLECT_REPLY:
            self.reflected = True
            return
        super().observe(observation)

    def arrive(self, number: str) -> None:
        """Note what a product's page shows."""
        super().arrive(number)
        self.reflected = self.flawed = False

    def search(self) -> Move:
        """As the expert; a careless player may search only for the kind."""
        if self._slips(self.habits.search_kind):
            return Move("I search for the kind.", f"search[{self.wish.kind}]", "uncertain")
        return super().search()

    def pick(self) -> Move:
        """As the expert; a careless player may take the first product."""
        if not self.seen and self._slips(self.habits.take_first):
            number, _, price = self.results()[0]
            # A missing option shows only on the product's page; the price is visible here.
            verdict: Verdict = "bad" if self.is_dear(price) else "good"
            return Move("I take the first.", f"click[{number}]", verdict)
        return super().pick()

    def choose(self) -> Move:
        """As the expert; a careless player may not check the product or forget an option."""
        if not self.checked:
            self.checked = True
            check = not self._slips(self.habits.take_first)
            aware = not self._slips(self.habits.unaware)
            if check and (self.wish.options or self.too_dear):
                return self.check()
            if (self.too_dear or self.lacks) and self.may_leave:
                self.flawed = True
                if aware and self.too_dear:
                    return self._reflect()
        if self.reflected:
            self.reflected = False
            return self.check()
        # At the last option, decide whether the player forgets it.
        if len(self.left) == 1:
            several = len(self.wish.options) > 1
            habit = self.habits.forget_option if several else self.habits.forget_only_option
            if self._slips(habit):
                self.left.clear()
                return Move("I buy it.", f"click[{BUY}]", "bad")
        if not self.left:
            return replace(super().choose(), verdict="bad" if self.flawed else "good")
        offer = self.offer(self.left[0])
        if offer is None and self.may_leave and not self._slips(self.habits.unaware):
            return self._reflect()
        return replace(super().choose(), verdict="good" if offer else "bad")

    def check(self) -> Move:
        """As the expert. What is left as it is after the check is left knowingly."""
        self.flawed = False
        return super().check()

    # -- internals ---------------------------------------------------------------------------

    def _slips(self, probability: float) -> bool:
        # Draw in any case, so that a habit does not change the rest of the episode.
        return self.rng.random() < probability and self.careless

    def _reflect(self) -> Move:
        return Move(self.rng.choice(REFLECTIONS), REFLECT, "uncertain")


def shop(
    place: Shop, goal: Goal, instructions: str, player: Shopper, max_steps: int = 14
) -> Episode:
    """Let a player shop by the environment's rules.

    Args:
        place: the shop.
        goal: the goal of the episode.
        instructions: the system prompt.
        player: a player for this goal.
        max_steps: the maximum number of steps.
    """
    visit = Visit()
    opening = page_text(place.catalogue, visit, goal.instruction)
    steps: list[Step] = []
    verdicts: list[Verdict] = []
    reward = 0.0
    for _ in range(max_steps):
        move = take_turn(player, steps, verdicts)
        if move is None:
            continue
        turn, action = move
        target = advance(place.catalogue, visit, action)
        visit = target or visit
        over = visit.page == "end"
        if over:
            product = place.catalogue.by_asin[visit.asin]
            reward = score_purchase(product, dict(visit.options), goal).reward
        text = page_text(place.catalogue, visit, goal.instruction, reward)
        steps.append(
            Step(turn.text, action, text, reward=reward, terminated=over, invalid=target is None)
        )
        verdicts.append("bad" if target is None else turn.verdict)
        if over:
            break
        player.observe(text)
    return Episode("webshop", instructions, opening, steps, verdicts, reward)
