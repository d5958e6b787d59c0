"""A player of mixed skill for WebShop.

It reads pages as text and says each candidate with its number, title and price before it takes or
leaves it. *Careless* players have the slips of ``ShopperHabits``. A purchase cannot be undone.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from agentr_lite.agent.turns import REFLECT_REPLY, REFLECTIONS, reflection_turn
from agentr_lite.core.steps import Step
from agentr_lite.envs.webshop.pages import BUY, PREVIOUS, SEPARATOR, Visit, advance, page_text
from agentr_lite.envs.webshop.reward import Goal, same_option, score_purchase
from agentr_lite.starter.maker.episodes import Episode, Turn, Verdict, take_turn
from agentr_lite.starter.maker.shops import Shop

_OPENERS = ("Find me ", "I am looking for ", "I need ", "Show me ", "I want to buy ")
_LIMIT = re.compile(r", and price lower than ([\d.]+) dollars$")
_NUMBER = re.compile(r"B0\w{8}")
_DOLLARS = re.compile(r"\$([\d.]+)")


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
    detours: int = 1
    """Maximum number of products that a player, careful or not, opens and leaves again."""
    scanned: int = 4
    """Maximum number of candidates that a player compares on a page."""


@dataclass(frozen=True, slots=True)
class Wish:
    """The content of an instruction, in its own words."""

    search: str
    """Properties and kind, as in the sentence."""
    kind: str
    options: tuple[str, ...]
    limit: float
    """The highest price, in dollars."""


def read_wish(goal: Goal) -> Wish:
    """The parts of a goal's instruction."""
    text = goal.instruction
    limit = _LIMIT.search(text)
    if limit:
        text = text[: limit.start()]
    # Options follow the last " with " that names one.
    options = goal.options
    if options:
        text = text[: text.rindex(" with ")]
    opener = next((opener for opener in _OPENERS if text.startswith(opener)), "")
    price = float(limit.group(1)) if limit else float("inf")
    return Wish(text.removeprefix(opener), goal.query, options, price)


