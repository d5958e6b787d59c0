"""The requests and answers of AgentGym's servers, by kind.

Each server uses its own form of JSON over HTTP.

Source: AgentGym's servers and clients (``agentenv-*`` and ``agentenv/envs`` of WooooDyy/AgentGym);
numbers of rounds are those of its evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from agentr_lite.envs.agentgym.prompts import PROMPTS
from agentr_lite.envs.sciworld.world import INVALID, NOT_AN_ACTION

Json = Any
Numbers = Mapping[str, Sequence[int]]
Scale = Literal["reward", "score", "percent", "maze"]
"""The number in a reply that is the reward. ``reward``, ``score``: this field, at most 1;
``percent``: a score of up to 100, negative after a fatal mistake; ``maze``: a step costs 1, the
goal costs nothing."""
_GAMES = 200
_NOTHING = "Nothing happens"


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of server."""

    kind: str
    rounds: int
    """Longest episode in steps, as AgentGym evaluates it."""
    reset: Callable[[int], dict[str, Json]]
    """The body of a reset to a game's number, without the session's id."""
    handle: Literal["id", "env_idx"] = "id"
    """The name of the session's id in bodies."""
    prefix: str = ""
    """Prefix of every path, if one server has several kinds."""
    create: Mapping[str, Json] = field(default_factory=dict)
    """The body of the request for a session."""
    text: str = "observation"
    """The field with the observation in the reply to a step."""
    scale: Scale = "reward"
    lead: str = ""
    """A field of the reset's reply that is shown before the observation, on its own line."""
    ask: bool = False
    """Whether the first observation must be requested after the reset."""
    keeps_full_stop: bool = False
    """Whether a full stop at the end belongs to an action; see ``Environment``."""
    refusals: tuple[str, ...] = ()
    """How observations begin that say that an action was not understood or not possible."""
    choices: bool = False
    """Whether replies list ``available_actions``; the first observation then ends with them."""
    games: int = _GAMES
    """Number of games; they are split 60 / 10 / 30 in order, unless ``splits`` names them."""
    splits: Callable[[], Numbers] | None = None
    """Numbers of the games of each split, if there are published splits."""
    sessions: int = 4
    """Sessions that are held at the same time, so that continuing them needs no replay."""

    @property
    def instructions(self) -> str:
        """The system prompt."""
        return PROMPTS[self.kind]()


def _textcraft_splits() -> Numbers:
    from agentr_lite.envs.textcraft.tasks import PUBLISHED_TEST_IDS, PUBLISHED_TRAIN_RANGE

    rest = [number for number in PUBLISHED_TRAIN_RANGE if number not in set(PUBLISHED_TEST_IDS)]
    dev = rest[::7]
    train = [number for number in rest if number not in set(dev)]
    return {"train": train, "dev": dev, "test": PUBLISHED_TEST_IDS}


def _sciworld_splits() -> Numbers:
    from agentr_lite.envs.sciworld.games import games

    splits: dict[str, list[int]] = {"train": [], "dev": [], "test": []}
    for game in games("agentgym"):
        splits[game.split].append(game.number)
    return splits


def _webshop_splits() -> Numbers:
    """As many games as other kinds have; each split is within upstream's test, dev or train."""
    from agentr_lite.envs.webshop.goals import UPSTREAM_DEV, UPSTREAM_TEST

    begins = {"train": UPSTREAM_TEST + UPSTREAM_DEV, "dev": UPSTREAM_TEST, "test": 0}
    sizes = {split: len(numbers) for split, numbers in _in_order(_GAMES).items()}
    return {split: range(begin, begin + sizes[split]) for split, begin in begins.items()}


def _tool(kind: str, rounds: int, games: int) -> Profile:
    """A profile for the servers of tools and of SearchQA, which are alike."""
    return Profile(
        kind,
        rounds,
        lambda number: {"id": number},
        handle="env_idx",
        create={"id": 0},
        keeps_full_stop=True,
        games=games,
    )


PROFILES: dict[str, Profile] = {
    profile.kind: profile
    for profile in (
        Profile(
            "textcraft",
            20,
            lambda number: {"data_idx": number},
            splits=_textcraft_splits,
            refusals=("Could not ",),
            sessions=16,
        ),
        Profile(
            "sciworld",
            30,
            lambda number: {"data_idx": number},
            scale="percent",
            lead="task_description",
            splits=_sciworld_splits,
            refusals=(INVALID, NOT_AN_ACTION),
            # Each session is a Java process of about a gigabyte on the server.
            sessions=2,
        ),
        Profile(
            "babyai",
            20,
            lambda number: {"data_idx": number},
            scale="score",
            refusals=(_NOTHING,),
        ),
        Profile(
            "alfworld",
            30,
            lambda number: {"game": number, "world_type": "Text"},
            refusals=(_NOTHING,),
            choices=True,
        ),
        Profile(
            "maze", 15, lambda number: {"game": number}, prefix="/maze", scale="maze", games=26
        ),
        Profile(
            "wordle",
            8,
            lambda number: {"seed": number},
            prefix="/wordle",
            refusals=("invalid word",),
        ),
        Profile(
            "webshop",
            10,
            lambda number: {"session_id": number},
            handle="env_idx",
            text="state",
            ask=True,
            splits=_webshop_splits,
            # Each session loads the whole catalogue again on the server.
            sessions=1,
        ),
        Profile(
            "sqlgym",
            1,
            lambda number: {"item_id": number},
            handle="env_idx",
            text="state",
            keeps_full_stop=True,
        ),
        Profile(
            "webarena",
            25,
            lambda number: {"seed": 0, "idx": number},
            handle="env_idx",
            sessions=1,
        ),
        _tool("searchqa", 5, 200),
        _tool("weather", 10, 200),
        _tool("movie", 12, 200),
        _tool("todo", 15, 100),
        _tool("academia", 12, 20),
        _tool("sheet", 15, 20),
        _tool("tool", 15, 20),
    )
}
"""By kind. ``tool`` is a tool server that does not tell its kind."""

GREETINGS: dict[str, str] = {
    "textcraft": "textcraft",
    "scienceworld": "sciworld",
    "sciworld": "sciworld",
    "babyai": "babyai",
    "alfworld": "alfworld",
    "webarena": "webarena",
    "webshop": "webshop",
}
"""Kinds by their name in the answer to ``GET /``: ``This is environment TextCraft.``"""

SEVERAL = "lmrl-gym"
"""The name of a server of both maze and wordle."""

FINGERPRINTS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"env_idx", "session_id"}), "webshop"),
    (frozenset({"env_idx", "item_id"}), "sqlgym"),
    (frozenset({"env_idx", "seed", "idx"}), "webarena"),
    (frozenset({"env_idx", "id"}), "tool"),
    (frozenset({"id", "game", "world_type"}), "alfworld"),
)
"""Kinds by the fields of a reset's body in ``/openapi.json``. TextCraft, ScienceWorld and BabyAI
have the same fields, but tell their names."""


def split_numbers(profile: Profile) -> Numbers:
    """Numbers of the games of each split."""
    if profile.splits is not None:
        return profile.splits()
    return _in_order(profile.games)


def _in_order(games: int) -> dict[str, range]:
    """The first 60 %, the next 10 % and the last 30 %."""
    train, dev = games * 6 // 10, games * 7 // 10
    return {"train": range(train), "dev": range(train, dev), "test": range(dev, games)}
