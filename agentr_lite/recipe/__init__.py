"""Recipes: settings with their defaults, environments, and how a file becomes both."""
