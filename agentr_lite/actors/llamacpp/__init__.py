"""The llama.cpp back end: siblings and trees decode in one batch over shared prefixes."""
