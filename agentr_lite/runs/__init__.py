"""Runs and their stages: create, hold, equip, resume, remove; the pipeline of the whole loop."""
