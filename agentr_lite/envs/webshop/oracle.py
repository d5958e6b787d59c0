"""The oracle: buys the goal's own product, with its options, from any page."""

from __future__ import annotations

from agentr_lite.envs.webshop.catalogue import Catalogue, Product
from agentr_lite.envs.webshop.pages import BUY, NEXT, PREVIOUS, Visit
from agentr_lite.envs.webshop.reward import Goal, same_option


def plan(catalogue: Catalogue, goal: Goal, visit: Visit) -> list[str]:
    """The remaining actions until the purchase; empty once something is bought.

    The oracle buys the product from which the goal was made. This earns the full reward if the
    product has the wanted options, which is always so in the bundled catalogue.

    Args:
        catalogue: the shop.
        goal: the customer's goal.
        visit: the customer's state.
    """
    if visit.page == "end":
        return []
    product = catalogue.by_asin[goal.asin]
    if visit.asin == goal.asin and visit.page != "results":
        back = [] if visit.page == "item" else [click(PREVIOUS)]
        return [*back, *_choices(product, goal, dict(visit.options)), click(BUY)]
    find = _turn_pages(catalogue, visit, product)
    if find is None:
        query = good_query(catalogue, goal)
        turns = _turn_pages(catalogue, Visit("results", query), product) or []
        find = [f"search[{query}]", *turns]
    return [*find, click(product.asin), *_choices(product, goal, {}), click(BUY)]


def click(text: str) -> str:
    """The action that clicks on a text."""
    return f"click[{text}]"


def good_query(catalogue: Catalogue, goal: Goal) -> str:
    """A search that shows the goal's product early: the goal's keywords, or else its title."""
    product = catalogue.by_asin[goal.asin]
    wish = f"{' '.join(goal.attributes)} {goal.query}".lower()
    queries = [wish, " ".join([wish, *goal.options]), product.title.lower()]
    ranks = {query: _rank(catalogue, query, product) for query in queries}
    return min(queries, key=lambda query: ranks[query] // catalogue.page_size)


def _rank(catalogue: Catalogue, query: str, product: Product) -> int:
    hits = catalogue.search(query)
    return hits.index(product) if product in hits else len(catalogue.products)


def _turn_pages(catalogue: Catalogue, visit: Visit, product: Product) -> list[str] | None:
    """The clicks from a page of results to the page with the product; None if it is far."""
    if visit.page != "results":
        return None
    rank = _rank(catalogue, visit.query, product)
    if rank == len(catalogue.products):
        return None
    away = rank // catalogue.page_size + 1 - visit.number
    return [click(NEXT if away > 0 else PREVIOUS)] * abs(away)


def _choices(product: Product, goal: Goal, chosen: dict[str, str]) -> list[str]:
    """The options that must still be clicked."""
    actions = []
    for wanted in goal.options:
        if any(same_option(value, wanted) for value in chosen.values()):
            continue
        offers = [
            (value != wanted, name, value)
            for name, values in product.options.items()
            for value in values
            if same_option(value, wanted)
        ]
        if offers:
            _, name, value = min(offers)
            chosen[name] = value
            actions.append(click(value))
    return actions
