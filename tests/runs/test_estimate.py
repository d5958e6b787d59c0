"""How long a run would take: from invented speeds, in the plan, and by a real probe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.actors import registry as actors
from agentr_lite.actors.base import GenerateRequest, GenerateResult
from agentr_lite.cli.plan import range_words
from agentr_lite.core.errors import EnvironmentFault, ModelError
from agentr_lite.recipe.loading import recipe_from_dict
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.checks.environments import TaskCounts
from agentr_lite.runs.estimate import plan, probe
from agentr_lite.runs.estimate import training as training_probe
from agentr_lite.runs.estimate.speeds import Speeds
from agentr_lite.runs.estimate.stages import MARGIN, Estimate, Seconds, estimate_run
from tests.support import fake_probe, loop_case
from tests.support.command_line import Call

DATA: dict[str, Any] = {
    "env": "textcraft",
    "rounds": 1,
    "agent": {"max_tokens": 100},
    "search": {"tasks": 4, "simulations": 3, "depth": 10, "width": 2},
    "splice": {"pairs_per_task": 1, "good_per_task": 1, "recovery_attempts": 1},
    "train": {"epochs": 2, "max_length": 1000, "validation": 0, "patience": 0},
    "eval": {"max_steps": 10, "recovery": False},
}
COUNTS = {"textcraft": TaskCounts(search=4, eval=20, available=50)}


def estimate(
    changes: dict[str, Any] | None = None, *, oracle: bool = True, training: bool = True
) -> Estimate:
    data = {**DATA, **{k: v for k, v in (changes or {}).items() if not isinstance(v, dict)}}
    for group, values in (changes or {}).items():
        if isinstance(values, dict):
            data[group] = {**DATA.get(group, {}), **values}
    recipe = recipe_from_dict(data)
    speeds = fake_probe.measure(recipe, trains=training)
    if not oracle:
        speeds = replace(speeds, games={"textcraft": fake_probe.game(None)})
    return estimate_run(recipe, COUNTS, speeds)


def seconds(found: Estimate, number: int, stage: str) -> Seconds:
    [one] = [s for s in found.stages if (s.round, s.stage) == (number, stage)]
    return one.seconds


def test_a_training_that_its_tokens_end() -> None:
    endless = {"train": {"epochs": 1000, "max_tokens": 3000}}
    # 500 tokens a second, and 2 s at least and 4 s at most for what is around.
    trained = seconds(estimate(endless), 1, "train")
    assert trained.low == pytest.approx((3000 / 500 + 2) / MARGIN)
    assert trained.high == pytest.approx((3000 / 500 + 4) * MARGIN)
    # The imitation before it takes all of its demonstrations.
    imitating = {**endless, "imitation": {"tasks": 5, "epochs": 2}}
    plain = {"imitation": {"tasks": 5, "epochs": 2}}
    assert seconds(estimate(imitating), 0, "imitate") == seconds(estimate(plain), 0, "imitate")


def test_a_training_in_several_processes(tmp_path: Path) -> None:
    alone = seconds(estimate(), 1, "train")
    # One machine is not faster with more processes, and each of them loads the weights.
    both = seconds(estimate({"train": {"workers": 2}}), 1, "train")
    assert both.low == alone.low
    assert both.high == pytest.approx(alone.high + 2 * MARGIN)
    hosts = tmp_path / "hosts.json"
    names = [{"ssh": name, "ips": ["10.0.0.1"]} for name in ("127.0.0.1", "box2", "box3")]
    hosts.write_text(json.dumps(names))
    three = seconds(estimate({"train": {"hosts": str(hosts)}}), 1, "train")
    assert three.low == pytest.approx((alone.low * MARGIN - 2) / 3 / MARGIN + 2 / MARGIN)
    assert three.high == alone.high


def test_rounds_of_further_demonstrations_do_not_search() -> None:
    def trained(count: int) -> Seconds:
        found = estimate({"imitation": {"tasks": 5, "further": [count]}})
        assert [s.stage for s in found.stages if s.round == 1] == ["train", "eval"]
        return seconds(found, 1, "train")

    around = seconds(estimate({"imitation": {"tasks": 5, "further": [0]}}), 1, "train")
    four, eight = trained(4), trained(8)
    assert eight.low - around.low == pytest.approx(2 * (four.low - around.low))
    assert eight.high - around.high == pytest.approx(2 * (four.high - around.high))


def test_an_evaluation() -> None:
    base = seconds(estimate(), 0, "eval")
    # 20 episodes: 0.1 s for the opening, then 5 steps of 0.3 s, or 10 steps of 0.5 s, as answers
    # have 20 tokens, or twice as many.
    assert base.low == pytest.approx(20 * (0.1 + 5 * 0.3) / MARGIN)
    assert base.high == pytest.approx(20 * (0.1 + 10 * 0.5) * MARGIN)
    shorter = seconds(estimate({"agent": {"max_tokens": 30}}), 0, "eval")
    assert shorter.high == pytest.approx(20 * (0.1 + 10 * 0.4) * MARGIN)
    # Without an oracle, a quarter of the most steps.
    assert seconds(estimate(oracle=False), 0, "eval").low == pytest.approx(
        20 * (0.1 + 2.5 * 0.3) / MARGIN
    )
    sampled = seconds(estimate({"eval": {"samples": 2}}), 0, "eval")
    assert sampled.low == pytest.approx(3 * base.low)
    recovering = seconds(estimate({"eval": {"recovery": True}}), 0, "eval")
    assert recovering.low == base.low and recovering.high > base.high


def test_answers_that_were_cut_may_be_of_any_length() -> None:
    recipe = recipe_from_dict(DATA)
    cut = replace(fake_probe.PLAY, cut_share=0.5)
    game = replace(fake_probe.game(), eval=cut)
    speeds = replace(fake_probe.measure(recipe, trains=True), games={"textcraft": game})
    base = seconds(estimate_run(recipe, COUNTS, speeds), 0, "eval")
    assert base.high == pytest.approx(20 * (0.1 + 10 * 1.1) * MARGIN)


def test_a_search_and_a_splicing() -> None:
    search = seconds(estimate(), 1, "search")
    worst = 4 * 3 * 10 * 2
    assert search.high == pytest.approx((0.4 + worst * 0.5) * MARGIN)
    # One episode of 5 steps, and two more simulations that branch off somewhere.
    assert search.low == pytest.approx((0.4 + 4 * 2 * (5 + 2) * 0.3) / MARGIN)
    without = seconds(estimate(oracle=False), 1, "search")
    assert without.low == pytest.approx((0.4 + worst / 3 * 0.3) / MARGIN)
    splicing = seconds(estimate(), 1, "splice")
    assert splicing.low == 0
    unverified = seconds(estimate({"splice": {"verify": "off"}}), 1, "splice")
    assert 0 < unverified.high < splicing.high
    assert seconds(estimate({"splice": {"pairs_per_task": 0}}), 1, "splice") == Seconds(0, 0)


def test_a_training() -> None:
    train = seconds(estimate(), 1, "train")
    # At most 4 tasks with 2 examples of 1,000 tokens; at least one of 400 + 5 * 70 tokens.
    assert train.high == pytest.approx((8 * 1000 * 2 / 500 + 2 * 2) * MARGIN)
    assert train.low == pytest.approx((750 * 2 / 500 + 2) / MARGIN)
    two = estimate({"rounds": 2})
    assert seconds(two, 2, "train").high > seconds(two, 1, "train").high
    apart = estimate({"rounds": 2, "train": {"accumulate": False}})
    assert seconds(apart, 2, "train") == seconds(apart, 1, "train")
    limited = seconds(estimate({"train": {"max_examples": 2}}), 1, "train")
    assert limited.high == pytest.approx((2 * 1000 * 2 / 500 + 2 * 2) * MARGIN)


def test_imitation_and_the_order_of_the_stages() -> None:
    found = estimate({"imitation": {"tasks": 10}})
    assert [(s.round, s.stage) for s in found.stages] == [
        *((-1, "eval"), (0, "imitate"), (0, "eval")),
        *((1, "search"), (1, "splice"), (1, "train"), (1, "eval")),
    ]
    assert seconds(found, 0, "imitate").high == pytest.approx((10 * 1000 * 2 / 500 + 4) * MARGIN)
    assert found.total.low == pytest.approx(1.5 + sum(s.seconds.low for s in found.stages))


def test_a_training_of_unknown_speed_is_not_in_the_sum() -> None:
    found = estimate(training=False)
    assert found.lacks_training and "train" not in [s.stage for s in found.stages]
    assert not estimate({"rounds": 0}, training=False).lacks_training


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (725, 1799, "about 12 to 30 minutes"),
        (3, 50.2, "about 3 to 51 s"),
        (0, 50, "up to 50 s"),
        (31, 300, "about 31 s to 5 minutes"),
        (9000, 30_000, "about 2 to 9 hours"),
        (0, 0, "no time"),
    ],
)
def test_ranges_in_words(low: float, high: float, words: str) -> None:
    assert range_words(Seconds(low, high)) == words


class TestPlan:
    @pytest.fixture
    def line(self, tmp_path: Path) -> list[Any]:
        return ["run", loop_case.write_recipe(tmp_path / "case"), "--plan"]

    def test_a_line_for_each_stage(self, loop: Call, line: list[Any]) -> None:
        code, out, err = loop(*line)
        assert code == 0 and err == ""
        for beginning in (
            "base     eval:",
            "round 1  search:",
            "round 2  train:",
            "in all   about",
        ):
            assert f"\n  {beginning}" in out
        assert "the model was loaded in 1.5 s and played for 6.0 s" in out
        assert "1,000 prompt tokens/s and 100 answer tokens/s, 4 answers at a time" in out
        assert "training: 500 tokens/s, by an invented step" in out
        assert out.splitlines()[-1] == "the run can begin"

    def test_json(self, loop: Call, line: list[Any]) -> None:
        found = json.loads(loop(*line, "--json")[1])["estimate"]
        assert 0 < found["low_s"] < found["high_s"]
        assert found["stages"][0]["stage"] == "eval" and found["stages"][0]["env"] == "corridor"
        assert found["probe"]["training"]["tokens_s"] == 500
        assert json.loads(loop(*line, "--json", "--no-probe")[1])["estimate"] is None

    def test_nothing_is_measured_in_vain(
        self, loop: Call, line: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def never(recipe: Recipe, *, trains: bool) -> Speeds:
            raise AssertionError("measured")

        monkeypatch.setattr(plan, "measure_speeds", never)
        assert loop(*line, "--no-probe")[0] == 0
        code, out, err = loop(*line, "--model", "missing.gguf")
        assert code == 3 and err == "" and "would be refused" in out

    def test_a_model_that_cannot_be_loaded_refuses_the_run(
        self, loop: Call, line: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(recipe: Recipe, *, trains: bool) -> Speeds:
            raise ModelError("it does not fit into memory", hint="Buy more.")

        monkeypatch.setattr(plan, "measure_speeds", fail)
        code, out, _ = loop(*line)
        assert code == 3 and "  refused  model: it does not fit into memory" in out
        assert out.splitlines()[-1] == "the run would be refused, with exit code 3"

    def test_a_broken_episode_is_a_warning(
        self, loop: Call, line: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(recipe: Recipe, *, trains: bool) -> Speeds:
            raise EnvironmentFault("corridor", "reset() raised")

        monkeypatch.setattr(plan, "measure_speeds", fail)
        code, out, _ = loop(*line)
        assert code == 0 and "  warning  time: not estimated:" in out
        assert json.loads(loop(*line, "--json")[1])["estimate"] is None

    def test_no_probe_is_for_plans(self, loop: Call, line: list[Any]) -> None:
        code, _, err = loop(*line[:-1], "--no-probe")
        assert code == 2 and "--no-probe goes with --plan" in err


class Clock:
    """Time that passes only where something takes it."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Slow(loop_case.Player):
    """Takes its time for each token."""

    def __init__(self, clock: Clock, token_s: float) -> None:
        super().__init__()
        self.clock, self.token_s = clock, token_s
        self.widths: list[int] = []

    def generate(self, requests: Sequence[GenerateRequest]) -> list[GenerateResult]:
        results = super().generate(requests)
        self.widths.append(sum(len(request.seeds) for request in requests))
        written = sum(c.output_tokens for r in results for c in r.completions)
        read = sum(result.prompt_tokens for result in results)
        self.clock.now += self.token_s * (written + read / 100)
        return results


