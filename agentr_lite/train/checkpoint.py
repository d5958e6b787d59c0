"""Checkpoints of a training: each is complete or does not exist."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentr_lite.actors.digest import file_sha256
from agentr_lite.console.streams import warn
from agentr_lite.core.json_values import load_json
from agentr_lite.recipe.groups import TrainSettings
from agentr_lite.train.batches import Tokenized
from agentr_lite.train.dpo import PairFigures
from agentr_lite.train.preferences import TokenizedPair

_STATE = "state.json"
LATER_KEYS = (
    "validations",
    "clip_norm",
    "objective",
    "beta",
    "label_smoothing",
    "length_normalised",
    "dpo_weight",
    "max_tokens",
)
"""Keys that count only where they differ from their defaults: a checkpoint that was written before
they existed was made with these, and can be resumed."""


@dataclass
class TrainingState:
    """How far a training has come."""

    fingerprint: str
    """Of everything that the result depends on."""
    step: int = 0
    """Optimizer steps taken."""
    tokens: int = 0
    """Tokens trained on so far, padding left out."""
    seconds: float = 0.0
    train_losses: list[tuple[int, float]] = field(default_factory=list)
    """(step, loss in nats a token); step 1 is the first."""
    valid_losses: list[tuple[int, float]] = field(default_factory=list)
    """(steps taken, loss in nats a token); the first is before any training."""
    pair_figures: list[PairFigures] = field(default_factory=list)
    """Of the pairs of each step that has some."""
    valid_pair_figures: list[PairFigures] = field(default_factory=list)
    """Of the held-out pairs, at each validation."""
    references: list[list[float]] | None = None
    """Log-likelihoods in nats, of chosen and rejected, before the training: those of the pairs
    that are trained on, then those of the held-out ones. None: not computed yet, or no pairs."""
    finished: bool = False

    @classmethod
    def of(cls, data: dict[str, Any]) -> TrainingState:
        """The state whose fields were written as JSON.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: these are no such fields.
        """
        # JSON has no tuples.
        for key in ("train_losses", "valid_losses"):
            data[key] = [(int(step), float(loss)) for step, loss in data[key]]
        for key in ("pair_figures", "valid_pair_figures"):
            data[key] = [PairFigures(**row) for row in data.get(key, ())]
        return cls(**data)

    @property
    def best(self) -> tuple[int, float] | None:
        """Steps and loss of the best validation; the earliest of equal ones."""
        return min(self.valid_losses, key=lambda item: item[1]) if self.valid_losses else None

    @property
    def validations_since_best(self) -> int:
        """How many validations have brought no improvement since the best one."""
        best = self.best
        return 0 if best is None else len(self.valid_losses) - 1 - self.valid_losses.index(best)


class CheckpointFolder:
    """``out_dir/checkpoint``: replaced in one rename, so a cut never leaves half of one."""

    def __init__(self, out_dir: Path) -> None:
        self.path = out_dir / "checkpoint"
        self._next = out_dir / "checkpoint.next"

    def load(self, fingerprint: str) -> TrainingState | None:
        """The saved state; None where there is none, or where it belongs to another training.

        A damaged checkpoint is none, with a warning: the training then begins again, and ends the
        same.
        """
        # Cut between removing the old one and renaming the new one.
        if not self.path.exists() and (self._next / _STATE).exists():
            self._next.rename(self.path)
        try:
            state = self._sound()
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            warn(
                f"the checkpoint {self.path} is damaged ({error})",
                hint="The training begins again; its result will be the same.",
            )
            return None
        return state if state.fingerprint == fingerprint else None

    def _sound(self) -> TrainingState:
        """The state in the file, whose own digest and those of the other files are right.

        Raises:
            FileNotFoundError: there is no checkpoint.
            OSError: a file cannot be read.
            ValueError, TypeError, KeyError, AttributeError: it is damaged.
        """
        data = load_json((self.path / _STATE).read_text("utf-8"))
        # Checkpoints of versions before these fields have none.
        digest, files = data.pop("digest", None), data.pop("files", {})
        if digest is not None and digest != _digest({**data, "files": files}):
            raise ValueError(f"{_STATE} was changed")
        for name, expected in files.items():
            path = self.path / name
            if not path.is_file() or _file_digest(path) != expected:
                raise ValueError(f"{name} is missing or was changed")
        return TrainingState.of(data)

    def save(self, state: TrainingState, write: Callable[[Path], None]) -> None:
        """Replace the checkpoint.

        Args:
            state: goes into the state file, which is written last.
            write: writes the other files into the folder that it is given.
        """
        shutil.rmtree(self._next, ignore_errors=True)
        self._next.mkdir(parents=True)
        write(self._next)
        others = sorted(path for path in self._next.rglob("*") if path.is_file())
        names = [str(path.relative_to(self._next)) for path in others]
        files = dict(zip(names, map(_file_digest, others), strict=True))
        content = {**dataclasses.asdict(state), "files": files}
        content["digest"] = _digest(content)
        (self._next / _STATE).write_text(json.dumps(content), encoding="utf-8")
        self.clear()
        self._next.rename(self.path)

    def clear(self) -> None:
        """Remove the checkpoint, if there is one."""
        if self.path.exists():
            shutil.rmtree(self.path)


class NoCheckpoint(CheckpointFolder):
    """Keeps nothing: process 0 of a team keeps the checkpoint of all."""

    def load(self, fingerprint: str) -> TrainingState | None:
        return None

    def save(self, state: TrainingState, write: Callable[[Path], None]) -> None:
        pass


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(
    model_dir: Path,
    settings: TrainSettings,
    seed: int,
    start_adapter: Path | None,
    examples: Sequence[Sequence[Tokenized]],
    pairs: Sequence[Sequence[TokenizedPair]] = (),
) -> str:
    """A digest of everything that decides a training's result.

    Args:
        model_dir: the base.
        settings: from the recipe.
        seed: of the training.
        start_adapter: its directory, if there is one.
        examples: those to learn, and those held out.
        pairs: the same, if the objective takes pairs.
    """
    # The mixture's settings show in the examples themselves.
    relevant: dict[str, Any] = {
        name: getattr(settings, name)
        for name in ("epochs", "learning_rate", "rank", "scale", "layers", "batch_size")
    }
    relevant |= {"warmup": settings.warmup, "patience": settings.patience, "seed": seed}
    defaults = TrainSettings()
    for name in LATER_KEYS:
        if getattr(settings, name) != getattr(defaults, name):
            relevant[name] = getattr(settings, name)
    digest = hashlib.sha256(json.dumps(relevant, sort_keys=True).encode())
    files = [model_dir / "config.json", *sorted(model_dir.glob("*.safetensors"))]
    if start_adapter is not None:
        files += sorted(start_adapter.glob("*.safetensors"))
    for path in files:
        digest.update(file_sha256(path).encode())
    for part in examples:
        for example in part:
            digest.update(_row(example))
        digest.update(b"|")
    for pair_part in pairs:
        for pair in pair_part:
            for continuation in pair.continuations:
                for sequence in continuation:
                    digest.update(_row(sequence))
                digest.update(b"/")
            digest.update(json.dumps(pair.weight).encode())
        digest.update(b"|")
    return digest.hexdigest()


def _row(example: Tokenized) -> bytes:
    row = [example.tokens, [int(flag) for flag in example.mask], example.weight]
    return json.dumps(row).encode()