class Shopper:
    """Plays one episode; ``next_turn`` and ``observe`` alternate."""

    def __init__(self, goal: Goal, rng: random.Random, habits: ShopperHabits) -> None:
        self.wish = read_wish(goal)
        self.rng, self.habits = rng, habits
        self.careless = rng.random() < habits.careless
        self.page: list[str] = []
        self.seen: list[str] = []
        self.left: list[str] = []
        """Options that are still to be chosen."""
        self.checked = self.reflected = False
        self.looking = ""
        """The number of the open product."""
        self.too_dear = self.lacks = self.flawed = False
        self.detours = 0
        self.action = ""

    def next_turn(self) -> Turn:
        """The next assistant turn, with the verdict that a perfect critic would give."""
        if not self.page:
            return self._search()
        if self.looking:
            return self._choose()
        return self._pick()

    def observe(self, observation: str) -> None:
        """Take in a page, or the agent loop's answer to a reflection."""
        if observation == REFLECT_REPLY:
            self.reflected = True
            return
        self.page = observation.split(SEPARATOR)
        if self.action.startswith("click[B0"):
            self._arrive(self.action[6:-1])
        elif self.action == f"click[{PREVIOUS}]":
            self.looking = ""

    # -- internals ---------------------------------------------------------------------------

    def _slips(self, probability: float) -> bool:
        # Draw in any case, so that a habit does not change the rest of the episode.
        return self.rng.random() < probability and self.careless

    def _turn(self, thought: str, action: str, verdict: Verdict = "good") -> Turn:
        self.action = action
        return Turn(f"Thought: {thought}\nAction: {action}", verdict)

    def _search(self) -> Turn:
        if self._slips(self.habits.search_kind):
            action = f"search[{self.wish.kind}]"
            return self._turn("I search for the kind.", action, "uncertain")
        return self._turn("I search for the whole wish.", f"search[{self.wish.search}]")

    def _results(self) -> list[tuple[str, str, str]]:
        """(number, title, price) of the page's products."""
        page = self.page
        return [
            (text, page[place + 1], page[place + 2])
            for place, text in enumerate(page)
            if _NUMBER.fullmatch(text) and place + 2 < len(page)
        ]

    def _pick(self) -> Turn:
        results = self._results()
        if not self.seen and self._slips(self.habits.take_first):
            number, _, price = results[0]
            # A missing option shows only on the product's page; the price is visible here.
            verdict: Verdict = "bad" if self._dear(price) else "good"
            return self._turn("I take the first.", f"click[{number}]", verdict)
        said = []
        for number, title, price in results[: self.habits.scanned]:
            if number in self.seen:
                said.append(f"{number}: seen.")
                continue
            line = SEPARATOR.join((number, title, price))
            if self._dear(price):
                said.append(f"{line}: too dear.")
                continue
            said.append(f"{line}: fits.")
            return self._turn(" ".join(said), f"click[{number}]")
        unseen = [number for number, _, _ in results if number not in self.seen]
        last = unseen[-1] if unseen else results[-1][0]
        return self._turn(f"{' '.join(said)} I take {last}.", f"click[{last}]", "uncertain")

    def _dear(self, price: str) -> bool:
        return float(_DOLLARS.findall(price)[0]) > self.wish.limit

    def _arrive(self, number: str) -> None:
        """Note what a product's page shows."""
        self.looking = number
        self.seen.append(number)
        self.checked = self.reflected = self.flawed = False
        self.left = list(self.wish.options)
        price = next(text for text in self.page if text.startswith("Price: "))
        self.too_dear = self._dear(price)
        self.lacks = any(self._offer(option) is None for option in self.wish.options)

    def _offer(self, wanted: str) -> str | None:
        """The value on the page that matches an option; an equal text is preferred."""
        values = self.page[4 : self.page.index("Description") - 3]
        if wanted in values:
            return wanted
        return next((value for value in values if same_option(value, wanted)), None)

    def _choose(self) -> Turn:
        """On a product's page, check the product, choose options and buy."""
        may_leave = self.detours < self.habits.detours
        if not self.checked:
            self.checked = True
            check = not self._slips(self.habits.take_first)
            aware = not self._slips(self.habits.unaware)
            if check and (self.wish.options or self.too_dear):
                return self._check(may_leave)
            if (self.too_dear or self.lacks) and may_leave:
                self.flawed = True
                if aware and self.too_dear:
                    return self._reflect()
        if self.reflected:
            self.reflected = False
            return self._check(may_leave)
        # At the last option, decide whether the player forgets it.
        if len(self.left) == 1:
            several = len(self.wish.options) > 1
            habit = self.habits.forget_option if several else self.habits.forget_only_option
            if self._slips(habit):
                self.left.clear()
                return self._turn("I buy it.", f"click[{BUY}]", "bad")
        if not self.left:
            verdict: Verdict = "bad" if self.flawed else "good"
            return self._turn("All is chosen.", f"click[{BUY}]", verdict)
        thought = f"Still {', '.join(self.left)}."
        offer = self._offer(self.left[0])
        if offer is None and may_leave and not self._slips(self.habits.unaware):
            return self._reflect()
        wanted = self.left.pop(0)
        # An option that the page does not offer has no effect: the same page is shown again.
        return self._turn(thought, f"click[{offer or wanted}]", "good" if offer else "bad")

    def _check(self, may_leave: bool) -> Turn:
        """Say for each option whether the page has it; leave the product if it lacks one."""
        offers = {option: self._offer(option) for option in self.wish.options}
        parts = [f"{option}: {'here' if offers[option] else 'not here'}." for option in offers]
        if self.too_dear:
            parts.insert(0, "Too dear.")
        fits = not self.too_dear and all(offers.values())
        if not fits and may_leave:
            self.detours += 1
            return self._turn(" ".join(parts), f"click[{PREVIOUS}]")
        self.flawed = False
        self.left = [option for option in offers if offers[option]]
        if not self.left:
            return self._turn(" ".join(parts), f"click[{BUY}]", "good" if fits else "uncertain")
        wanted = self.left.pop(0)
        return self._turn(" ".join(parts), f"click[{offers[wanted]}]")

    def _reflect(self) -> Turn:
        self.action = "reflect"
        return Turn(reflection_turn(self.rng.choice(REFLECTIONS)), "uncertain")


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
