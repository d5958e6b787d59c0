"""The stages of a round: search, splice, train, evaluate."""
