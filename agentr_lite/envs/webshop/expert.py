"""An expert of WebShop that reads pages as a customer does.

It says each candidate with its number, title and price before it takes or leaves it, and for each
wanted option whether the page has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from agentr_lite.envs.expert import Move
from agentr_lite.envs.webshop.pages import BUY, PREVIOUS, SEPARATOR
from agentr_lite.envs.webshop.reward import Goal, same_option

DETOURS = 1
"""Maximum number of products that a player opens and leaves again."""
SCANNED = 4
"""Maximum number of candidates that a player compares on a page."""

_OPENERS = ("Find me ", "I am looking for ", "I need ", "Show me ", "I want to buy ")
_LIMIT = re.compile(r", and price lower than ([\d.]+) dollars$")
_NUMBER = re.compile(r"B0\w{8}")
_DOLLARS = re.compile(r"\$([\d.]+)")


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
    # Options follow the last " with " that names one. People write otherwise.
    options = goal.options
    if options and " with " in text:
        text = text[: text.rindex(" with ")]
    opener = next((opener for opener in _OPENERS if text.startswith(opener)), "")
    price = float(limit.group(1)) if limit else float("inf")
    return Wish(text.removeprefix(opener), goal.query, options, price)


class Buyer:
    """Plays one episode; ``next_move`` and ``observe`` alternate.

    Args:
        goal: the customer's goal.
        detours: see ``DETOURS``.
        scanned: see ``SCANNED``.
    """

    def __init__(self, goal: Goal, detours: int = DETOURS, scanned: int = SCANNED) -> None:
        self.wish = read_wish(goal)
        self.most_detours, self.scanned = detours, scanned
        self.page: list[str] = []
        self.seen: list[str] = []
        self.left: list[str] = []
        """Options that are still to be chosen."""
        self.checked = False
        self.looking = ""
        """The number of the open product."""
        self.too_dear = self.lacks = False
        self.detours = 0
        self.action = ""

    @property
    def gives_up(self) -> bool:
        """Whether a search shows nothing."""
        return bool(self.page) and not self.looking and not self.results()

    @property
    def may_leave(self) -> bool:
        """Whether the player may still leave a product for another."""
        return self.detours < self.most_detours

    def next_move(self) -> Move:
        """The next turn."""
        if not self.page:
            move = self.search()
        elif self.looking:
            move = self.choose()
        else:
            move = self.pick()
        self.action = move.action
        return move

    def observe(self, observation: str) -> None:
        """Take in a page."""
        self.page = observation.split(SEPARATOR)
        if self.action.startswith("click[B0"):
            self.arrive(self.action[6:-1])
        elif self.action == f"click[{PREVIOUS}]":
            self.looking = ""

    def search(self) -> Move:
        """On the first page, search."""
        return Move("I search for the whole wish.", f"search[{self.wish.search}]")

    def results(self) -> list[tuple[str, str, str]]:
        """(number, title, price) of the page's products."""
        page = self.page
        return [
            (text, page[place + 1], page[place + 2])
            for place, text in enumerate(page)
            if _NUMBER.fullmatch(text) and place + 2 < len(page)
        ]

    def pick(self) -> Move:
        """On a page of results, take the first product that fits."""
        results = self.results()
        said = []
        for number, title, price in results[: self.scanned]:
            if number in self.seen:
                said.append(f"{number}: seen.")
                continue
            line = SEPARATOR.join((number, title, price))
            if self.is_dear(price):
                said.append(f"{line}: too dear.")
                continue
            said.append(f"{line}: fits.")
            return Move(" ".join(said), f"click[{number}]")
        unseen = [number for number, _, _ in results if number not in self.seen]
        last = unseen[-1] if unseen else results[-1][0]
        return Move(f"{' '.join(said)} I take {last}.", f"click[{last}]", "uncertain")

    def is_dear(self, price: str) -> bool:
        """Whether a price, as a page shows it, is above the limit."""
        dollars = _DOLLARS.search(price)
        return dollars is not None and float(dollars.group(1)) > self.wish.limit

    def arrive(self, number: str) -> None:
        """Note what a product's page shows."""
        self.looking = number
        self.seen.append(number)
        self.checked = False
        self.left = list(self.wish.options)
        price = next(text for text in self.page if text.startswith("Price: "))
        self.too_dear = self.is_dear(price)
        self.lacks = any(self.offer(option) is None for option in self.wish.options)

    def offer(self, wanted: str) -> str | None:
        """The value on the page that matches an option; an equal text is preferred."""
        values = self.page[4 : self.page.index("Description") - 3]
        if wanted in values:
            return wanted
        return next((value for value in values if same_option(value, wanted)), None)

    def choose(self) -> Move:
        """On a product's page, check the product, choose options and buy."""
        if not self.checked:
            self.checked = True
            if self.wish.options or self.too_dear:
                return self.check()
        if not self.left:
            return Move("All is chosen.", f"click[{BUY}]")
        thought = f"Still {', '.join(self.left)}."
        wanted = self.left.pop(0)
        # An option that the page does not offer has no effect: the same page is shown again.
        return Move(thought, f"click[{self.offer(wanted) or wanted}]")

    def check(self) -> Move:
        """Say for each option whether the page has it; leave the product if it lacks one."""
        offers = {option: self.offer(option) for option in self.wish.options}
        parts = [f"{option}: {'here' if offers[option] else 'not here'}." for option in offers]
        if self.too_dear:
            parts.insert(0, "Too dear.")
        fits = not self.too_dear and all(offers.values())
        if not fits and self.may_leave:
            self.detours += 1
            return Move(" ".join(parts), f"click[{PREVIOUS}]")
        self.left = [option for option in offers if offers[option]]
        if not self.left:
            return Move(" ".join(parts), f"click[{BUY}]", "good" if fits else "uncertain")
        wanted = self.left.pop(0)
        return Move(" ".join(parts), f"click[{offers[wanted]}]")


class Informed(Buyer):
    """Takes the oracle's actions, and says what the pages show for them.

    It finds products that a customer would not find among those that seem to fit.

    Args:
        goal: the customer's goal.
        actions: the oracle's, from reset on.
    """

    def __init__(self, goal: Goal, actions: Iterable[str]) -> None:
        super().__init__(goal)
        self.actions = list(actions)

    @property
    def gives_up(self) -> bool:
        """Whether the oracle's actions are used up."""
        return not self.actions

    def next_move(self) -> Move:
        """The oracle's next action."""
        self.action = self.actions.pop(0)
        return Move(self.reason(self.action), self.action)

    def reason(self, action: str) -> str:
        """What the page shows for an action."""
        if not self.page:
            return "I search for the whole wish."
        if not self.looking:
            lines = [SEPARATOR.join(result) for result in self.results()]
            fitting = next((line for line in lines if action == f"click[{line[:10]}]"), None)
            return f"{fitting}: fits." if fitting else "I look at the other results."
        if not self.left:
            return "All is chosen."
        thought = f"Still {', '.join(self.left)}."
        self.left = [wanted for wanted in self.left if not same_option(action[6:-1], wanted)]
        return thought
