"""The pages of a study: results gathered from the store, tables, plots and ablations."""
