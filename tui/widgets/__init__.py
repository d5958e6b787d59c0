"""Widgets that draw lines: a list with a cursor, and what is built on it."""
