"""The four stages of a round, each of which can be run, resumed and repeated alone."""
