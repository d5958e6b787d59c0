"""Several environments in one run: recipes, stages, figures, resuming, and the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agentr_lite.core.errors import UsageError
from agentr_lite.core.tasks import Task
from agentr_lite.envs import registry
from agentr_lite.metrics.estimates import Estimate
from agentr_lite.metrics.intervals import mean_of_estimates, wilson_interval
from agentr_lite.recipe.loading import recipe_from_dict
from agentr_lite.runs.environments import open_environments
from agentr_lite.store import Store, evals, runs, splices, trees
from tests.support import loop_case
from tests.support.command_line import Call, one_error
from tests.support.corridor import Corridor


class Hall(Corridor):
    """The corridor under another name; some of its tasks share their names with the corridor's."""

    name = "hall"

    def tasks(self, split: str) -> list[Task]:
        return list(super().tasks(split))[::-1]


class Loft(Corridor):
    """The corridor under a third name, which comes after the others'."""

    name = "loft"


HALL = f"{__name__}:Hall"
LOFT = f"{__name__}:Loft"
OWN = """
env:
  hall: {share: 2, search: {depth: 7, simulations: 3}, eval: {max_steps: 6}}
  corridor: {}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """The loop's recipe for two environments, one of them with settings of its own."""
    path = loop_case.write_recipe(tmp_path / "case")
    path.write_text(
        path.read_text().replace("env: corridor\n", OWN).replace("tasks: 5", "tasks: 6")
    )
    return path


