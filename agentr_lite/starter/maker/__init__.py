"""Remakes the bundled model: players, corpus, tokenizer, network and training (needs PyTorch)."""
