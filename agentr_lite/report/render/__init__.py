"""Tables, plots and trees as terminal text, Markdown or one HTML page."""
