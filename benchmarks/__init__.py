"""Speed, side by side, and the study behind docs/results.md; each module is a command."""
