"""Speed, side by side; each module is a command."""
