"""Several processes train one adapter: the same bits as one, and none of them is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentr_lite.actors.mlx.blas import use_fast_blas
from agentr_lite.actors.registry import resolve_model
from agentr_lite.core.errors import AgentrError, ModelError, RecipeError, UsageError
from agentr_lite.recipe.groups import TrainSettings
from agentr_lite.train import hosts, launch, lora
from agentr_lite.train.hosts import HERE, check_reachable, training_hosts
from agentr_lite.train.launch import train_together
from agentr_lite.train.lora import TrainResult, train_lora
from agentr_lite.train.parts import Part
from tests.support.tiny_hf import make_tiny_hf
from tests.support.together_process import SETTINGS, fit, processes_of, wait_until_none
from tests.train.test_train_lora import TRAIN, VALID, weights
from tests.train.test_train_pairs import HELD_OUT, PAIRS

LIMIT_S = 900.0
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """No test waits for ever: what hangs fails, and its processes are killed on the way out."""

    def ring(*_: Any) -> None:
        raise AssertionError(f"this takes longer than {LIMIT_S:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_hf(tmp_path_factory.mktemp("tiny") / "model", width=32, feed_forward=64)


@pytest.fixture(scope="module")
def alone(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    out_dir = tmp_path_factory.mktemp("alone")
    return train_lora(model_dir, TRAIN, VALID, SETTINGS, seed=3, out_dir=out_dir)


def same(together: TrainResult, alone: TrainResult) -> None:
    assert weights(together) == weights(alone)
    assert together.gguf_path.read_bytes() == alone.gguf_path.read_bytes()
    places = {"adapter_dir": Path(), "gguf_path": Path(), "seconds": 0.0}
    assert replace(together, **places) == replace(alone, **places)  # type: ignore[arg-type]


@pytest.mark.parametrize("objective", ["sft", "dpo", "sft+dpo"])
def test_two_processes_train_the_bundled_model_to_the_same_bits(
    objective: Any, tmp_path: Path
) -> None:
    starter = resolve_model("starter").train_dir
    assert starter is not None
    settings = TrainSettings(
        objective=objective, epochs=1, batch_size=4, max_length=512, validations=2, workers=2
    )
    arguments: dict[str, Any] = {
        "seed": 5,
        "pairs": PAIRS[:6],
        "valid_pairs": HELD_OUT[:2],
    }
    data = TRAIN[:8], VALID[:2], settings
    reports: list[dict[str, Any]] = []
    one = train_lora(starter, *data, out_dir=tmp_path / "one", **arguments)
    two = train_together(
        starter, *data, out_dir=tmp_path / "two", on_report=reports.append, **arguments
    )
    same(two, one)
    assert reports[0]["workers"] == 2
    steps = [row["step"] for row in reports if row["event"] == "step"]
    assert steps == list(range(1, two.steps + 1))
    assert reports[-1]["event"] == "end"


def test_more_processes_than_parts(model_dir: Path, alone: TrainResult, tmp_path: Path) -> None:
    # A batch of four short examples is one part.
    same(fit(model_dir, tmp_path / "out", settings=replace(SETTINGS, workers=3)), alone)


def test_the_parts_are_dealt_out_in_blocks() -> None:
    use_fast_blas()  # this imports MLX
    from agentr_lite.train.team import Alone, deal

    def part(tokens: int) -> Part:
        nothing = np.zeros(0, np.int32)
        return Part(np.zeros((1, tokens), np.int32), nothing, nothing, nothing.astype(np.float32))

    groups = [[part(n) for n in (9, 5, 4)], [], [part(n) for n in (3, 2, 2, 1)]]
    for size in range(1, 9):
        team = Alone()
        dealt = []
        for rank in range(size):
            team.rank, team.size = rank, size
            dealt.append(deal(groups, team))
        # Each group is whole, and in its order.
        for number, group in enumerate(groups):
            assert [each for mine in dealt for each in mine[number]] == group
        most = max(sum(p.tokens.size for parts in mine for p in parts) for mine in dealt)
        assert most == {1: 26, 2: 14, 3: 9}.get(size, 9)


def cut(step: int) -> Callable[[dict[str, Any]], None]:
    def on_report(row: dict[str, Any]) -> None:
        if row["event"] == "step" and row["step"] == step:
            raise KeyboardInterrupt

    return on_report


@on_linux
def test_ctrl_c_leaves_no_process_and_is_resumed(
    model_dir: Path, alone: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        fit(model_dir, tmp_path / "out", on_report=cut(8))
    wait_until_none(tmp_path)
    starts: list[int] = []

    def started(row: dict[str, Any]) -> None:
        if row["event"] == "start":
            starts.append(row["step"])

    same(fit(model_dir, tmp_path / "out", resume=True, on_report=started), alone)
    assert starts[0] >= 3
    assert [path.name for path in tmp_path.glob("agentr-lite-train-*")] == []


@on_linux
@pytest.mark.parametrize("whom", ["launcher", "process 1", "process 2"])
def test_a_process_that_is_killed_is_named(
    whom: str,
    model_dir: Path,
    alone: TrainResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def on_report(row: dict[str, Any]) -> None:
        if row["event"] == "step" and row["step"] == 5:
            os.kill(_victim(tmp_path, whom), signal.SIGKILL)

    with pytest.raises(AgentrError) as caught:
        fit(model_dir, tmp_path / "out", on_report=on_report)
    expected = {
        "launcher": "mlx.launch ended its process by SIGKILL",
        "process 1": "training process 1 of 2 was ended by SIGKILL",
        "process 2": "training process 2 of 2 was ended by SIGKILL",
    }
    assert caught.value.message == expected[whom]
    assert "checkpoint is kept" in caught.value.hint
    assert ("memory" in caught.value.hint) == (whom != "launcher")
    wait_until_none(tmp_path)
    same(fit(model_dir, tmp_path / "out", resume=True), alone)


def _victim(folder: Path, whom: str) -> int:
    ranks = {"process 1": b"MLX_RANK=0", "process 2": b"MLX_RANK=1"}
    for pid in processes_of(folder):
        given = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if whom in ranks and ranks[whom] in given:
            return pid
        if whom == "launcher" and not any(each.startswith(b"MLX_RANK=") for each in given):
            return pid
    raise AssertionError(f"no {whom}")


@on_linux
def test_a_command_that_is_killed_takes_all_with_it(
    model_dir: Path, alone: TrainResult, tmp_path: Path
) -> None:
    words = [sys.executable, "-m", "tests.support.together_process", model_dir, tmp_path / "out"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    ) as command:
        assert command.stdout is not None
        try:
            for line in command.stdout:
                if line == "step 7\n":
                    break
        finally:
            command.kill()
    wait_until_none(tmp_path)
    same(fit(model_dir, tmp_path / "out", resume=True), alone)


def test_a_process_ends_when_nothing_comes_from_the_command() -> None:
    program = "from agentr_lite.train import rank; rank._follow_command(print, {}); input()"

    def follower(silence_s: float | None) -> subprocess.Popen[str]:
        words = [sys.executable, "-u", "-c", program.format(silence_s)]
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    for silence_s in (None, 1000.0, 0.1):
        with follower(silence_s) as process:
            assert process.stdin is not None and process.stdout is not None
            assert process.stdout.readline() == "ready None\n"
            if silence_s != 0.1:
                process.stdin.write("\n")
                process.stdin.flush()
                assert process.stdout.readline() == "alive None\n"
                process.stdin.close()
            assert process.wait() == 1


def test_mlx_launch_waits_with_select() -> None:
    from mlx._distributed_utils import launch as mlx_launch

    # Without it, `train.launcher` would not keep it from using a whole core.
    assert callable(mlx_launch.select)


def test_an_error_of_all_is_that_of_one_process(model_dir: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, max_length=3)
    raised = []
    for training in (train_lora, train_together):
        with pytest.raises(AgentrError) as caught:
            training(model_dir, TRAIN, VALID, settings, seed=3, out_dir=tmp_path / "out")
        raised.append((type(caught.value), caught.value.message, caught.value.hint))
    assert raised[0] == raised[1] and "nothing to train on" in raised[0][1]


def test_an_error_of_the_program_is_told(tmp_path: Path, model_dir: Path) -> None:
    # A file in the place of the folder.
    (tmp_path / "out").write_text("")
    with pytest.raises(AgentrError, match=r"^FileExistsError: "):
        fit(model_dir, tmp_path / "out")


@pytest.mark.parametrize(
    ("failures", "message", "kind"),
    [
        ({1: ("ModelError", "no model", "h")}, r"^training process 2 of 3 on box2: no model$",
         ModelError),
        ({0: ("PeerLost", "x", ""), 1: ("PeerLost", "x", "")}, "^x$", AgentrError),
        ({0: ("PeerLost", "x", ""), 2: ("", "OSError: full", "")},
         r"^training process 3 of 3 on box2: OSError: full$", AgentrError),
        ({0: ("AgentrError", "full", ""), 1: ("AgentrError", "full", "")}, "^full$", AgentrError),
    ],
)  # fmt: skip
def test_whose_error_it_was(failures: Any, message: str, kind: type[AgentrError]) -> None:
    where = hosts.Hosts([HERE, "box2", "box2"], Path("hosts.json"))
    launched = launch._Launched(None, where, failures=failures)  # type: ignore[arg-type]
    error = launched._error()
    assert type(error) is kind
    with pytest.raises(kind, match=message):
        raise error


@pytest.mark.parametrize(
    ("exits", "failures", "message"),
    [
        ([(1, -9), (0, -15), (2, 1)], {2: ("PeerLost", "x", "")}, "process 2 of 3 on box2 was ended"
         " by SIGKILL"),
        ([(0, 1), (1, -15), (2, 255)], {0: ("PeerLost", "x", "")}, "process 3 of 3 on box2 was"
         " killed, or its ssh connection failed"),
        ([(0, 255)], {}, "process 1 of 3 on this machine ended with exit code 255"),
        ([(0, 1), (1, -15)], {0: ("PeerLost", "the line is dead", "")}, "the line is dead"),
        ([(1, -15), (0, 1)], {0: ("PeerLost", "x", "")}, "process 2 of 3 on box2 was ended by"
         " SIGTERM"),
        ([(0, -14), (1, -15)], {}, "process 1 of 3 on this machine did not reach the others within"
         " 120 s"),
    ],
)  # fmt: skip
def test_which_process_ended(exits: Any, failures: Any, message: str) -> None:
    where = hosts.Hosts([HERE, "box2", "box2"], Path("hosts.json"))
    launched = launch._Launched(None, where, failures=failures, exits=exits)  # type: ignore[arg-type]
    error = launched._error()
    assert error.message.removeprefix("training ") == message
    assert "checkpoint is kept" in error.hint
    assert ("`ssh box2` works" in error.hint) == ("ssh connection" in message)


def test_processes_that_learn_from_something_else_are_refused() -> None:
    use_fast_blas()
    from agentr_lite.train.team import Alone

    class Others(Alone):
        size = 3

        def gather(self, value: Any) -> list[Any]:
            return [value, value, "something else"]

    with pytest.raises(ModelError, match="training process 3 of 3 has other weights"):
        lora._check_alike(Others(), "mark")


HOSTS = [{"ssh": HERE, "ips": [HERE]}, {"ssh": "box2", "ips": [HERE]}]


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for ssh: every machine is this one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "ssh"
    program.write_text(
        '#!/bin/bash\necho "$@" >> "$0.log"\n'
        'exec env -u AGENTR_LITE_TRAINING /bin/bash -c "${@: -1}"\n'
    )
    program.chmod(0o755)
    # There is no terminal.
    (folder / "stty").write_text("#!/bin/sh\n")
    (folder / "stty").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return program


def hosts_file(folder: Path) -> Path:
    """A file for ``train.hosts``: this machine and box2."""
    path = folder / "hosts.json"
    path.write_text(json.dumps(HOSTS))
    return path


def test_machines_are_named_in_a_file(
    ssh: Path, model_dir: Path, alone: TrainResult, tmp_path: Path
) -> None:
    path = hosts_file(tmp_path)
    settings = replace(SETTINGS, workers=1, hosts=str(path))
    where = training_hosts(settings)
    assert where.machines == 2 and where.to_words() == "1 process on this machine, 1 on box2"
    check_reachable(where)
    same(fit(model_dir, tmp_path / "out", settings=settings), alone)
    log = Path(f"{ssh}.log").read_text()
    assert "BatchMode=yes" in log and "-tt" in log and "box2" in log


@on_linux
def test_a_machine_that_says_nothing_more(
    ssh: Path, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = hosts_file(tmp_path)

    def on_report(row: dict[str, Any]) -> None:
        if row["event"] == "step" and row["step"] == 5:
            os.kill(_victim(tmp_path, "process 2"), signal.SIGSTOP)
            monkeypatch.setattr(launch, "BEAT_S", 0.2)
            monkeypatch.setattr(launch, "SILENCE_S", 5.0)

    with pytest.raises(AgentrError) as caught:
        settings = replace(SETTINGS, workers=1, hosts=str(path))
        fit(model_dir, tmp_path / "out", settings=settings, on_report=on_report)
    assert caught.value.message == ("training process 2 of 2 on box2 has not been heard of for 5 s")
    wait_until_none(tmp_path)


@on_linux
def test_the_end_of_a_process_elsewhere_is_heard_of_later(
    ssh: Path, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = hosts_file(tmp_path)
    # As ssh: lines come from a terminal, and a process that is killed gives no code of its own.
    ssh.write_text(
        "#!/bin/bash\n"
        'env -u AGENTR_LITE_TRAINING /bin/bash -c "${@: -1}" > >(sed -u "s/$/\\r/")\n'
        "sleep 1.5\nexit 255\n"
    )

    # Process 1 notices at once that the connection is lost, and may end first.
    def on_report(row: dict[str, Any]) -> None:
        if row["event"] == "step" and row["step"] == 5:
            os.kill(_victim(tmp_path, "process 2"), signal.SIGKILL)

    said: list[str] = []
    monkeypatch.setattr(launch, "say", said.append)
    with pytest.raises(AgentrError) as caught:
        settings = replace(SETTINGS, workers=1, hosts=str(path))
        fit(model_dir, tmp_path / "out", settings=settings, on_report=on_report)
    assert caught.value.message == (
        "training process 2 of 2 on box2 was killed, or its ssh connection failed"
    )
    assert not any("Traceback" in line for line in said)
    wait_until_none(tmp_path)


def test_a_machine_where_the_program_is_not(ssh: Path) -> None:
    where = hosts.Hosts([HERE, "box2"], Path("hosts.json"))
    ssh.write_text("#!/bin/bash\necho 'Permission denied (publickey).' >&2\nexit 255\n")
    with pytest.raises(UsageError, match=r"box2 .*cannot train: Permission denied"):
        check_reachable(where)
    ssh.write_text("#!/bin/bash\necho 0.0.1\n")
    with pytest.raises(UsageError, match=r"box2 .*it has agentr-lite 0\.0\.1, not "):
        check_reachable(where)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[", "Expecting value"),
        ("[]", "no list of machines"),
        ('{"hosts": 3}', "no list of machines"),
        ('[{"ssh": "127.0.0.1"}]', "machine 1 has no addresses"),
        ('[{"ssh": "127.0.0.1", "ips": ["127.0.0.1"]}, {"ips": []}]', "machine 2 has no name"),
        ('[{"ssh": "-oProxyCommand=x", "ips": ["127.0.0.1"]}]', "machine 1 has no name"),
        ('[{"ssh": "box2", "ips": ["10.0.0.2"]}]', "machine 1 must be this one"),
    ],
)
def test_a_file_of_machines_that_is_none(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "hosts.json"
    path.write_text(text)
    with pytest.raises(RecipeError, match=why) as caught:
        training_hosts(TrainSettings(hosts=str(path)))
    assert str(path) in caught.value.message and '"ssh"' in caught.value.hint


def test_the_numbers_of_processes_must_agree(tmp_path: Path) -> None:
    path = tmp_path / "hosts.json"
    path.write_text(json.dumps({"hosts": HOSTS}))
    assert training_hosts(TrainSettings(hosts=str(path), workers=2)).count == 2
    with pytest.raises(RecipeError, match=r"train\.workers is 3, but .* has 2 processes"):
        training_hosts(TrainSettings(hosts=str(path), workers=3))
    with pytest.raises(RecipeError, match="cannot use the machines in"):
        training_hosts(TrainSettings(hosts=str(tmp_path / "missing.json")))
