"""The results of a study as one document: read from the store, as tables, plots and sentences."""
