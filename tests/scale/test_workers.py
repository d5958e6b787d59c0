"""Waves done by workers: the database is that of one process, whoever ends and whenever.

The workers are the real ones, in this process; only Ray is a stand-in (``fake_crew``), and the
model and the training are (``loop_case``).
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agentr_lite.cli import main
from agentr_lite.core.errors import AgentrError, EnvironmentFault, ModelError, UsageError
from agentr_lite.recipe.loading import load_recipe
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.environments import open_environments
from agentr_lite.scale import worker as workers
from agentr_lite.scale.bundle import Bundle, parts_of
from agentr_lite.scale.choice import WorkerChoice
from agentr_lite.scale.executor import CrewExecutor
from agentr_lite.scale.pool import MOST_LOSSES, WINDOW
from agentr_lite.scale.worker import Job, environment_digest
from agentr_lite.store import trees
from tests.support import loop_case, study_case
from tests.support.command_line import Call
from tests.support.fake_crew import FakeCluster, FakeCrew

RAY = ("--executor", "ray", "--workers", "3")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """What a run in one process leaves behind."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        loop_case.install(patch.setattr)
        patch.setenv("AGENTR_LITE_HOME", str(folder))
        db = folder / "runs.db"
        with pytest.raises(SystemExit) as caught:
            main(["run", str(loop_case.write_recipe(folder / "case")), "-d", str(db)])
        assert not caught.value.code
        yield loop_case.contents(db)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return loop_case.write_recipe(tmp_path / "case")


@pytest.mark.parametrize(("seed", "deaths"), [(0, 0), (1, 0), (2, 5), (3, 20), (4, 20)])
def test_a_run_by_workers_is_that_of_one_process(
    loop: Call,
    recipe: Path,
    db: Path,
    whole: list[str],
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    deaths: int,
) -> None:
    cluster = FakeCluster(seed=seed, deaths=deaths).install(monkeypatch)
    code, _, err = loop("run", recipe, "-d", db, *RAY)
    assert code == 0, err
    assert loop_case.contents(db) == whole
    (crew,) = cluster.crews
    assert crew.ahead <= crew.size
    assert err.count("a worker has ended") == deaths - crew.deaths >= deaths * 0.8


