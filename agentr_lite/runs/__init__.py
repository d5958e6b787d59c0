"""A run and its stages: create, claim, equip, resume, remove, and the whole pipeline."""
