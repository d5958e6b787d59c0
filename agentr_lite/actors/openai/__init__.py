"""Models behind an OpenAI-compatible server: vLLM, SGLang, llama-server, LM Studio, Ollama."""
