"""Studies: environments x methods x seeds at an equal budget, run, resumed and written up."""
