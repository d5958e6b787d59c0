"""Model conversion: GGUF files from and to Hugging Face directories, and MLX adapters to GGUF."""
