"""The shop's pages: their texts in the ``text`` format, and the possible clicks.

An episode's state is an immutable ``Visit``; ``advance`` gives the next one.

Source: WebShop's ``envs/web_agent_text_env.py`` (the targets of clicks) and its page templates (the
texts).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from agentr_lite.envs.webshop.catalogue import Catalogue, Product

PageKind = Literal["start", "results", "item", "description", "features", "reviews", "end"]

SEPARATOR = " [SEP] "
BUY, NEXT, BACK, PREVIOUS = "Buy Now", "Next >", "Back to Search", "< Prev"
SUB_PAGES: dict[str, PageKind] = {
    "Description": "description",
    "Features": "features",
    "Reviews": "reviews",
}
_ACTION = re.compile(r"(.+)\[(.+)\]")
# The form in which Flask writes JSON into a page.
_JSON_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "'": "\\u0027"}


class Visit(NamedTuple):
    """The state of a customer's visit, on which the rest of the episode depends."""

    page: PageKind = "start"
    query: str = ""
    """The last search."""
    number: int = 1
    """The page of results, from 1."""
    asin: str = ""
    """The shown product."""
    options: tuple[tuple[str, str], ...] = ()
    """The chosen options: name and value, in the order of their first choice."""


def parse_action(action: str) -> tuple[str, str] | None:
    """Parse an action, e.g. to ``("search", "red shoes")``; None if it has another form.

    The argument is in lower case, as the shop compares it.
    """
    parsed = _ACTION.match(action)
    return (parsed.group(1), parsed.group(2).lower()) if parsed else None


def advance(catalogue: Catalogue, visit: Visit, action: str) -> Visit | None:
    """The visit after an action; None if the action is not understood or is impossible."""
    parsed = parse_action(action)
    if parsed is None or visit.page == "end":
        return None
    name, argument = parsed
    if name == "search":
        return Visit("results", argument)
    if name != "click":
        return None
    return clickables(catalogue, visit).get(argument)


def clickables(catalogue: Catalogue, visit: Visit) -> dict[str, Visit]:
    """The possible clicks in lower case and their targets, in the order of the page."""
    if visit.page in ("start", "end"):
        return {}
    links = {BACK: Visit()}
    if visit.page == "results":
        if visit.number > 1:
            links[PREVIOUS] = visit._replace(number=visit.number - 1)
        links[NEXT] = visit._replace(number=visit.number + 1)
        for product in catalogue.page(visit.query, visit.number):
            links[product.asin] = visit._replace(page="item", asin=product.asin)
        return {text.lower(): target for text, target in links.items()}
    if visit.page != "item":
        links[PREVIOUS] = visit._replace(page="item")
        return {text.lower(): target for text, target in links.items()}
    # Leaving the product forgets the chosen options.
    links[PREVIOUS] = Visit("results", visit.query, visit.number)
    links |= {text: visit._replace(page=page) for text, page in SUB_PAGES.items()}
    links[BUY] = visit._replace(page="end")
    choices = {
        # If two options have the same value, the click chooses the later option.
        value: visit._replace(options=_chosen(visit.options, name, value))
        for name, values in catalogue.by_asin[visit.asin].options.items()
        for value in values
    }
    # A button takes precedence over an option with its name.
    return choices | {text.lower(): target for text, target in links.items()}


def _chosen(
    options: tuple[tuple[str, str], ...], name: str, value: str
) -> tuple[tuple[str, str], ...]:
    return tuple(({**dict(options), name: value}).items())


def page_text(catalogue: Catalogue, visit: Visit, instruction: str, reward: float = 0.0) -> str:
    """A page in the ``text`` format.

    Args:
        catalogue: the shop.
        visit: the customer's state.
        instruction: the customer's goal; it is on every page but the last.
        reward: the reward of the purchase, for the last page.
    """
    if visit.page == "start":
        return _joined(["WebShop", "Instruction:", instruction, "Search"])
    if visit.page == "end":
        return _joined(_end(visit, reward))
    return _joined(["Instruction:", instruction, BACK, *_body(catalogue, visit)])


def _body(catalogue: Catalogue, visit: Visit) -> Iterable[str]:
    if visit.page == "results":
        return _results(catalogue, visit)
    product = catalogue.by_asin[visit.asin]
    if visit.page == "item":
        return [PREVIOUS, *_item(product)]
    if visit.page == "description":
        return [PREVIOUS, product.description]
    if visit.page == "features":
        # The original writes each into an element with lines of its own, so an empty one is kept.
        return [PREVIOUS, *(feature.strip() or _BLANK for feature in product.features)]
    # There are no reviews, and the original page then ends here.
    return [PREVIOUS]


def _results(catalogue: Catalogue, visit: Visit) -> list[str]:
    hits = catalogue.search(visit.query)
    texts = [f"Page {visit.number} (Total results: {len(hits)})"]
    if visit.number > 1:
        texts.append(PREVIOUS)
    texts.append(NEXT)
    for product in catalogue.page(visit.query, visit.number):
        texts += [product.asin, product.title, product.price_tag]
    return texts


def _item(product: Product) -> list[str]:
    texts = []
    for name, values in product.options.items():
        texts += [name, *values]
    texts += [product.title, f"Price: {product.price_tag}", f"Rating: {product.rating}"]
    return [*texts, *SUB_PAGES, BUY]


def _end(visit: Visit, reward: float) -> list[str]:
    # Upstream, the texts about the goal are empty, and so are the texts after them.
    return [
        "Thank you for shopping with us!",
        *("Your code:", "None", "(Paste it in your MTurk interface.)"),
        *("Purchased", "asin", visit.asin, "options", _options_json(dict(visit.options))),
        *("attrs", "None", "category", "None", "query", "None", "product category", "None"),
        *("Target", "asin", "options", "attrs", "price upper", "instuction text", "category"),
        *("product category", "query", "Goal", "None", "Reward"),
        *("Your score (min 0.0, max 1.0)", str(reward), "Reward Details", "None"),
    ]


def _options_json(options: Mapping[str, str]) -> str:
    text = json.dumps(options, sort_keys=True)
    return "".join(_JSON_ESCAPES.get(letter, letter) for letter in text)


_BLANK = " "
"""A field without text: ``_joined`` ignores texts that are empty, and keeps this."""


def _joined(texts: Iterable[str]) -> str:
    """The texts that upstream's HTML parser returns: it ignores empty texts and blank lines."""
    return SEPARATOR.join(
        text.strip() for text in texts if text and not (text.isspace() and "\n" in text)
    )
