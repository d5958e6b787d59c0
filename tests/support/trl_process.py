"""Run by the witness's own Python: what TRL's DPOTrainer computes of some pairs.

``python trl_process.py MODEL REFERENCE BATCH.json OUT.npz``

BATCH holds ``beta``, ``loss_type``, and ``rows``: all chosen sequences and then all rejected ones,
each with ``tokens`` and ``mask``. OUT gets ``loss`` and the gradients of the model's matrices.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path


def main() -> None:
    """See the module."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    model_dir, reference_dir, batch_file, out = map(Path, sys.argv[1:5])
    batch = json.loads(batch_file.read_text())
    model, reference = (
        AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
        for folder in (model_dir, reference_dir)
    )
    tokenizer = AutoTokenizer.from_pretrained(str(model_dir))
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
    with tempfile.TemporaryDirectory() as scratch:
        settings = DPOConfig(
            output_dir=scratch,
            beta=batch["beta"],
            loss_type=[batch["loss_type"]],
            max_length=None,
            bf16=False,
            use_cpu=True,
            report_to="none",
            gradient_checkpointing=False,
        )
        # The trainer wants data before it computes anything; the batch below has masks of its own.
        data = Dataset.from_list(
            [{"prompt": "Goal:", "chosen": " craft", "rejected": " sticks"}] * 2
        )
        trainer = DPOTrainer(
            model=model,
            ref_model=reference,
            args=settings,
            train_dataset=data,
            processing_class=tokenizer,
        )
        width = max(len(row["tokens"]) for row in batch["rows"])

        def padded(rows: list[list[int]]) -> torch.Tensor:
            return torch.tensor([row + [0] * (width - len(row)) for row in rows])

        inputs = {
            "input_ids": padded([row["tokens"] for row in batch["rows"]]),
            "attention_mask": padded([[1] * len(row["tokens"]) for row in batch["rows"]]),
            "completion_mask": padded(
                [[int(flag) for flag in row["mask"]] for row in batch["rows"]]
            ),
        }
        # Without dropout, training and evaluation compute the same.
        loss = trainer.compute_loss(trainer.model, inputs)
        loss.backward()
    gradients = {
        name.removesuffix(".weight"): parameter.grad.numpy()
        for name, parameter in trainer.model.named_parameters()
        if parameter.grad is not None
    }
    np.savez(out, loss=loss.item(), **gradients)
    # Here and there the libraries' threads keep the interpreter from ending.
    os._exit(0)


if __name__ == "__main__":
    main()
