"""Run by the witness's own Python: what TRL's trainers learn when a documented snippet is run.

``python trl_snippets.py SNIPPET.py MODEL OUT.json``

The snippet runs in the current folder, with MODEL in the place of ``path/to/model``, up to its
``train()``. OUT gets a list of the texts of each example, by the names of the batch's masks.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """See the module."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import transformers

    snippet, model, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    transformers.Trainer.train = lambda trainer: written(trainer, out)
    code = snippet.read_text("utf-8")
    assert code.count('"path/to/model"') == 1
    exec(compile(code.replace("path/to/model", model), snippet, "exec"), {"__name__": "snippet"})
    # Here and there the libraries' threads keep the interpreter from ending.
    os._exit(0)


def written(trainer: Any, out: Path) -> None:
    """Write what each example teaches, and what comes before it."""
    examples = []
    for example in trainer.train_dataset:
        batch = trainer.data_collator([example])
        decode = trainer.processing_class.decode
        rows = []
        for at in range(len(batch["input_ids"])):
            tokens = batch["input_ids"][at].tolist()
            learnt = (
                [label != -100 for label in batch["labels"][at].tolist()]
                if "labels" in batch
                else [bool(flag) for flag in batch["completion_mask"][at].tolist()]
            )
            kept = [bool(flag) for flag in batch["attention_mask"][at].tolist()]
            rows.append(
                {
                    "learnt": decode([t for t, is_it in zip(tokens, learnt, strict=True) if is_it]),
                    "context": decode(
                        [
                            token
                            for token, is_it, real in zip(tokens, learnt, kept, strict=True)
                            if real and not is_it
                        ]
                    ),
                }
            )
        examples.append(rows)
    out.write_text(json.dumps(examples), "utf-8")


if __name__ == "__main__":
    main()