class TestProbe:
    @pytest.fixture
    def recipe(self) -> Recipe:
        return recipe_from_dict(
            {
                "env": "corridor",
                "agent": {"max_tokens": 40},
                "search": {"tasks": 5, "simulations": 4, "width": 3, "depth": 9, "wave": 2},
                "eval": {"max_steps": 8, "batch": 4},
            }
        )

    def measured(
        self, recipe: Recipe, token_s: float, monkeypatch: pytest.MonkeyPatch
    ) -> tuple[Speeds, Slow, float]:
        clock = Clock()
        player = Slow(clock, token_s)
        loop_case.install(monkeypatch.setattr, lambda: player)
        monkeypatch.setattr(probe, "time", clock)
        monkeypatch.setattr(training_probe, "training_speed", lambda *_: None)
        speeds = probe.measure(recipe, trains=True)
        return speeds, player, clock.now

    def test_a_fast_model_is_measured_at_the_recipes_width(
        self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        speeds, player, took = self.measured(recipe, 0.001, monkeypatch)
        game = speeds.games["corridor"]
        assert game.eval.width == 4 and game.search.width == 6
        assert game.eval.answers >= 4 and game.search.answers > 6
        assert took < probe.PLAY_S and speeds.play_s == pytest.approx(took)
        # A written token takes 1 ms, a read one a hundredth of that.
        assert game.eval.answer_tokens_s == pytest.approx(1000, rel=0.3)
        assert game.opening_tokens > 5 and game.solution_steps is not None
        assert player.closed

    def test_a_slow_model_takes_no_more_than_its_time(
        self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        speeds, player, took = self.measured(recipe, 0.2, monkeypatch)
        assert max(player.widths) <= 3 and speeds.games["corridor"].eval.width == 1
        assert took < 10
        assert speeds.games["corridor"].eval.answer_tokens_s == pytest.approx(5, rel=0.3)
        assert speeds.games["corridor"].eval.cut_share == 0

    def test_wide_searches_of_a_slow_model_are_not_begun(
        self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Evaluation one by one says nothing of how wide a search is."""
        wide = replace(
            recipe,
            eval=replace(recipe.eval, batch=1),
            search=replace(recipe.search, wave=64, tasks=64),
        )
        _, player, took = self.measured(wide, 0.2, monkeypatch)
        assert max(player.widths) == wide.search.width and took < 10

    def test_a_server_is_asked_little(
        self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        served = replace(recipe, model="openai:http://127.0.0.1:9#m")
        served = replace(served, eval=replace(served.eval, batch=64))
        speeds, player, _ = self.measured(served, 0.0001, monkeypatch)
        assert max(player.widths) <= probe.SERVER_WIDTH and speeds.training is None

    def test_a_real_model_and_its_training(self) -> None:
        recipe = recipe_from_dict(
            {
                "env": "textcraft",
                "agent": {"brief": True, "max_tokens": 4},
                "search": {"tasks": 2, "simulations": 1, "width": 2, "depth": 2, "wave": 2},
                "train": {"batch_size": 1, "rank": 4},
                "eval": {"tasks": 2, "max_steps": 2, "batch": 2},
            }
        )
        speeds = probe.measure(recipe, trains=True)
        game = speeds.games["textcraft"]
        assert game.eval.answers == 4 and 1 <= game.eval.answer_tokens <= 4
        assert game.opening_tokens >= game.new_tokens > 0
        assert min(game.eval.prompt_tokens_s, game.eval.answer_tokens_s) > 0
        assert speeds.training is not None and speeds.training.tokens_s > 0
        assert " of 1 x " in speeds.training.source

    def test_large_weights_are_judged_by_their_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(training_probe, "_LARGE", 0)
        found = training_probe.training_speed(recipe_from_dict({"env": "textcraft"}), 100, 1.0)
        assert found is not None and found.tokens_s > 0
        assert "M parameters and a float32 matrix product at" in found.source


def test_the_actor_that_is_measured_is_the_runs(
    loop: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is opened as a run opens it, and what the loading raises is passed on."""

    def refuse(settings: Any) -> Any:
        raise ModelError("no memory")

    monkeypatch.setattr(actors, "open_actor", refuse)
    with pytest.raises(ModelError, match="no memory"):
        probe.measure(recipe_from_dict({"env": "corridor"}), trains=False)
