"""The cells of a study: which there are, how each is run, and where each stands."""
