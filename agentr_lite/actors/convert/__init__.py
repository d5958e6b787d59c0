"""Between weight formats: HF/MLX to GGUF, MLX LoRA to GGUF LoRA."""
