"""LoRA training with a loss mask for each token."""
