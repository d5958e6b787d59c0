"""The MLX back end: mlx-lm's models and batches, with prefixes that are shared in one pool."""
