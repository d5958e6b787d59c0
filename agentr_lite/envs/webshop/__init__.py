"""WebShop: find and buy the product that an instruction describes.

The modules: ``stock`` (the bundled catalogue), ``original`` (a user's own files), ``catalogue``
(products, prices, options), ``analysis`` and ``search`` (the search engine), ``pages`` (texts of
pages and targets of clicks), ``nouns`` and ``reward`` (the reward of a purchase), ``goals`` (tasks
and splits), ``oracle``, ``env`` (the environment).
"""

from agentr_lite.envs.webshop.catalogue import Catalogue, Product
from agentr_lite.envs.webshop.env import WebShop
from agentr_lite.envs.webshop.goals import task_of_goal
from agentr_lite.envs.webshop.reward import Goal, Score, score_purchase

__all__ = ["Catalogue", "Goal", "Product", "Score", "WebShop", "score_purchase", "task_of_goal"]
