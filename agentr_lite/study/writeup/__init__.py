"""A study's results as one document, made from its outcomes: tables, plots and sentences."""
