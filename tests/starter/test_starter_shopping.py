"""WebShop's demonstrations: true, labelled, with headroom."""

from __future__ import annotations

import random
from itertools import islice

import pytest

from agentr_lite.envs.webshop import WebShop
from agentr_lite.envs.webshop.expert import read_wish
from agentr_lite.starter.maker.episodes import Episode
from agentr_lite.starter.maker.shopper import Shopper, ShopperHabits, shop
from agentr_lite.starter.maker.shopping import Shopping
from agentr_lite.starter.maker.shops import PAGE_SIZE, HeldOut, bundled_shop, made_up_shop

ENV = WebShop(page_size=PAGE_SIZE)
HELD_OUT = HeldOut.of(ENV)


def played(careless: float, count: int = 150) -> list[Episode]:
    place = bundled_shop(ENV)
    habits = ShopperHabits(careless=careless)
    episodes = []
    for index, goal in enumerate(place.goals[:count]):
        player = Shopper(goal, random.Random(index), habits)
        episodes.append(shop(place, goal, "Shop.", player))
    return episodes


def mean_reward(episodes: list[Episode]) -> float:
    return sum(episode.reward for episode in episodes) / len(episodes)


def test_care_pays() -> None:
    careful, careless = played(0.0), played(1.0)
    assert mean_reward(careful) > 0.8
    assert 0.3 < mean_reward(careless) < mean_reward(careful) - 0.15


def test_the_careful_make_no_bad_steps_to_speak_of() -> None:
    verdicts = [verdict for episode in played(0.0) for verdict in episode.verdicts]
    assert verdicts.count("bad") < 0.01 * len(verdicts)
    assert verdicts.count("good") > 0.9 * len(verdicts)


def test_the_careless_slip_and_sometimes_turn_round() -> None:
    episodes = played(1.0)
    assert sum("bad" in episode.verdicts for episode in episodes) > 100
    reflected = [e for e in episodes if any(step.kind == "reflect" for step in e.steps)]
    assert reflected
    # After the signal the product is left, or at least looked at again.
    for episode in reflected:
        index = next(i for i, step in enumerate(episode.steps) if step.kind == "reflect")
        assert "here" in episode.steps[index + 1].text


def test_a_purchase_without_a_wished_option_is_bad() -> None:
    for episode in played(1.0):
        bought = episode.steps[-1]
        if bought.action == "click[Buy Now]" and "I buy it" in bought.text:
            assert episode.verdicts[-1] == "bad"
            assert episode.reward < 1.0


def test_invalid_clicks_are_bad() -> None:
    for episode in played(1.0):
        for step, verdict in zip(episode.steps, episode.verdicts, strict=True):
            assert verdict == "bad" or not step.invalid


@pytest.mark.parametrize("split", ["train", "dev"])
def test_wishes_are_read_from_the_sentence(split: str) -> None:
    for task in ENV.tasks(split)[:100]:
        goal = ENV.goal(task)
        wish = read_wish(goal)
        assert wish.search in goal.instruction
        assert goal.query in wish.search
        assert all(attribute in wish.search for attribute in goal.attributes)
        assert wish.limit == goal.price_limit or goal.price_limit > 9999


def test_made_up_shops_sell_other_things() -> None:
    first = made_up_shop(1, HELD_OUT, 50, random.Random(0))
    second = made_up_shop(2, HELD_OUT, 50, random.Random(0))
    assert not set(first.catalogue.by_asin) & set(second.catalogue.by_asin)
    assert not set(first.catalogue.by_asin) & set(ENV.catalogue.by_asin)
    assert {p.query for p in first.catalogue.products} == {p.query for p in ENV.catalogue.products}


def test_episodes_come_from_both_kinds_of_shops() -> None:
    shopping = Shopping()
    wishes = {goal.instruction for goal in shopping.bundled.goals}
    episodes = list(islice(shopping.episodes(random.Random(4)), 100))
    own = sum(episode.opening.split(" [SEP] ")[2] in wishes for episode in episodes)
    assert 10 < own < 90
