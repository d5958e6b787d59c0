"""Conversations as text and tokens: chat templates, prompts that fit, and their tokenization."""
