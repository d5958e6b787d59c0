"""Bundled run recipes (YAML)."""
