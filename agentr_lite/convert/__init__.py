"""Model conversion: Hugging Face directories and MLX adapters to GGUF."""
