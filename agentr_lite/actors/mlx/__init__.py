"""The actor over MLX: mlx-lm's models and batches, with prefixes shared through one pool."""