@pytest.fixture
def two(loop: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Commands that know all of these environments."""
    known = {**registry._BUILT_IN, "hall": HALL, "loft": LOFT}
    monkeypatch.setattr(registry, "_BUILT_IN", known)
    return loop


class TestParts:
    def test_draws_are_each_ones_own(self, two: Call) -> None:
        recipe = recipe_from_dict({"env": ["corridor", "hall"], "seed": 4})
        with open_environments(recipe) as opened:
            seeds = {each.name: each.recipe.seed for each in opened}
        assert len({4, *seeds.values()}) == 3
        other = recipe_from_dict({"env": ["corridor", "loft"], "seed": 4})
        with open_environments(other) as opened:
            by_name = {each.name: each for each in opened}
        assert by_name["corridor"].recipe.seed == seeds["corridor"]

    def test_a_single_ones_seed_is_the_runs(self, two: Call) -> None:
        for env in ("corridor", ["corridor"], {"corridor": None}):
            recipe = recipe_from_dict({"env": env, "seed": 4})
            with open_environments(recipe) as opened:
                [alone] = opened
            assert (alone.name, alone.recipe.seed) == ("corridor", 4)

    def test_two_of_the_same_name_are_refused(
        self, two: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(registry._BUILT_IN, "again", "tests.support.corridor:Corridor")
        recipe = recipe_from_dict({"env": ["corridor", "again"]})
        with (
            pytest.raises(UsageError, match="both call themselves 'corridor'"),
            open_environments(recipe),
        ):
            pass


class TestMean:
    def test_is_halfway_and_narrower_than_the_wider(self) -> None:
        one, other = wilson_interval(8, 10), wilson_interval(50, 100)
        mean = mean_of_estimates([one, other])
        assert mean.value == pytest.approx(0.65) and mean.n == 110
        # By hand: half the root of the summed squares of the distances.
        below = ((one.value - one.low) ** 2 + (other.value - other.low) ** 2) ** 0.5 / 2
        assert mean.value - mean.low == pytest.approx(below)
        assert one.high - one.low > mean.high - mean.low

    def test_of_one_is_that_one(self) -> None:
        one = wilson_interval(3, 7)
        mean = mean_of_estimates([one])
        assert (mean.value, mean.n) == (one.value, one.n)
        assert (mean.low, mean.high) == pytest.approx((one.low, one.high))

    def test_stays_within_the_rates(self) -> None:
        mean = mean_of_estimates([wilson_interval(0, 1), wilson_interval(1, 1)])
        assert 0 <= mean.low <= 0.5 <= mean.high <= 1

    def test_an_unbounded_one_leaves_it_unbounded(self) -> None:
        mean = mean_of_estimates([Estimate(0.5, float("-inf"), float("inf"), 1)])
        assert mean.low == float("-inf") and mean.high == float("inf")
        with pytest.raises(ValueError):
            mean_of_estimates([])


class TestLoop:
    def test_every_stage_handles_each_environment(self, two: Call, recipe: Path, db: Path) -> None:
        code, out, err = two("run", "-v", recipe, "-d", db)
        assert code == 0, err
        for name in ("corridor, base", "hall, round 2", "mean, round 1"):
            assert name in out
        with Store.open(db, create=False) as store:
            run = runs.get_run(store, "latest")
            assert run.env == "corridor+hall" and run.id.startswith("corridor-hall-")
            found = trees.list_trees(store, run.id, round_index=1)
            by_env = {env: [t for t in found if t.task.env == env] for env in ("corridor", "hall")}
            assert {env: len(grown) for env, grown in by_env.items()} == {"corridor": 2, "hall": 4}
            # A wave is of one environment, and they take turns.
            waves = {tree.wave: tree.task.env for tree in found}
            assert [waves[n] for n in sorted(waves)] == ["hall", "corridor", "hall"]
            depths = {
                env: max(node.depth for t in grown for node in trees.load_tree(store, t.id))
                for env, grown in by_env.items()
            }
            assert depths["hall"] <= 7 < 9 >= depths["corridor"]
            assert all(tree.simulations <= 3 for tree in by_env["hall"])
            revised = {row.env for row in splices.list_revisions(store, run.id)}
            assert revised == {"corridor", "hall"}
            stages = {(s.round, s.stage): s.summary for s in runs.list_stages(store, run.id)}
            search = stages[1, "search"]
            assert {env: of["trees"] for env, of in search["by_env"].items()} == {
                "corridor": 2,
                "hall": 4,
            }
            splice = stages[1, "splice"]
            assert splice["pairs"] == sum(of["pairs"] for of in splice["by_env"].values())
            [greedy] = evals.list_evals(store, run.id, round_index=2, mode="greedy")
            figures = greedy.summary["by_env"]
            mean = sum(of["success"]["value"] for of in figures.values()) / 2
            assert greedy.summary["success"]["value"] == pytest.approx(mean)
            items = evals.list_eval_items(store, greedy.id)
            assert {item.task.env for item in items} == {"corridor", "hall"}
            assert max(item.steps for item in items if item.task.env == "hall") <= 6
            versus = greedy.summary["versus_base"]
            assert versus["pairs"] == sum(of["versus_base"]["pairs"] for of in figures.values())

    @pytest.mark.parametrize(
        ("point", "number"), [("save_tree", 4), ("save_revision", 4), ("save_eval_items", 3)]
    )
    def test_killed_and_resumed_is_uninterrupted(
        self, two: Call, recipe: Path, tmp_path: Path, point: str, number: int
    ) -> None:
        whole, cut = tmp_path / "whole.db", tmp_path / "cut.db"
        assert two("run", recipe, "-d", whole)[0] == 0
        program = (
            "import sys; sys.argv[1:1] = []\n"
            "import signal\n"
            "from tests.support import loop_case\n"
            "from agentr_lite.envs import registry\n"
            "from agentr_lite.cli import main\n"
            "loop_case.install(setattr)\n"
            f"registry._BUILT_IN['hall'] = {HALL!r}\n"
            f"loop_case._arm({point!r}, {number}, signal.SIGKILL)\n"
            "main(sys.argv[1:])\n"
        )
        killed = subprocess.run(
            [sys.executable, "-c", program, "run", str(recipe), "-d", str(cut)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        code, _, err = two("run", "--resume", "latest", "-d", cut)
        assert code == 0, err
        assert loop_case.contents(cut) == loop_case.contents(whole)

    def test_what_one_finds_does_not_depend_on_the_others(
        self, two: Call, recipe: Path, tmp_path: Path
    ) -> None:
        """In the first round; after it, they share an adapter."""
        others = tmp_path / "case" / "others.yaml"
        others.write_text(recipe.read_text().replace("  corridor: {}\n", "  loft: {}\n"))
        first, second = tmp_path / "first.db", tmp_path / "second.db"
        for path, db in ((recipe, first), (others, second)):
            assert two("search", path, "-d", db)[0] == 0
        grown = []
        for db in (first, second):
            with Store.open(db, create=False) as store:
                run = runs.get_run(store, "latest")
                grown.append(
                    [
                        (
                            tree.task.name,
                            tree.best_reward,
                            trees.load_tree(store, tree.id)[0].visits,
                            *tuple(node.text for node in trees.load_tree(store, tree.id)),
                        )
                        for tree in trees.list_trees(store, run.id)
                        if tree.task.env == "hall"
                    ]
                )
        assert grown[0] == grown[1] and len(grown[0]) == 4

    def test_each_stage_alone(self, two: Call, recipe: Path, db: Path) -> None:
        assert two("search", recipe, "-d", db)[0] == 0
        assert two("splice", "latest", "-d", db)[0] == 0
        assert two("train", "latest", "-d", db)[0] == 0
        code, out, _ = two("eval", "latest", "--round", "1", "-d", db)
        assert code == 0 and "mean, round 1" in out
        code, out, _ = two(
            "export", "latest", "-d", db, "-o", "-", "--kind", "all", "--format", "sharegpt"
        )
        ids = {json.loads(line)["id"].partition("/")[0] for line in out.splitlines()}
        assert code == 0 and ids == {"corridor", "hall"}


class TestCommandLine:
    def test_several_targets(self, two: Call) -> None:
        code, out, _ = two("run", "corridor", "hall", "--plan", "--json", "--set", "rounds=1")
        plan = json.loads(out)["plan"]
        environments = {environment["name"]: environment for environment in plan["env"]}
        assert code == 0 and list(environments) == ["corridor", "hall"]
        assert (plan["name"], plan["rounds"]) == ("corridor+hall", 1)
        # Each has as many tasks as its own recipe asks for.
        assert environments["hall"]["search"]["tasks"] == 100

    def test_each_keeps_its_recipes_settings(self, two: Call, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text(
            "env: corridor\nsearch: {depth: 7, tasks: 3}\nagent: {brief: true}\nrounds: 2\n"
        )
        (tmp_path / "b.yaml").write_text(
            "env: hall\nsearch: {depth: 9}\nrounds: 5\nagent: {context_tokens: 9000}\n"
        )
        words = ("run", tmp_path / "a.yaml", tmp_path / "b.yaml", "--plan", "--json")
        plan = json.loads(two(*words)[1])["plan"]
        parts = {own.env_label: own for own in recipe_from_dict(plan).by_environment()}
        assert (parts["corridor"].search.depth, parts["hall"].search.depth) == (7, 9)
        assert (parts["corridor"].search.tasks, parts["hall"].search.tasks) == (3, 100)
        assert (parts["corridor"].agent.brief, parts["hall"].agent.brief) == (True, False)
        assert (plan["rounds"], plan["agent"]["context_tokens"]) == (2, 9000)
        # What is set on the command line holds for both, and a number of tasks for all together.
        changed = json.loads(two(*words, "--set", "search.depth=5", "--set", "search.tasks=8")[1])
        changed_recipe = recipe_from_dict(changed["plan"])
        parts = {own.env_label: own for own in changed_recipe.by_environment()}
        assert {part.search.depth for part in parts.values()} == {5}
        assert [part.search.tasks for part in parts.values()] == [4, 4]

    def test_one_recipe_for_several(self, two: Call, recipe: Path) -> None:
        code, out, _ = two("run", "hall", "corridor", "--recipe", "smoke", "--plan")
        assert code == 0
        assert (
            "evaluate on all 4 test tasks (6 asked for) of hall" in out
            and "corridor: search 3 tasks" in out
        )

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["run", "corridor", "hal"], "no environment or recipe 'hal' (did you mean 'hall'?)"),
            (["run", "corridor", "corridor"], "environment 'corridor' is named twice"),
            (["run", "corridor", "hal", "--recipe", "smoke"], "no environment 'hal'"),
            (["search", "corridor", "latest"], "no environment or recipe 'latest'"),
            (["eval", "corridor", "hall", "--set", "env_options.x=1"], "which environment"),
        ],
    )
    def test_wrong_usage(self, two: Call, db: Path, arguments: list[str], message: str) -> None:
        code, _, err = two(*arguments, "-d", db)
        assert code == 2 and message in one_error(err)
