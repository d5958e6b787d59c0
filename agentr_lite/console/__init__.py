"""What a terminal shows: safe text, tables, progress, and the two streams."""
