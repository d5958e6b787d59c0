"""Demonstrations: how they are collected, verified, imported and recorded."""