def test_each_stage_alone(
    loop: Call, recipe: Path, db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Search, splicing and paired evaluations, each by its own command."""
    FakeCluster(seed=5, deaths=4).install(monkeypatch)
    dumps = []
    for file, where in ((db, RAY), (tmp_path / "here.db", ())):
        for words in (
            ["search", recipe],
            ["splice", "latest"],
            ["train", "latest"],
            ["eval", "latest", "--paired"],
        ):
            more = () if words[0] == "train" else where
            code, _, err = loop(*words, "-d", file, *more)
            assert code == 0, err
        dumps.append(loop_case.contents(file))
    assert dumps[0] == dumps[1]


def test_a_command_that_was_stopped_goes_on_in_either_way(
    loop: Call, recipe: Path, db: Path, whole: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeCluster(seed=1).install(monkeypatch)
    done = FakeCrew._do
    count = 0

    def stopped(crew: FakeCrew, number: int) -> None:
        nonlocal count
        count += 1
        if count in (9, 20, 33):
            raise KeyboardInterrupt
        done(crew, number)

    monkeypatch.setattr(FakeCrew, "_do", stopped)
    assert loop("run", recipe, "-d", db, *RAY)[0] == 130
    code, _, err = loop("run", "--resume", "latest", "-d", db, *RAY)
    assert code == 130
    assert "--executor ray --workers 3" in err
    assert loop("run", "--resume", "latest", "-d", db)[0] == 0
    assert loop_case.contents(db) == whole


def test_workers_that_nobody_starts_again(
    loop: Call, recipe: Path, db: Path, whole: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeCluster(seed=1, deaths=2, gone=True).install(monkeypatch)
    assert loop("run", recipe, "-d", db, *RAY)[0] == 0
    assert loop_case.contents(db) == whole
    FakeCluster(seed=1, deaths=3, gone=True).install(monkeypatch)
    code, _, err = loop("run", recipe, "-d", db.with_name("other.db"), *RAY)
    assert code == 1
    assert "all workers are gone" in err
    assert "--resume" in err


def test_a_wave_that_ends_its_workers_is_given_up(
    loop: Call, recipe: Path, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.Random.random", lambda self: 0.0)
    FakeCluster(deaths=10_000).install(monkeypatch)
    code, _, err = loop("search", recipe, "-d", db, "--executor", "ray", "--workers", "1")
    assert code == 1
    assert f"{MOST_LOSSES} workers have ended while they did the same wave" in err


def test_waves_are_read_no_further_ahead_than_the_window(
    loop: Call, recipe: Path, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first wave's worker is the slowest: the others must not run away from it."""
    saved = trees.save_tree
    cluster = FakeCluster().install(monkeypatch)
    at_first: list[int] = []

    class Slow(FakeCrew):
        def wait(self, calls, timeout_s):  # type: ignore[no-untyped-def]
            last = [call for call in calls if call != min(calls)] or list(calls)
            return super().wait(last, timeout_s)

    def save(*arguments: object, **named: object) -> int:
        at_first.append(cluster.crews[0].waves)
        return saved(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(trees, "save_tree", save)
    monkeypatch.setattr(cluster, "crew", lambda job, choice: _kept(cluster, Slow(job, choice)))
    words = ("--set", "search.wave=1", "--executor", "ray", "--workers", "2")
    assert loop("search", recipe, "-d", db, *words)[0] == 0
    assert 2 <= at_first[0] <= WINDOW * 2


def _kept(cluster: FakeCluster, crew: FakeCrew) -> FakeCrew:
    cluster.crews.append(crew)
    return crew


class TestFiles:
    def test_files_that_a_worker_lacks_are_sent_once(
        self,
        loop: Call,
        recipe: Path,
        db: Path,
        whole: list[str],
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """No file of the command's is where the workers look: the model and adapters are sent."""
        at = Bundle.is_at

        def elsewhere(bundle: Bundle, path: Path) -> bool:
            return "received" in path.parts and at(bundle, path)

        monkeypatch.setattr(Bundle, "is_at", elsewhere)
        cluster = FakeCluster(seed=2, deaths=6).install(monkeypatch)
        assert loop("run", recipe, "-d", db, *RAY)[0] == 0
        assert loop_case.contents(db) == whole
        # The model's one part, and one part for each of the two adapters.
        assert len(cluster.crews[0].sent) == 3
        assert len(list((home / "models" / "received").iterdir())) == 3

    def test_a_directory_and_an_empty_file(self, tmp_path: Path) -> None:
        folder = tmp_path / "adapter"
        folder.mkdir()
        (folder / "a.json").write_text("{}")
        (folder / "empty").touch()
        bundle = Bundle.of(folder)
        stock = {file.sha256: [*parts_of(bundle.source(file.sha256))] for file in bundle.files}
        place = bundle.received(stock, bytes)
        assert sorted(file.name for file in place.iterdir()) == ["a.json", "empty"]
        assert bundle.is_at(place)
        assert bundle.missing({}) == [file.sha256 for file in bundle.files]

    def test_a_file_that_was_changed_on_its_way(self, tmp_path: Path) -> None:
        file = tmp_path / "model.gguf"
        file.write_bytes(b"one")
        bundle = Bundle.of(file)
        with pytest.raises(ModelError, match="changed on its way"):
            bundle.received({bundle.files[0].sha256: [b"two"]}, bytes)
        file.write_bytes(b"two")
        assert not bundle.is_at(file)

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="to send to the workers"):
            Bundle.of(tmp_path / "no.gguf")


class TestRefusals:
    """What a worker lacks is known before the work, and the message names the machine."""

    @pytest.fixture
    def resolved(self, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
        loop_case.install(monkeypatch.setattr)
        return load_recipe(str(recipe))

    def refused(self, recipe: Recipe, change: object) -> AgentrError:
        def crew(job: Job, choice: WorkerChoice) -> FakeCrew:
            return FakeCrew(replace(job, **change), choice)  # type: ignore[arg-type]

        with open_environments(recipe) as environments, pytest.raises(AgentrError) as caught:
            CrewExecutor(WorkerChoice("ray", 2), crew).open(recipe, environments)
        assert caught.value.message.startswith("worker on ")
        return caught.value

    def test_another_version(self, resolved: Recipe) -> None:
        assert "0.0.0" in self.refused(resolved, {"version": "0.0.0"}).message

    def test_other_tasks(self, resolved: Recipe) -> None:
        error = self.refused(resolved, {"environments": {"corridor": "other"}})
        assert isinstance(error, UsageError)
        assert "other tasks" in error.message

    def test_an_environment_that_cannot_be_opened_there(self, resolved: Recipe) -> None:
        """As with Java, which only the machines of the workers may lack."""
        data = resolved.to_dict()
        data["env"][0]["name"] = "sciworld-of-elsewhere"
        assert "sciworld-of-elsewhere" in self.refused(resolved, {"recipe": data}).message

    def test_a_model_that_cannot_be_opened_there(
        self, resolved: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(settings: object) -> None:
            raise ModelError("no memory for the model", hint="Use a smaller one.")

        monkeypatch.setattr(workers.registry, "open_actor", refuse)
        error = self.refused(resolved, {})
        assert isinstance(error, ModelError)
        assert error.hint == "Use a smaller one."

    def test_a_digest_is_of_tasks_and_words(self, resolved: Recipe) -> None:
        with open_environments(resolved) as (one,), open_environments(resolved) as (other,):
            assert environment_digest(one) == environment_digest(other)
            other.env.instructions = lambda *, brief=False: "other words"  # type: ignore[method-assign]
            assert environment_digest(one) != environment_digest(other)


@pytest.mark.parametrize(
    "error",
    [
        UsageError("no", hint="yes"),
        EnvironmentFault("corridor", "broke", hint="mend it"),
        ModelError("gone"),
    ],
)
def test_errors_survive_the_way_to_another_process(error: AgentrError) -> None:
    error.message = f"worker on host: {error.message}"
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is type(error)
    assert copied.__dict__ == error.__dict__
    assert str(copied) == error.message


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--workers", "2"], "go with --executor ray"),
        (["--executor", "dask"], "no executor 'dask'"),
        (["--executor", "ray:"], "no executor 'ray:'"),
    ],
)
def test_wrong_choices(loop: Call, recipe: Path, db: Path, words: list[str], what: str) -> None:
    code, _, err = loop("search", recipe, "-d", db, *words)
    assert code == 2
    assert what in err
    assert not db.exists()


def test_without_ray(loop: Call, recipe: Path, db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentr_lite.scale.choice.find_spec", lambda name: None)
    code, _, err = loop("eval", recipe, "-d", db, "--executor", "ray")
    assert code == 2
    assert "agentr-lite[ray]" in err


def test_a_study_by_workers(
    study_cells_case: tuple[Call, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    call, file = study_cells_case
    FakeCluster(seed=3, deaths=3).install(monkeypatch)
    dumps = []
    for name, where in (("ray.db", RAY), ("here.db", ())):
        db = file.with_name(name)
        code, _, err = call("study", file, "-d", db, "--out", file.with_name("out"), *where)
        assert code == 0, err
        dumps.append(study_case.contents(db))
    assert dumps[0] == dumps[1]
    code, _, err = call("study", file, "--jobs", "2", *RAY)
    assert code == 2
    assert "exclude each other" in err


@pytest.fixture
def study_cells_case(
    loop: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Call, Path]:
    study_case.install(monkeypatch.setattr)
    return loop, study_case.write_study(tmp_path / "study")
