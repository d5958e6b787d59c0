"""What a run gave, as text and tables."""
